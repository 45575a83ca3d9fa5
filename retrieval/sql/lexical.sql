-- name: lexicon
SELECT passages FROM lexicon WHERE generation = %(generation)s

-- name: terms
-- A word counts wherever one of its stems stands, and in every passage of a language that it is a stop word of: a few passages in another
-- language, or in one that was not recognised, would make `of` and `the` the rarest words of all.
WITH stemmed AS MATERIALIZED (
  SELECT s.word, s.stem AS term, l.language
  FROM unnest(%(languages)s::text[]) AS l (language) CROSS JOIN LATERAL headrace.stems(l.language, %(words)s) AS s
), asked AS MATERIALIZED (
  SELECT word, term FROM stemmed UNION SELECT other, other FROM unnest(%(others)s::text[]) AS o (other)
), known AS MATERIALIZED (
  SELECT t.* FROM (SELECT DISTINCT term FROM asked) a
  CROSS JOIN LATERAL (
    SELECT term, number, passages, bound FROM term WHERE generation = %(generation)s AND term = a.term OFFSET 0) t
), counted AS MATERIALIZED (
  SELECT word, sum(passages) + (
    SELECT coalesce(sum(l.passages), 0) FROM unnest(%(languages)s::text[], %(counts)s::integer[]) AS l (language, passages)
    WHERE a.word = ANY (%(words)s) AND NOT EXISTS (SELECT FROM stemmed s WHERE s.word = a.word AND s.language = l.language)) AS passages
  FROM asked a JOIN known USING (term) GROUP BY word
)
SELECT DISTINCT ON (k.term) k.term, k.number, k.passages, k.bound, c.word, c.passages::bigint AS counted
FROM known k JOIN asked USING (term) JOIN counted c USING (word)
ORDER BY k.term, c.passages DESC, c.word COLLATE "C"

-- name: best
-- Ranked before anything is asked about access: of the ranked, only as many are asked about as it takes to find the best readable ones. A
-- subquery with OFFSET 0 keeps its place: a join would read every source of the tenant.
WITH ranked AS MATERIALIZED (
  SELECT l.text_hash, l.impacts <#> %(query)s::sparsevec AS distance
  FROM lexical l
  WHERE l.generation = %(generation)s AND l.terms @@ %(wanted)s::tsquery
  ORDER BY distance, l.text_hash
)
SELECT c.text_hash AS chunk, -c.distance AS score FROM ranked c WHERE {passing} LIMIT %(look)s

-- name: best_of_few
-- The same for a reader of few passages: those that it cannot read are passed over by the indexes.
WITH ranked AS MATERIALIZED (
  SELECT l.text_hash, l.impacts <#> %(query)s::sparsevec AS distance
  FROM lexical l
  WHERE l.generation = %(generation)s AND l.terms @@ %(wanted)s::tsquery AND l.access = ANY (0 || %(lists)s::bigint[])
  ORDER BY distance, l.text_hash
)
SELECT c.text_hash AS chunk, -c.distance AS score FROM ranked c WHERE {passing} LIMIT %(look)s

-- name: best_of_documents
-- The same for the passages of few documents, which may be read and pass the filters.
SELECT l.text_hash AS chunk, -(l.impacts <#> %(query)s::sparsevec) AS score
FROM (
  SELECT DISTINCT s.text_hash FROM unnest(%(documents)s::text[]) AS d (document)
  CROSS JOIN LATERAL (SELECT text_hash FROM chunk_source WHERE generation = %(generation)s AND document = d.document OFFSET 0) s) x
CROSS JOIN LATERAL (
  SELECT text_hash, terms, impacts FROM lexical
  WHERE tenant = (SELECT headrace.current_tenant()) AND generation = %(generation)s AND text_hash = x.text_hash OFFSET 0) l
WHERE l.terms @@ %(wanted)s::tsquery
ORDER BY l.impacts <#> %(query)s::sparsevec, l.text_hash LIMIT %(look)s

-- name: impacts
SELECT l.text_hash AS chunk, -(l.impacts <#> %(query)s::sparsevec) AS score
FROM unnest(%(chunks)s::text[]) AS x (text_hash)
CROSS JOIN LATERAL (
  SELECT text_hash, impacts FROM lexical
  WHERE tenant = (SELECT headrace.current_tenant()) AND generation = %(generation)s AND text_hash = x.text_hash OFFSET 0) l
