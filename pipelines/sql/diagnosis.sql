-- name: server
SELECT current_user AS role, split_part(current_setting('server_version'), ' ', 1) AS version,
       (SELECT extversion FROM pg_extension WHERE extname = 'vector') AS vector

-- name: privilege
SELECT r.rolsuper AS superuser, r.rolbypassrls AS bypasses, EXISTS (SELECT FROM pg_class c WHERE c.relowner = r.oid) AS owns
FROM pg_roles r WHERE r.rolname = current_user
