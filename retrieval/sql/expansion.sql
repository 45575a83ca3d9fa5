-- name: around
-- The chunks around each of these places in a document, in order.
SELECT x.place, s.ordinal, c.text, c.heading_path, c.token_count
FROM unnest(%(documents)s::text[], %(ordinals)s::integer[]) WITH ORDINALITY AS x (document, ordinal, place)
CROSS JOIN LATERAL (
  SELECT text_hash, ordinal FROM chunk_source
  WHERE tenant = (SELECT headrace.current_tenant()) AND generation = %(generation)s AND document = x.document
    AND ordinal BETWEEN x.ordinal - %(reach)s AND x.ordinal + %(reach)s OFFSET 0) s
CROSS JOIN LATERAL (
  SELECT text, heading_path, token_count FROM chunk
  WHERE tenant = (SELECT headrace.current_tenant()) AND generation = %(generation)s AND text_hash = s.text_hash OFFSET 0) c
ORDER BY x.place, s.ordinal
