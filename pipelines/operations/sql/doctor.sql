-- name: server
SELECT current_user AS role, split_part(current_setting('server_version'), ' ', 1) AS version,
       (SELECT extversion FROM pg_extension WHERE extname = 'vector') AS vector

-- name: privilege
SELECT r.rolsuper AS superuser, r.rolbypassrls AS bypasses, r.rolinherit AS inherits, r.rolcreaterole AS makes_roles,
       EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid) AS owns
FROM pg_roles r WHERE r.rolname = current_user

-- name: unguarded
-- Tenants' tables on which row-level security is not enabled or not forced.
SELECT count(*) AS tables FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE (n.nspname = 'headrace' OR n.nspname LIKE 'tenant\_%%') AND c.relkind IN ('r', 'p') AND c.relname <> 'migration'
  AND NOT (c.relrowsecurity AND c.relforcerowsecurity)

-- name: other_model
SELECT count(*) AS generations FROM generation WHERE state = 'active' AND model <> %(model)s
