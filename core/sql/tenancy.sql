-- name: become
SELECT set_config('search_path', %(path)s, true), set_config('role', %(role)s, true)

-- name: tenants
SELECT tenant, status, configuration, wrapped_key FROM headrace.tenant WHERE status = 'active' ORDER BY tenant
