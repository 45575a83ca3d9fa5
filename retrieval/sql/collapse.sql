-- name: clusters
-- The pivots of those that are none themselves.
SELECT n.text_hash AS chunk, n.neighbour AS pivot FROM near_duplicate n
WHERE n.generation = (SELECT generation FROM generation WHERE state = 'active') AND n.text_hash = ANY (%(chunks)s) AND n.pivot

-- name: boilerplate
-- Documents are counted no further than it takes: first up to the least number, and those of the tenant only if a cluster has as many.
WITH often AS MATERIALIZED (
  SELECT p.pivot FROM unnest(%(pivots)s::text[]) AS p (pivot)
  WHERE (SELECT count(*) FROM (
    SELECT DISTINCT s.document
    FROM (SELECT p.pivot AS text_hash UNION ALL
          (SELECT n.text_hash FROM near_duplicate n
           WHERE n.generation = (SELECT generation FROM generation WHERE state = 'active') AND n.neighbour = p.pivot AND n.pivot)) m
    CROSS JOIN LATERAL (
      SELECT document FROM chunk_source
      WHERE generation = (SELECT generation FROM generation WHERE state = 'active') AND text_hash = m.text_hash OFFSET 0) s
    LIMIT %(least)s) x) >= %(least)s
), documents AS (
  SELECT count(*) AS number FROM indexed WHERE generation = (SELECT generation FROM generation WHERE state = 'active')
)
SELECT o.pivot FROM often o
WHERE (SELECT count(*) FROM (
  SELECT DISTINCT s.document
  FROM (SELECT o.pivot AS text_hash UNION ALL
        (SELECT n.text_hash FROM near_duplicate n
         WHERE n.generation = (SELECT generation FROM generation WHERE state = 'active') AND n.neighbour = o.pivot AND n.pivot)) m
  CROSS JOIN LATERAL (
    SELECT document FROM chunk_source
    WHERE generation = (SELECT generation FROM generation WHERE state = 'active') AND text_hash = m.text_hash OFFSET 0) s
  LIMIT (SELECT floor(number * %(share)s)::bigint + 1 FROM documents)) x) > (SELECT number * %(share)s FROM documents)

-- name: setting
SELECT boilerplate FROM deduplication WHERE generation = (SELECT generation FROM generation WHERE state = 'active')

-- name: alike
-- The other members of a cluster that one of the caller's principals may read: those with another text first. `members`: how many there are.
SELECT p.shown, m.chunk, m.text, m.heading_path, m.members, sources.cited
FROM unnest(%(shown)s::text[], %(pivots)s::text[]) AS p (shown, pivot)
CROSS JOIN LATERAL (
  SELECT c.generation, c.text_hash AS chunk, c.text, c.heading_path, count(*) OVER () AS members,
         row_number() OVER (ORDER BY c.text = x.text, c.text_hash) AS place
  FROM (
    SELECT p.pivot AS text_hash
    UNION ALL (
      SELECT n.text_hash FROM near_duplicate n
      WHERE n.generation = (SELECT generation FROM generation WHERE state = 'active') AND n.neighbour = p.pivot AND n.pivot
      ORDER BY n.text_hash LIMIT %(counted)s)) z
  CROSS JOIN LATERAL (
    SELECT * FROM chunk
    WHERE generation = (SELECT generation FROM generation WHERE state = 'active') AND text_hash = z.text_hash OFFSET 0) c
  CROSS JOIN LATERAL (
    SELECT text FROM chunk
    WHERE generation = (SELECT generation FROM generation WHERE state = 'active') AND text_hash = p.shown OFFSET 0) x
  WHERE z.text_hash <> p.shown
    AND EXISTS (
      SELECT FROM chunk_source s
      CROSS JOIN LATERAL (SELECT access FROM indexed WHERE generation = s.generation AND document = s.document OFFSET 0) i
      WHERE s.generation = c.generation AND s.text_hash = c.text_hash
        AND (SELECT a.principals && %(readers)s::text[] FROM access_list a WHERE a.number = i.access) OFFSET 0)
) m
CROSS JOIN LATERAL (
  SELECT jsonb_agg(jsonb_build_object('document', i.name, 'document_key', s.document, 'title', i.title, 'uri', i.uri,
                                      'page', s.page, 'ordinal', s.ordinal, 'sequence', i.sequence)
                   ORDER BY i.name, s.ordinal) AS cited
  FROM chunk_source s
  CROSS JOIN LATERAL (SELECT * FROM indexed WHERE generation = s.generation AND document = s.document OFFSET 0) i
  WHERE s.generation = m.generation AND s.text_hash = m.chunk
    AND (SELECT a.principals && %(readers)s::text[] FROM access_list a WHERE a.number = i.access)
) sources
WHERE m.place <= %(listed)s AND sources.cited IS NOT NULL
ORDER BY p.shown, m.place
