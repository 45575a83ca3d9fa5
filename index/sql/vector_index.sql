-- name: wanting
-- The lexicon knows how many passages a generation has. A build that was begun and not finished is wanting too: its process may have died.
SELECT g.generation, g.dimension
FROM generation g JOIN lexicon l USING (generation)
WHERE g.state <> 'retired' AND g.dimension <= %(largest)s AND g.vector_index ->> 'state' IS DISTINCT FROM 'ready'
  AND (SELECT coalesce(sum(value::bigint), 0) FROM jsonb_each_text(l.passages)) >= %(needed_from)s
ORDER BY g.generation

-- name: unused
SELECT generation FROM generation WHERE state = 'retired' AND vector_index IS NOT NULL ORDER BY generation

-- name: record
UPDATE generation SET vector_index = %(state)s WHERE generation = %(generation)s

-- name: prepare
-- A backend whose client is gone does not build on.
SELECT set_config('maintenance_work_mem', %(memory)s, false), set_config('client_connection_check_interval', '10s', false)

-- name: do_not_wait
SET LOCAL lock_timeout = '1s'

-- name: lock
-- As a build locks it.
LOCK TABLE {home}.chunk IN SHARE UPDATE EXCLUSIVE MODE

-- name: build
CREATE INDEX CONCURRENTLY {index} ON {home}.chunk USING hnsw ((embedding::halfvec({dimension})) halfvec_cosine_ops)
  WITH (m = {m}, ef_construction = {ef_construction}) WHERE generation = {generation}

-- name: drop
DROP INDEX CONCURRENTLY IF EXISTS {home}.{index}

-- name: progress
SELECT CASE WHEN blocks_total = 0 THEN 0.0 ELSE (blocks_done::float8 / blocks_total) END AS done
FROM pg_stat_progress_create_index WHERE pid = %(backend)s
