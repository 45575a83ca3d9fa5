-- name: generation
-- The active one, or the one that stands by if only that has this model.
SELECT generation, model, coalesce(model_name, '') AS model_name, dimension, vector_index ->> 'state' = 'ready' AS indexed
FROM generation WHERE state IN ('active', 'standby')
ORDER BY model = %(model)s::text DESC, state = 'active' DESC LIMIT 1

-- name: exact
-- Compares every chunk that passes the filter. The distance is pgvector's cosine distance.
-- IS TRUE keeps the subquery from becoming a join: Postgres knows nothing of a new tenant's tables, and would join them one row at a time.
WITH lists AS MATERIALIZED (SELECT number FROM access_list WHERE keys && headrace.principal_keys(%(readers)s))
SELECT c.text_hash AS chunk, 1 - (c.embedding <=> %(vector)s::halfvec) AS score
FROM chunk c
WHERE c.generation = {generation} AND (c.access = 0 OR c.access IN (SELECT number FROM lists)) IS TRUE
ORDER BY c.embedding <=> %(vector)s::halfvec, c.text_hash LIMIT %(look)s

-- name: exact_filtered
-- Ranked before anything is asked about sources: of the ranked, only as many are asked about as it takes to find the best that pass.
WITH lists AS MATERIALIZED (SELECT number FROM access_list WHERE keys && headrace.principal_keys(%(readers)s)),
ranked AS MATERIALIZED (
  SELECT c.text_hash, c.embedding <=> %(vector)s::halfvec AS distance
  FROM chunk c
  WHERE c.generation = {generation} AND (c.access = 0 OR c.access IN (SELECT number FROM lists)) IS TRUE
  ORDER BY distance, c.text_hash
)
SELECT c.text_hash AS chunk, 1 - c.distance AS score FROM ranked c WHERE {passing} LIMIT %(look)s

-- name: exact_of_few
-- The same for a reader of few passages: reads those alone.
SELECT c.text_hash AS chunk, 1 - (c.embedding <=> %(vector)s::halfvec) AS score
FROM chunk c
WHERE c.generation = {generation} AND c.access = ANY (0 || %(lists)s::bigint[]) AND {passing}
ORDER BY c.embedding <=> %(vector)s::halfvec, c.text_hash LIMIT %(look)s

-- name: exact_of_documents
-- The same for the passages of few documents, which may be read and pass the filters.
SELECT c.text_hash AS chunk, 1 - (c.embedding <=> %(vector)s::halfvec) AS score
FROM (
  SELECT DISTINCT s.text_hash FROM unnest(%(documents)s::text[]) AS d (document)
  CROSS JOIN LATERAL (SELECT text_hash FROM chunk_source WHERE generation = {generation} AND document = d.document OFFSET 0) s) x
CROSS JOIN LATERAL (
  SELECT text_hash, embedding FROM chunk
  WHERE tenant = (SELECT headrace.current_tenant()) AND generation = {generation} AND text_hash = x.text_hash OFFSET 0) c
ORDER BY c.embedding <=> %(vector)s::halfvec, c.text_hash LIMIT %(look)s

-- name: indexed
-- By the generation's HNSW index, whose expression and predicate this text has to repeat (index/vector_index.py). Distances come in an order
-- that is nearly right (relaxed_order), and are sorted here.
WITH lists AS MATERIALIZED (SELECT number FROM access_list WHERE keys && headrace.principal_keys(%(readers)s)),
near AS MATERIALIZED (
  SELECT c.text_hash, c.embedding::halfvec({dimension}) <=> %(vector)s::halfvec({dimension}) AS distance
  FROM chunk c
  WHERE c.generation = {generation} AND (c.access = 0 OR c.access IN (SELECT number FROM lists)) IS TRUE AND {passing}
  ORDER BY c.embedding::halfvec({dimension}) <=> %(vector)s::halfvec({dimension}) LIMIT %(look)s
)
SELECT text_hash AS chunk, 1 - distance AS score FROM near ORDER BY distance, text_hash

-- name: scan
-- How an HNSW index is searched, in this transaction. Iterative: a scan goes on until enough passages have passed the filter.
SELECT set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', %(ef_search)s, true),
       set_config('hnsw.max_scan_tuples', %(scanned)s, true), set_config('hnsw.scan_mem_multiplier', '4', true),
       set_config('enable_seqscan', 'off', true)

-- name: cosines
-- With the tenant, a chunk is found by its whole key: without statistics Postgres might take any index for one on its parts.
SELECT c.text_hash AS chunk, 1 - (c.embedding <=> %(vector)s::halfvec) AS score
FROM unnest(%(chunks)s::text[]) AS x (text_hash)
CROSS JOIN LATERAL (
  SELECT text_hash, embedding FROM chunk
  WHERE tenant = (SELECT headrace.current_tenant()) AND generation = %(generation)s AND text_hash = x.text_hash OFFSET 0) c

-- name: mean
-- Of a sample: the first by their hashes, which have nothing to do with what the texts say.
SELECT count(*) AS vectors, coalesce(l2_norm(avg(x.embedding)) ^ 2, 0) AS squared_length
FROM (SELECT embedding FROM chunk WHERE generation = %(generation)s ORDER BY text_hash LIMIT %(sample)s) x
