-- After sql/bootstrap.sql, connected to the database headrace, as a superuser. Safe to repeat.

-- name: vector
CREATE EXTENSION IF NOT EXISTS vector;

-- name: close_public
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
