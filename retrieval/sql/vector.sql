-- name: generation
-- The active one, or the one that stands by if only that has this model.
SELECT generation, model, dimension, vector_index ->> 'state' = 'ready' AS indexed FROM generation WHERE state IN ('active', 'standby')
ORDER BY model = %(model)s::text DESC, state = 'active' DESC LIMIT 1

-- name: exact
-- Compares every chunk that passes the filter. The distance is pgvector's cosine distance.
-- IS TRUE keeps the subquery from becoming a join: Postgres knows nothing of a new tenant's tables, and would join them one row at a time.
WITH lists AS MATERIALIZED (SELECT number FROM access_list WHERE keys && headrace.principal_keys(%(readers)s))
SELECT c.text_hash AS chunk, 1 - (c.embedding <=> %(vector)s::halfvec) AS score
FROM chunk c
WHERE c.generation = {generation} AND (c.access = 0 OR c.access IN (SELECT number FROM lists)) IS TRUE
ORDER BY c.embedding <=> %(vector)s::halfvec, c.text_hash LIMIT %(look)s

-- name: exact_of_few
-- The same for a reader of few passages: reads those alone.
SELECT c.text_hash AS chunk, 1 - (c.embedding <=> %(vector)s::halfvec) AS score
FROM chunk c
WHERE c.generation = {generation} AND c.access = ANY (0 || %(lists)s::bigint[])
ORDER BY c.embedding <=> %(vector)s::halfvec, c.text_hash LIMIT %(look)s

-- name: indexed
-- By the generation's HNSW index, whose expression and predicate this text has to repeat (index/vector_index.py). Distances come in an order
-- that is nearly right (relaxed_order), and are sorted here.
WITH lists AS MATERIALIZED (SELECT number FROM access_list WHERE keys && headrace.principal_keys(%(readers)s)),
near AS MATERIALIZED (
  SELECT c.text_hash, c.embedding::halfvec({dimension}) <=> %(vector)s::halfvec({dimension}) AS distance
  FROM chunk c
  WHERE c.generation = {generation} AND (c.access = 0 OR c.access IN (SELECT number FROM lists)) IS TRUE
  ORDER BY c.embedding::halfvec({dimension}) <=> %(vector)s::halfvec({dimension}) LIMIT %(look)s
)
SELECT text_hash AS chunk, 1 - distance AS score FROM near ORDER BY distance, text_hash

-- name: scan
-- How an HNSW index is searched, in this transaction. Iterative: a scan goes on until enough passages have passed the filter.
SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', %(ef_search)s, true),
       set_config('hnsw.max_scan_tuples', %(scanned)s, true), set_config('hnsw.scan_mem_multiplier', '4', true),
       set_config('enable_seqscan', 'off', true)
