-- name: become
SELECT set_config('search_path', %(path)s, true), set_config('role', %(role)s, true)

-- name: unchanging
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY

-- name: remain
-- As become, for the login role itself: what an earlier transaction set for the whole session ends here.
SELECT set_config('search_path', 'headrace, public', true), set_config('role', 'none', true)

-- name: tenants
SELECT tenant, status, configuration, wrapped_key, surrogate_epoch, wrapped_surrogate_key, former_surrogate_key, rotated_at
FROM headrace.tenant WHERE status = 'active' ORDER BY tenant

-- name: one
SELECT tenant, status, configuration, wrapped_key, surrogate_epoch, wrapped_surrogate_key, former_surrogate_key, rotated_at
FROM headrace.tenant WHERE status = 'active' AND tenant = %(tenant)s

-- name: bound
-- Whoever stands still in a transaction, stopped or behind a dead line, loses it, and with it the locks that others wait for.
SELECT set_config('idle_in_transaction_session_timeout', %(idle)s, false), set_config('tcp_user_timeout', '25s', false),
  set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false), set_config('tcp_keepalives_count', '3', false)
