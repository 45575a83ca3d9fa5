-- The roles and databases of a new Postgres. Run it as a superuser, outside a transaction, connected to a database that is not created
-- here; then run sql/bootstrap_headrace.sql. The roles have no passwords, so none can log in until it is given one (by services.postgres,
-- or by docker-compose's init script with `ALTER ROLE … PASSWORD`). The embedded server repeats every statement except CREATE DATABASE.

-- name: roles
DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['headrace_owner', 'headrace_pipeline', 'headrace_reader', 'headrace_dagster'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I', role_name);
        END IF;
    END LOOP;
END
$$;

-- name: owner_role
-- creates one role per tenant and grants it to the pipeline; not a superuser, so row-level security applies to it
ALTER ROLE headrace_owner LOGIN CREATEROLE INHERIT NOSUPERUSER NOCREATEDB NOREPLICATION NOBYPASSRLS;

-- name: pipeline_role
-- owns nothing and inherits nothing: it sets one tenant's role per transaction
ALTER ROLE headrace_pipeline LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

-- name: reader_role
ALTER ROLE headrace_reader LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

-- name: dagster_role
ALTER ROLE headrace_dagster LOGIN INHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS;

-- name: create_headrace
CREATE DATABASE headrace OWNER headrace_owner TEMPLATE template0 ENCODING 'UTF8';

-- name: create_dagster
CREATE DATABASE dagster OWNER headrace_dagster TEMPLATE template0 ENCODING 'UTF8';

-- name: close_others
REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;

-- name: close_headrace
-- TEMP too, because a temporary table could shadow a real one
REVOKE ALL ON DATABASE headrace FROM PUBLIC;

-- name: close_dagster
REVOKE ALL ON DATABASE dagster FROM PUBLIC;

-- name: open_headrace
GRANT CONNECT ON DATABASE headrace TO headrace_pipeline, headrace_reader;
