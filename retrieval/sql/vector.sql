-- name: generation
SELECT generation, model, dimension FROM generation WHERE state = 'active'

-- name: exact
-- Compares every chunk that passes the filter. The distance is pgvector's cosine distance.
-- IS TRUE keeps the subquery from becoming a join: Postgres knows nothing of a new tenant's tables, and would join them one row at a time.
WITH lists AS MATERIALIZED (SELECT number FROM access_list WHERE keys && headrace.principal_keys(%(readers)s))
SELECT c.text_hash AS chunk, 1 - (c.embedding <=> %(vector)s::halfvec) AS score
FROM chunk c
WHERE c.generation = %(generation)s AND (c.access = 0 OR c.access IN (SELECT number FROM lists)) IS TRUE
ORDER BY c.embedding <=> %(vector)s::halfvec, c.text_hash LIMIT %(look)s

-- name: exact_of_few
-- The same for a reader of few passages: reads those alone.
SELECT c.text_hash AS chunk, 1 - (c.embedding <=> %(vector)s::halfvec) AS score
FROM chunk c
WHERE c.generation = %(generation)s AND c.access = ANY (0 || %(lists)s::bigint[])
ORDER BY c.embedding <=> %(vector)s::halfvec, c.text_hash LIMIT %(look)s
