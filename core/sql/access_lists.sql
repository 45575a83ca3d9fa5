-- name: number
WITH asked AS MATERIALIZED (
  SELECT x.place, x.principals, headrace.access_digest(x.principals) AS digest
  FROM (SELECT place, ARRAY(SELECT jsonb_array_elements_text(list)) AS principals
        FROM unnest(%(lists)s::jsonb[]) WITH ORDINALITY AS y (list, place)) AS x
), added AS (
  INSERT INTO access_list (digest, principals) SELECT DISTINCT ON (digest) digest, principals FROM asked
  ON CONFLICT (tenant, digest) DO NOTHING RETURNING digest, number
)
SELECT coalesce(added.number, a.number) AS number
FROM asked LEFT JOIN added USING (digest) LEFT JOIN access_list a USING (digest) ORDER BY place

-- name: of_documents
SELECT DISTINCT access FROM indexed WHERE document = ANY (%(documents)s)

-- name: refresh
WITH found AS (
  SELECT c.generation, c.text_hash, c.access AS before, x.access
  FROM chunk c CROSS JOIN LATERAL (
    SELECT CASE WHEN min(i.access) = max(i.access) THEN min(i.access) ELSE 0 END AS access FROM chunk_source s
    CROSS JOIN LATERAL (SELECT access FROM indexed WHERE generation = s.generation AND document = s.document OFFSET 0) i
    WHERE s.generation = c.generation AND s.text_hash = c.text_hash) x
  WHERE c.text_hash = ANY (%(text_hashes)s) AND c.access <> x.access
), terms AS (
  UPDATE lexical l SET access = f.access FROM found f WHERE l.generation = f.generation AND l.text_hash = f.text_hash
)
UPDATE chunk c SET access = f.access FROM found f WHERE c.generation = f.generation AND c.text_hash = f.text_hash
RETURNING f.before

-- name: drop_unused
DELETE FROM access_list a WHERE (%(numbers)s::bigint[] IS NULL OR a.number = ANY (%(numbers)s))
  AND NOT EXISTS (SELECT FROM indexed i WHERE i.access = a.number)
  AND NOT EXISTS (SELECT FROM chunk c WHERE c.access = a.number)

-- name: wider
-- Indexed documents that principals may read whom their newest event does not list: the list that they have, and who may read them still.
SELECT i.generation, i.document, i.access, x.principals
FROM indexed i JOIN access_list a ON a.number = i.access JOIN document d ON d.document = i.document
CROSS JOIN LATERAL (SELECT headrace.narrowed(a.principals, d.acl) AS principals) x
WHERE i.document = ANY (%(documents)s) AND headrace.access_digest(x.principals) <> a.digest

-- name: narrow
UPDATE indexed i SET access = x.access
FROM unnest(%(generations)s::bigint[], %(documents)s::text[], %(numbers)s::bigint[]) AS x (generation, document, access)
WHERE i.generation = x.generation AND i.document = x.document
