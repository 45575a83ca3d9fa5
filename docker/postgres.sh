#!/bin/bash
# Create roles and databases, then set the roles' passwords. The Postgres image runs this once, on an empty volume.
set -euo pipefail

run() { psql --no-psqlrc --set ON_ERROR_STOP=1 --quiet --username "$POSTGRES_USER" "$@"; }

run --dbname postgres --file /bootstrap/bootstrap.sql
run --dbname headrace --file /bootstrap/bootstrap_headrace.sql

# psql reads the passwords from its environment, so that they appear in no command line and no log
run --dbname postgres <<'SQL'
SET password_encryption = 'scram-sha-256';
SET log_statement = 'none';
SET log_min_error_statement = 'panic';
\getenv owner POSTGRES_OWNER_PASSWORD
\getenv pipeline POSTGRES_PIPELINE_PASSWORD
\getenv reader POSTGRES_READER_PASSWORD
\getenv dagster POSTGRES_DAGSTER_PASSWORD
ALTER ROLE headrace_owner PASSWORD :'owner';
ALTER ROLE headrace_pipeline PASSWORD :'pipeline';
ALTER ROLE headrace_reader PASSWORD :'reader';
ALTER ROLE headrace_dagster PASSWORD :'dagster';
SQL
