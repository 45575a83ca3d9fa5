-- name: changes
SELECT number, last_audit, former FROM headrace.master_change ORDER BY number

-- name: mark
SELECT (SELECT mark FROM headrace.master_change ORDER BY number DESC LIMIT 1) AS mark

-- name: tenants
-- All tenants, active or not. Configuring or rotating one waits.
SELECT tenant, wrapped_key, surrogate_epoch, wrapped_surrogate_key, former_surrogate_key, rotated_at FROM headrace.tenant
ORDER BY tenant FOR UPDATE

-- name: rewrap
UPDATE headrace.tenant SET wrapped_key = %(wrapped)s, wrapped_surrogate_key = %(surrogate)s, former_surrogate_key = %(former)s
WHERE tenant = %(tenant)s

-- name: rewrap_change
UPDATE headrace.master_change SET former = %(former)s WHERE number = %(number)s

-- name: change
INSERT INTO headrace.master_change (number, last_audit, former, mark)
SELECT coalesce(max(number), 0) + 1, %(last_audit)s, %(former)s, %(mark)s FROM headrace.master_change
