-- name: matched
SELECT l.text_hash AS chunk, l.language,
       ARRAY(SELECT term FROM unnest(%(terms)s::text[]) AS term WHERE term = ANY (tsvector_to_array(l.terms)) ORDER BY term) AS terms
FROM unnest(%(chunks)s::text[]) AS x (text_hash)
CROSS JOIN LATERAL (
  SELECT text_hash, language, terms FROM lexical
  WHERE tenant = (SELECT headrace.current_tenant()) AND generation = %(generation)s AND text_hash = x.text_hash OFFSET 0) l

-- name: stems
SELECT word, stem FROM headrace.stems(%(language)s, %(words)s)
