-- name: search
-- Exact: every chunk of the active generation that one of the caller's principals may read, nearest first.
-- Only readable sources are cited. The distance is pgvector's cosine distance. The model is the vector's: a promotion may have come since.
WITH nearest AS MATERIALIZED (
  SELECT c.generation, c.text_hash, c.text, c.heading_path, c.token_count, c.embedding <=> %(vector)s::halfvec AS distance
  FROM chunk c
  WHERE c.generation = (SELECT generation FROM generation WHERE state = 'active' AND model = %(model)s)
    AND EXISTS (SELECT FROM chunk_source s
                WHERE s.generation = c.generation AND s.text_hash = c.text_hash AND s.acl && %(principals)s::text[])
  ORDER BY c.embedding <=> %(vector)s::halfvec, c.text_hash
  LIMIT %(top)s
)
SELECT n.text_hash AS chunk, n.text, n.heading_path, 1 - n.distance AS score, sources.cited
FROM nearest n
CROSS JOIN LATERAL (
  SELECT jsonb_agg(jsonb_build_object('document', i.name, 'document_key', s.document, 'title', i.title, 'uri', i.uri,
                                      'page', s.page, 'ordinal', s.ordinal, 'sequence', i.sequence)
                   ORDER BY i.name, s.ordinal) AS cited
  FROM chunk_source s JOIN indexed i ON i.generation = s.generation AND i.document = s.document
  WHERE s.generation = n.generation AND s.text_hash = n.text_hash AND s.acl && %(principals)s::text[]
) sources
ORDER BY n.distance, n.text_hash

-- name: model
SELECT model, dimension FROM generation WHERE state = 'active'
