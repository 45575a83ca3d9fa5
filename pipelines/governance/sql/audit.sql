-- name: last
SELECT coalesce(max(number), 0) AS number, (SELECT hash FROM headrace.audit ORDER BY number DESC LIMIT 1) AS hash, clock_timestamp() AS at
FROM headrace.audit

-- name: add
SELECT headrace.add_audit(%(number)s, %(entry)s, %(seal)s) AS hash

-- name: newest
SELECT number, entry, hash FROM headrace.audit WHERE tenant = %(tenant)s OR %(tenant)s::text IS NULL ORDER BY number DESC LIMIT %(limit)s

-- name: after
SELECT number, entry, hash, seal FROM headrace.audit WHERE number > %(number)s ORDER BY number LIMIT %(limit)s

-- name: hash_at
SELECT hash FROM headrace.audit WHERE number = %(number)s

-- name: completion
SELECT entry FROM headrace.audit
WHERE number > %(number)s AND entry::jsonb ->> 'state' = 'done' AND entry::jsonb -> 'details' ->> 'receipt' = %(receipt)s
ORDER BY number LIMIT 1
