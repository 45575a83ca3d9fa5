-- name: vectors
SELECT c.text_hash AS chunk, c.embedding::real[] AS vector
FROM unnest(%(chunks)s::text[]) AS x (text_hash)
CROSS JOIN LATERAL (
  SELECT text_hash, embedding FROM chunk
  WHERE tenant = (SELECT headrace.current_tenant()) AND generation = %(generation)s AND text_hash = x.text_hash OFFSET 0) c
