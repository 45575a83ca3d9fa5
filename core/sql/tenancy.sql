-- name: become
SELECT set_config('search_path', %(path)s, true), set_config('role', %(role)s, true)

-- name: remain
-- As become, for the login role itself: what an earlier transaction set for the whole session ends here.
SELECT set_config('search_path', 'headrace, public', true), set_config('role', 'none', true)

-- name: tenants
SELECT tenant, status, configuration, wrapped_key FROM headrace.tenant WHERE status = 'active' ORDER BY tenant

-- name: one
SELECT tenant, status, configuration, wrapped_key FROM headrace.tenant WHERE status = 'active' AND tenant = %(tenant)s
