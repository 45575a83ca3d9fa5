-- name: cite
-- The first of these chunks that have a source which one of the readers may read, in the given order; only such sources are cited.
-- Subqueries with OFFSET 0 keep their place: a join would read every source of a tenant that Postgres has no statistics of.
SELECT c.text_hash AS chunk, c.text, c.heading_path, sources.cited
FROM unnest(%(chunks)s::text[]) WITH ORDINALITY AS x (text_hash, place)
CROSS JOIN LATERAL (SELECT * FROM chunk WHERE generation = %(generation)s AND text_hash = x.text_hash OFFSET 0) c
CROSS JOIN LATERAL (
  SELECT jsonb_agg(jsonb_build_object('document', i.name, 'document_key', s.document, 'title', i.title, 'uri', i.uri,
                                      'page', s.page, 'ordinal', s.ordinal, 'sequence', i.sequence)
                   ORDER BY i.name, s.ordinal) AS cited
  FROM chunk_source s
  CROSS JOIN LATERAL (SELECT * FROM indexed WHERE generation = s.generation AND document = s.document OFFSET 0) i
  WHERE s.generation = c.generation AND s.text_hash = c.text_hash
    AND (SELECT a.principals && %(readers)s::text[] FROM access_list a WHERE a.number = i.access)
) sources
WHERE sources.cited IS NOT NULL
ORDER BY x.place LIMIT %(top)s
