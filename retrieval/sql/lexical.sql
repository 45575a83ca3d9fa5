-- name: lexicon
SELECT generation, passages FROM lexicon WHERE generation = (SELECT generation FROM generation WHERE state = 'active')

-- name: terms
SELECT t.term, t.number, t.passages, t.bound
FROM (
  SELECT unnest(%(others)s::text[]) AS term
  UNION SELECT s.stem FROM unnest(%(languages)s::text[]) AS language CROSS JOIN LATERAL headrace.stems(language, %(words)s) AS s) asked
CROSS JOIN LATERAL (
  SELECT * FROM term WHERE generation = %(generation)s AND term = asked.term OFFSET 0) t
ORDER BY t.passages, t.term LIMIT %(most)s

-- name: best
-- Ranked before anything is asked about access: of the ranked, only as many are asked about as it takes to find the best readable ones. A
-- subquery with OFFSET 0 keeps its place: a join would read every source of the tenant.
WITH ranked AS MATERIALIZED (
  SELECT l.text_hash, l.impacts <#> %(query)s::sparsevec AS distance
  FROM lexical l
  WHERE l.generation = %(generation)s AND l.terms @@ %(wanted)s::tsquery
  ORDER BY distance, l.text_hash
)
SELECT r.text_hash AS chunk, -r.distance AS score
FROM ranked r
WHERE EXISTS (
  SELECT FROM chunk_source s
  CROSS JOIN LATERAL (SELECT access FROM indexed WHERE generation = s.generation AND document = s.document OFFSET 0) i
  WHERE s.generation = %(generation)s AND s.text_hash = r.text_hash
    AND (SELECT a.principals && %(readers)s::text[] FROM access_list a WHERE a.number = i.access) OFFSET 0)
LIMIT %(top)s

-- name: best_of_few
-- The same for a reader of few passages: those that it cannot read are passed over by the indexes.
WITH ranked AS MATERIALIZED (
  SELECT l.text_hash, l.impacts <#> %(query)s::sparsevec AS distance
  FROM lexical l
  WHERE l.generation = %(generation)s AND l.terms @@ %(wanted)s::tsquery AND l.access = ANY (0 || %(lists)s::bigint[])
  ORDER BY distance, l.text_hash
)
SELECT r.text_hash AS chunk, -r.distance AS score
FROM ranked r
WHERE EXISTS (
  SELECT FROM chunk_source s
  CROSS JOIN LATERAL (SELECT access FROM indexed WHERE generation = s.generation AND document = s.document OFFSET 0) i
  WHERE s.generation = %(generation)s AND s.text_hash = r.text_hash
    AND (SELECT a.principals && %(readers)s::text[] FROM access_list a WHERE a.number = i.access) OFFSET 0)
LIMIT %(top)s
