-- Queries and statements of services.postgres.

-- name: databases
SELECT datname FROM pg_database WHERE datname IN ('headrace', 'dagster');

-- name: alter_password
ALTER ROLE {role} PASSWORD {verifier};
