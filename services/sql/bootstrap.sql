-- The roles and databases of a fresh Postgres, connected to any database but those made here, as a superuser, outside a transaction.
-- Then comes sql/bootstrap_headrace.sql. Without passwords, so that no role can log in before it was given one (services.postgres,
-- or docker-compose's init with `ALTER ROLE … PASSWORD`). The embedded server repeats every statement but CREATE DATABASE.

-- name: roles
DO $$
DECLARE
    wanted text;
BEGIN
    FOREACH wanted IN ARRAY ARRAY['headrace_owner', 'headrace_pipeline', 'headrace_reader', 'headrace_dagster'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = wanted) THEN
            EXECUTE format('CREATE ROLE %I', wanted);
        END IF;
    END LOOP;
END
$$;

-- name: owner_role
-- makes a role per tenant and grants it to the pipeline; no superuser, and bound by row-level security like everyone else
ALTER ROLE headrace_owner LOGIN CREATEROLE INHERIT NOSUPERUSER NOCREATEDB NOREPLICATION NOBYPASSRLS;

-- name: pipeline_role
-- owns nothing and inherits nothing: it takes on one tenant's role per transaction
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
-- TEMP too: a temporary table could shadow a real one
REVOKE ALL ON DATABASE headrace FROM PUBLIC;

-- name: close_dagster
REVOKE ALL ON DATABASE dagster FROM PUBLIC;

-- name: open_headrace
GRANT CONNECT ON DATABASE headrace TO headrace_pipeline, headrace_reader;
