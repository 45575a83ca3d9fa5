-- name: lexicon
SELECT passages FROM lexicon WHERE generation = (SELECT generation FROM generation WHERE state = 'active')

-- name: terms
SELECT t.term, t.number, t.passages, t.bound
FROM (
  SELECT unnest(%(others)s::text[]) AS term
  UNION SELECT s.stem FROM unnest(%(languages)s::text[]) AS language CROSS JOIN LATERAL headrace.stems(language, %(words)s) AS s) asked
CROSS JOIN LATERAL (
  SELECT * FROM term
  WHERE generation = (SELECT generation FROM generation WHERE state = 'active') AND term = asked.term OFFSET 0) t
ORDER BY t.passages, t.term LIMIT %(most)s

-- name: best
-- Ranked before anything is asked about access: of the ranked, only as many are asked about as it takes to find the best readable ones. A
-- subquery with OFFSET 0 keeps its place: a join would read every source of the tenant.
WITH ranked AS MATERIALIZED (
  SELECT l.generation, l.text_hash, l.impacts <#> %(query)s::sparsevec AS distance
  FROM lexical l
  WHERE l.generation = (SELECT generation FROM generation WHERE state = 'active') AND l.terms @@ %(wanted)s::tsquery
  ORDER BY distance, l.text_hash
)
SELECT r.text_hash, -r.distance AS score
FROM ranked r
WHERE (SELECT true FROM chunk_source s WHERE s.generation = r.generation AND s.text_hash = r.text_hash AND s.acl && %(readers)s::text[]
       LIMIT 1 OFFSET 0)
LIMIT %(top)s

-- name: cite
SELECT c.text_hash AS chunk, c.text, c.heading_path, sources.cited
FROM chunk c
JOIN unnest(%(chunks)s::text[]) WITH ORDINALITY AS x (text_hash, place) USING (text_hash)
CROSS JOIN LATERAL (
  SELECT jsonb_agg(jsonb_build_object('document', i.name, 'document_key', s.document, 'title', i.title, 'uri', i.uri,
                                      'page', s.page, 'ordinal', s.ordinal, 'sequence', i.sequence)
                   ORDER BY i.name, s.ordinal) AS cited
  FROM chunk_source s
  CROSS JOIN LATERAL (SELECT * FROM indexed WHERE generation = s.generation AND document = s.document OFFSET 0) i
  WHERE s.generation = c.generation AND s.text_hash = c.text_hash AND s.acl && %(readers)s::text[]
) sources
WHERE c.generation = (SELECT generation FROM generation WHERE state = 'active') AND sources.cited IS NOT NULL
ORDER BY x.place
