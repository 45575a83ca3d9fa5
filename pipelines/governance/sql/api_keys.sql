-- name: add
INSERT INTO headrace.api_key (key, digest, tenant, principals, rate, note, expires_at)
VALUES (%(key)s, %(digest)s, %(tenant)s, %(principals)s, %(rate)s, %(note)s, now() + make_interval(days => %(days)s))
RETURNING key, tenant, principals, rate, note, created_at, expires_at, revoked_at

-- name: list
-- Newest first.
SELECT key, tenant, principals, rate, note, created_at, expires_at, revoked_at FROM headrace.api_key
WHERE tenant = coalesce(%(tenant)s::text, tenant) ORDER BY created_at DESC, key

-- name: revoke
-- A key that was revoked keeps its time.
UPDATE headrace.api_key SET revoked_at = coalesce(revoked_at, now()) WHERE key = %(key)s
RETURNING key, tenant, principals, rate, note, created_at, expires_at, revoked_at

-- name: in_force
-- Of an active tenant, not revoked and not expired, by Postgres' clock.
SELECT k.digest, k.key, k.tenant, k.principals, k.rate, k.note, k.created_at, k.expires_at, k.revoked_at
FROM headrace.api_key k JOIN headrace.tenant t ON t.tenant = k.tenant AND t.status = 'active'
WHERE k.key = %(key)s AND k.revoked_at IS NULL AND k.expires_at > now()
