-- name: cite
-- The first of these chunks that have a source which one of the readers may read and which passes the filters, in the given order; only such
-- sources are cited.
-- A chunk with a parent in the first of them has the parent's text: that of its chunks in that document.
-- Subqueries with OFFSET 0 keep their place: a join would read every source of a tenant that Postgres has no statistics of.
SELECT c.text_hash AS chunk, coalesce(parent.text, c.text) AS text, c.heading_path, sources.cited,
       CASE WHEN parent.text IS NOT NULL THEN sources.document || ' ' || sources.first END AS parent
FROM unnest(%(chunks)s::text[]) WITH ORDINALITY AS x (text_hash, place)
CROSS JOIN LATERAL (SELECT * FROM chunk WHERE generation = %(generation)s AND text_hash = x.text_hash OFFSET 0) c
CROSS JOIN LATERAL (
  SELECT jsonb_agg(jsonb_build_object('document', i.name, 'document_key', s.document, 'title', i.title, 'uri', i.uri,
                                      'page', s.page, 'ordinal', s.ordinal, 'sequence', i.sequence,
                                      'source', coalesce(i.source, ''), 'media_type', coalesce(i.media_type, ''),
                                      'event_time', i.event_time, 'indexed_at', i.indexed_at)
                   ORDER BY i.name, s.ordinal) AS cited,
         (array_agg(s.document ORDER BY i.name, s.ordinal))[1] AS document,
         (array_agg(s.parent_first ORDER BY i.name, s.ordinal))[1] AS first,
         (array_agg(s.parent_last ORDER BY i.name, s.ordinal))[1] AS last
  FROM chunk_source s
  CROSS JOIN LATERAL (SELECT * FROM indexed WHERE generation = s.generation AND document = s.document OFFSET 0) i
  WHERE s.generation = c.generation AND s.text_hash = c.text_hash AND {filter}
    AND (SELECT a.principals && %(readers)s::text[] FROM access_list a WHERE a.number = i.access)
) sources
LEFT JOIN LATERAL (
  SELECT string_agg(t.text, E'\n' ORDER BY p.ordinal) AS text
  FROM chunk_source p
  CROSS JOIN LATERAL (SELECT text FROM chunk WHERE generation = p.generation AND text_hash = p.text_hash OFFSET 0) t
  WHERE p.generation = c.generation AND p.document = sources.document AND p.ordinal BETWEEN sources.first AND sources.last
) parent ON true
WHERE sources.cited IS NOT NULL
ORDER BY x.place LIMIT %(top)s
