-- name: clusters
-- Passage → pivot, of passages that are in a cluster with another one.
SELECT text_hash, neighbour AS pivot FROM near_duplicate WHERE pivot

-- name: bytes
SELECT sum(pg_total_relation_size(relation::regclass))::bigint AS bytes, (SELECT count(*) FROM signature) AS passages
FROM unnest(ARRAY['signature', 'near_duplicate', 'hot_band', 'deduplication']) AS relation

-- name: summary
SELECT (SELECT count(*) FROM near_duplicate) AS edges, (SELECT count(*) FROM hot_band) AS hot_bands,
       (SELECT count(DISTINCT neighbour) FROM near_duplicate WHERE pivot) AS clusters,
       (SELECT max(n) + 1 FROM (SELECT count(*) AS n FROM near_duplicate WHERE pivot GROUP BY neighbour) x) AS largest

-- name: backends
SELECT pid FROM pg_stat_activity WHERE pid IS NOT NULL

-- name: backend
SELECT pg_backend_pid() AS pid
