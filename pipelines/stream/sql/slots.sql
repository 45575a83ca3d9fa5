-- name: enrol
-- If the process that had the name never left, it crashed when it was last seen. All times are Postgres'.
INSERT INTO headrace.slot AS s (slot, host, pid) VALUES (%(slot)s, %(host)s, %(pid)s)
ON CONFLICT (slot) DO UPDATE SET
  host = excluded.host, pid = excluded.pid, started_at = now(), seen_at = now(), state = 'running',
  tenants = 0, partitions = 0, in_flight = 0, trouble = NULL,
  crashes = ARRAY(SELECT died FROM unnest(s.crashes) AS died WHERE died > now() - make_interval(secs => %(remembered_s)s))
           || CASE WHEN s.state <> 'left' THEN ARRAY[s.seen_at] ELSE '{}' END

-- name: seen
-- Also restores the row of a process that was suspended for a day, unless another process has taken over the name.
INSERT INTO headrace.slot AS s (slot, host, pid, tenants, partitions, in_flight, trouble)
VALUES (%(slot)s, %(host)s, %(pid)s, %(tenants)s, %(partitions)s, %(in_flight)s, %(trouble)s)
ON CONFLICT (slot) DO UPDATE SET
  seen_at = now(), state = 'running', tenants = excluded.tenants, partitions = excluded.partitions, in_flight = excluded.in_flight,
  trouble = excluded.trouble
WHERE s.host = excluded.host AND s.pid = excluded.pid

-- name: left
UPDATE headrace.slot SET seen_at = now(), state = %(state)s, trouble = %(trouble)s, tenants = 0, partitions = 0, in_flight = 0
WHERE slot = %(slot)s AND host = %(host)s AND pid = %(pid)s

-- name: forget
DELETE FROM headrace.slot WHERE seen_at < now() - make_interval(secs => %(remembered_s)s)

-- name: slots
SELECT slot, host, pid, started_at, seen_at, extract(epoch FROM now() - seen_at)::float8 AS silent_s, state, tenants, partitions, in_flight,
       trouble, crashes, extract(epoch FROM now())::float8 AS now_s
FROM headrace.slot ORDER BY slot
