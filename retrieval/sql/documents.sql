-- name: readable
-- Of these documents, and of those that contain this passage, the ones that one of the readers may read, in the active generation.
-- A document that is not there and one that may not be read are equally absent.
SELECT i.document AS document_key, i.name AS document, i.title, i.uri, i.language, i.sequence, i.indexed_at, i.generation
FROM generation g
CROSS JOIN LATERAL (
  SELECT unnest(%(keys)s::text[]) AS document
  UNION SELECT s.document FROM chunk_source s WHERE s.generation = g.generation AND s.text_hash = ANY (%(chunks)s::text[])
) named
CROSS JOIN LATERAL (SELECT * FROM indexed WHERE generation = g.generation AND document = named.document OFFSET 0) i
WHERE g.state = 'active' AND (SELECT a.principals && %(readers)s::text[] FROM access_list a WHERE a.number = i.access)
ORDER BY i.name, i.document LIMIT %(most)s

-- name: passages
SELECT s.text_hash AS chunk, s.ordinal, s.page, c.heading_path, c.text
FROM chunk_source s
CROSS JOIN LATERAL (SELECT * FROM chunk WHERE generation = s.generation AND text_hash = s.text_hash OFFSET 0) c
WHERE s.generation = %(generation)s AND s.document = %(document)s AND s.ordinal >= %(first)s
ORDER BY s.ordinal LIMIT %(most)s

-- name: occurrences
-- Where this passage stands in each of these documents.
SELECT document, array_agg(ordinal ORDER BY ordinal) AS ordinals FROM chunk_source
WHERE generation = %(generation)s AND text_hash = ANY (%(chunks)s) AND document = ANY (%(documents)s) GROUP BY document

-- name: related
-- Readable documents that have passages of this one, or near-duplicates of them: those with most of them first. A passage that more
-- documents have than `sources`, which is no sign of kinship, is followed to some of them. `alike` counts near-duplicates without the same.
WITH own AS MATERIALIZED (
  SELECT DISTINCT text_hash FROM (
    SELECT text_hash FROM chunk_source WHERE generation = %(generation)s AND document = %(document)s ORDER BY ordinal LIMIT %(passages)s) p
), pivots AS MATERIALIZED (
  SELECT own.text_hash AS passage, coalesce(
    (SELECT n.neighbour FROM near_duplicate n WHERE n.generation = %(generation)s AND n.text_hash = own.text_hash AND n.pivot LIMIT 1),
    own.text_hash COLLATE "C") AS pivot
  FROM own
), members AS MATERIALIZED (
  SELECT passage, text_hash, false AS alike FROM (SELECT text_hash AS passage, text_hash FROM own) same
  UNION ALL
  SELECT p.passage, m.text_hash, true
  FROM pivots p
  CROSS JOIN LATERAL (
    SELECT p.pivot AS text_hash
    UNION ALL (SELECT n.text_hash FROM near_duplicate n WHERE n.generation = %(generation)s AND n.neighbour = p.pivot AND n.pivot
               ORDER BY n.text_hash LIMIT %(sources)s)) m
  WHERE m.text_hash <> p.passage
), sources AS MATERIALIZED (
  SELECT DISTINCT s.document, m.passage, m.alike
  FROM members m
  CROSS JOIN LATERAL (
    SELECT document FROM chunk_source WHERE generation = %(generation)s AND text_hash = m.text_hash LIMIT %(sources)s) s
  WHERE s.document <> %(document)s
), counted AS MATERIALIZED (
  SELECT document, count(DISTINCT passage) FILTER (WHERE NOT alike) AS shared, count(DISTINCT passage) AS both
  FROM sources GROUP BY document
)
SELECT i.document AS document_key, i.name AS document, i.title, i.uri, c.shared, c.both - c.shared AS alike
FROM counted c
CROSS JOIN LATERAL (SELECT * FROM indexed WHERE generation = %(generation)s AND document = c.document OFFSET 0) i
WHERE (SELECT a.principals && %(readers)s::text[] FROM access_list a WHERE a.number = i.access)
ORDER BY c.both DESC, c.shared DESC, i.name, i.document LIMIT %(most)s
