-- After sql/bootstrap.sql, connected to the database headrace, as a superuser. Safe to repeat.

-- name: vector
CREATE EXTENSION IF NOT EXISTS vector;

-- name: close_public
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

-- name: close_large_objects
-- they belong to no schema and no tenant's partition, and anyone may make one
REVOKE EXECUTE ON FUNCTION lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) FROM PUBLIC;
