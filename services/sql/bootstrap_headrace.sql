-- Run it after sql/bootstrap.sql, as a superuser, connected to the database headrace. Idempotent.

-- name: vector
CREATE EXTENSION IF NOT EXISTS vector;

-- name: close_public
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

-- name: close_large_objects
-- large objects are outside schemas and partitions, and by default every role may create them
REVOKE EXECUTE ON FUNCTION lo_creat(integer), lo_create(oid), lo_from_bytea(oid, bytea) FROM PUBLIC;
