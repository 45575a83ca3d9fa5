-- name: assume_role
SELECT set_config('search_path', %(path)s, true), set_config('role', %(role)s, true)

-- name: read_only_snapshot
SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY

-- name: reset_role
-- The login role itself: ends what an earlier transaction set for the whole session.
SELECT set_config('search_path', 'headrace, public', true), set_config('role', 'none', true)

-- name: tenants
SELECT tenant, status, configuration, wrapped_key, surrogate_epoch, wrapped_surrogate_key, former_surrogate_key, rotated_at
FROM headrace.tenant WHERE status = 'active' ORDER BY tenant

-- name: tenant
SELECT tenant, status, configuration, wrapped_key, surrogate_epoch, wrapped_surrogate_key, former_surrogate_key, rotated_at
FROM headrace.tenant WHERE status = 'active' AND tenant = %(tenant)s

-- name: timeouts
-- A transaction that stays idle, because its process is stopped or disconnected, is ended, so that its locks are released.
SELECT set_config('idle_in_transaction_session_timeout', %(idle)s, false), set_config('tcp_user_timeout', '25s', false),
  set_config('statement_timeout', coalesce(%(statement)s::text, current_setting('statement_timeout')), false),
  set_config('tcp_keepalives_idle', '10', false), set_config('tcp_keepalives_interval', '5', false), set_config('tcp_keepalives_count', '3', false)

-- name: present
-- The lock ends with the session, and the session with the process, however that ends; when its host disappears, within half a minute
-- (`core.timeouts`). Shared, so that a session which the server has not given up yet does not keep its process from taking the lock again.
SELECT pg_try_advisory_lock_shared(%(process)s)

-- name: living
-- Every process that is present.
SELECT (classid::bigint << 32) | objid::bigint AS process FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1 AND granted
