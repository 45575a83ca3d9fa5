-- name: missing
SELECT c.generation, c.text_hash, c.heading_path, c.text, x.language, x.contexts
FROM chunk c
CROSS JOIN LATERAL (
  SELECT min(i.language) AS language,
         coalesce(array_agg(DISTINCT i.context) FILTER (WHERE i.context_hash = ANY (c.contexts)), '{}') AS contexts
  FROM chunk_source s
  CROSS JOIN LATERAL (SELECT * FROM indexed WHERE generation = s.generation AND document = s.document OFFSET 0) i
  WHERE s.generation = c.generation AND s.text_hash = c.text_hash) x
WHERE c.text_hash = ANY (%(text_hashes)s) AND x.language IS NOT NULL
  AND NOT EXISTS (SELECT FROM lexical l WHERE l.generation = c.generation AND l.text_hash = c.text_hash)
ORDER BY c.generation, c.text_hash

-- name: stems
SELECT word, stem FROM headrace.stems(%(language)s, %(words)s)

-- name: count
INSERT INTO lexicon AS l (generation, passages, words, pivot)
VALUES (%(generation)s, %(passages)s, %(words)s, %(pivot)s)
ON CONFLICT (tenant, generation) DO UPDATE SET words = l.words + excluded.words, passages = (
  SELECT jsonb_object_agg(language, n) FROM (
    SELECT key AS language, sum(value::bigint) AS n
    FROM (SELECT * FROM jsonb_each_text(l.passages) UNION ALL SELECT * FROM jsonb_each_text(excluded.passages)) AS x GROUP BY key) AS y)
RETURNING pivot

-- name: raise
-- Only one swap of a tenant is under way: no row comes between this statement and the next. Terms, which have no spaces in them, come and go
-- as one text: a swap has thousands.
WITH raised AS (
  UPDATE term t SET passages = t.passages + x.passages, bound = greatest(t.bound, x.bound)
  FROM unnest(string_to_array(%(terms)s, ' '), %(passages)s::bigint[], %(bounds)s::real[]) AS x (term, passages, bound)
  WHERE t.generation = %(generation)s AND t.term = x.term
  RETURNING t.term, t.number
)
SELECT string_agg(term, ' ') AS terms, string_agg(number::text, ' ') AS numbers FROM raised

-- name: number
WITH given AS (
  UPDATE lexicon SET numbers = numbers + cardinality(%(passages)s::bigint[]) WHERE generation = %(generation)s
  RETURNING numbers - cardinality(%(passages)s::bigint[]) AS before
), added AS (
  INSERT INTO term (generation, term, number, passages, bound)
  SELECT %(generation)s, x.term, before + x.place, x.passages, x.bound
  FROM given, unnest(string_to_array(%(terms)s, ' '), %(passages)s::bigint[], %(bounds)s::real[]) WITH ORDINALITY
    AS x (term, passages, bound, place)
  RETURNING term, number
)
SELECT string_agg(term, ' ') AS terms, string_agg(number::text, ' ') AS numbers FROM added

-- name: add
INSERT INTO lexical (generation, text_hash, access, contexts, language, length, pivot, terms, impacts)
SELECT c.generation, x.text_hash, c.access, hashtextextended(array_to_string(c.contexts, ' '), 0), x.language, x.length, %(pivot)s, array_to_tsvector(string_to_array(x.terms, ' ')), x.impacts::sparsevec
FROM jsonb_to_recordset(%(rows)s) AS x (text_hash text, language text, length integer, terms text, impacts text)
CROSS JOIN LATERAL (SELECT generation, access, contexts FROM chunk WHERE generation = %(generation)s AND text_hash = x.text_hash OFFSET 0) c

-- name: remove
-- Of chunks that are gone, and of those whose sources have another smallest language or other contexts now, or whose generation has another
-- pivot.
WITH gone AS (
  DELETE FROM lexical l WHERE l.text_hash = ANY (%(text_hashes)s) AND (
    l.language IS DISTINCT FROM (
      SELECT min(i.language) FROM chunk_source s
      CROSS JOIN LATERAL (SELECT language FROM indexed WHERE generation = s.generation AND document = s.document OFFSET 0) i
      WHERE s.generation = l.generation AND s.text_hash = l.text_hash)
    OR l.pivot <> (SELECT x.pivot FROM lexicon x WHERE x.generation = l.generation)
    OR l.contexts <> (SELECT hashtextextended(array_to_string(c.contexts, ' '), 0) FROM chunk c
                      WHERE c.generation = l.generation AND c.text_hash = l.text_hash))
  RETURNING l.generation, l.language, l.length, l.terms
), lexicon AS (
  UPDATE lexicon l SET words = l.words - x.words, passages = (
    SELECT coalesce(jsonb_object_agg(language, n), '{}') FROM (
      SELECT key AS language, value::bigint - coalesce((x.passages ->> key)::bigint, 0) AS n FROM jsonb_each_text(l.passages)) AS y
    WHERE n > 0)
  FROM (
    SELECT generation, sum(words) AS words, jsonb_object_agg(language, n) AS passages
    FROM (SELECT generation, language, sum(length) AS words, count(*) AS n FROM gone GROUP BY 1, 2) AS z GROUP BY 1) AS x
  WHERE l.generation = x.generation
)
UPDATE term t SET passages = t.passages - x.passages
FROM (SELECT generation, term, count(*) AS passages FROM gone, unnest(tsvector_to_array(gone.terms)) AS term GROUP BY 1, 2) AS x
WHERE t.generation = x.generation AND t.term = x.term
RETURNING t.term, t.passages

-- name: drop_terms
DELETE FROM term WHERE term = ANY (%(terms)s) AND passages = 0

-- name: behind
SELECT l.generation, l.words, l.pivot, l.behind, x.passages
FROM lexicon l CROSS JOIN LATERAL (SELECT coalesce(sum(value::bigint), 0)::bigint AS passages FROM jsonb_each_text(l.passages)) x
ORDER BY l.generation

-- name: begin
UPDATE lexicon SET pivot = %(pivot)s, behind = true WHERE generation = %(generation)s

-- name: end
UPDATE lexicon SET behind = false WHERE generation = %(generation)s AND pivot = %(pivot)s::real

-- name: clear_lexical
DELETE FROM lexical WHERE generation = ANY (%(generations)s)

-- name: clear_terms
DELETE FROM term WHERE generation = ANY (%(generations)s)

-- name: clear_lexicon
DELETE FROM lexicon WHERE generation = ANY (%(generations)s)
