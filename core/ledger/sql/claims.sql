-- name: claim
-- A server that loses this loses nothing else, so the commit does not wait for the disk.
INSERT INTO claim (document, stage, process, batch_size, crashes, solo_attempts)
SELECT x.document, %(stage)s, %(process)s, %(batch_size)s, x.crashes, x.solo_attempts
FROM unnest(%(documents)s::text[], %(crashes)s::int[], %(solo_attempts)s::int[]) AS x (document, crashes, solo_attempts),
     set_config('synchronous_commit', 'off', true)
ORDER BY x.document
ON CONFLICT (tenant, document, stage) DO UPDATE SET
  process = excluded.process, batch_size = excluded.batch_size, crashes = excluded.crashes, solo_attempts = excluded.solo_attempts

-- name: release
DELETE FROM claim WHERE stage = %(stage)s AND document IN (
  SELECT document FROM claim WHERE stage = %(stage)s AND process = %(process)s AND document = ANY (%(documents)s) ORDER BY document FOR UPDATE)
