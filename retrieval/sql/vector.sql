-- name: nearest
-- Exact: compares every chunk of the active generation that one of the caller's principals may read; cites only readable sources.
-- The distance is pgvector's cosine distance. The generation must have the vector's model: another one may have been promoted meanwhile.
-- IS TRUE and OFFSET 0 keep two subqueries from becoming joins. For a new tenant Postgres has no statistics, assumes one row for every table,
-- and would scan all sources for each chunk. As subqueries they are hashed once and probed by their whole key.
WITH nearest AS MATERIALIZED (
  SELECT c.generation, c.text_hash, c.text, c.heading_path, c.token_count, c.embedding <=> %(vector)s::halfvec AS distance
  FROM chunk c
  WHERE c.generation = (SELECT generation FROM generation WHERE state = 'active' AND model = %(model)s)
    AND (c.generation, c.text_hash) IN (SELECT s.generation, s.text_hash FROM chunk_source s WHERE s.acl && %(principals)s::text[]) IS TRUE
  ORDER BY c.embedding <=> %(vector)s::halfvec, c.text_hash
  LIMIT %(top)s
)
SELECT n.text_hash AS chunk, n.text, n.heading_path, 1 - n.distance AS score, sources.cited
FROM nearest n
CROSS JOIN LATERAL (
  SELECT jsonb_agg(jsonb_build_object('document', i.name, 'document_key', s.document, 'title', i.title, 'uri', i.uri,
                                      'page', s.page, 'ordinal', s.ordinal, 'sequence', i.sequence)
                   ORDER BY i.name, s.ordinal) AS cited
  FROM chunk_source s
  CROSS JOIN LATERAL (SELECT * FROM indexed WHERE generation = s.generation AND document = s.document OFFSET 0) i
  WHERE s.generation = n.generation AND s.text_hash = n.text_hash AND s.acl && %(principals)s::text[]
) sources
ORDER BY n.distance, n.text_hash

-- name: model
SELECT model, dimension FROM generation WHERE state = 'active'
