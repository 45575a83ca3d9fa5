-- name: exact
SELECT c.text_hash FROM chunk c WHERE c.generation = {generation}
ORDER BY c.embedding <=> %(vector)s::halfvec, c.text_hash LIMIT %(look)s

-- name: indexed
-- By the generation's HNSW index, whose expression and predicate this text has to repeat (index/vector_index.py).
WITH near AS MATERIALIZED (
  SELECT c.text_hash, c.embedding::halfvec({dimension}) <=> %(vector)s::halfvec({dimension}) AS distance
  FROM chunk c WHERE c.generation = {generation}
  ORDER BY c.embedding::halfvec({dimension}) <=> %(vector)s::halfvec({dimension}) LIMIT %(look)s
)
SELECT text_hash FROM near ORDER BY distance, text_hash

-- name: documents
SELECT s.document FROM unnest(%(chunks)s::text[]) WITH ORDINALITY AS x (text_hash, place)
JOIN chunk_source s ON s.generation = %(generation)s AND s.text_hash = x.text_hash
GROUP BY s.document ORDER BY min(x.place), s.document

-- name: sampled
-- Titles and headings stand for questions; where there are none, beginnings of passages. In an order that has nothing to do with the text's.
WITH headed AS (
  SELECT query FROM (
    SELECT DISTINCT c.heading_path[cardinality(c.heading_path)] AS query FROM chunk c WHERE c.generation = %(generation)s
    UNION SELECT i.title FROM indexed i WHERE i.generation = %(generation)s) x
  WHERE query <> '' ORDER BY md5(query) LIMIT %(queries)s
), begun AS (
  SELECT DISTINCT left(c.text, 200) AS query FROM chunk c
  WHERE c.generation = %(generation)s AND NOT EXISTS (SELECT FROM headed) AND c.text <> '' LIMIT %(queries)s
)
SELECT query FROM headed UNION ALL SELECT query FROM begun
