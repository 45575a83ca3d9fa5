-- name: present
-- The lock ends with the session, and the session with the process, however that ends; within half a minute of its host, when it is that
-- which went (`core.timeouts`). Shared, so that a session which the server has not missed yet keeps nobody from taking it again.
SELECT pg_try_advisory_lock_shared(%(worker)s)

-- name: living
SELECT (classid::bigint << 32) | objid::bigint AS worker FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1

-- name: take
-- Nothing is lost with a server that loses this, so the commit does not wait for the disk.
INSERT INTO hand (document, stage, worker, company, deaths, trials)
SELECT x.document, %(stage)s, %(worker)s, %(company)s, x.deaths, x.trials
FROM unnest(%(documents)s::text[], %(deaths)s::int[], %(trials)s::int[]) AS x (document, deaths, trials),
     set_config('synchronous_commit', 'off', true)
ORDER BY x.document
ON CONFLICT (tenant, document, stage) DO UPDATE SET
  worker = excluded.worker, company = excluded.company, deaths = excluded.deaths, trials = excluded.trials

-- name: put_down
DELETE FROM hand WHERE stage = %(stage)s AND document IN (
  SELECT document FROM hand WHERE stage = %(stage)s AND worker = %(worker)s AND document = ANY (%(documents)s) ORDER BY document FOR UPDATE)
