-- name: lists
-- The lists with one of the readers. Two principals may have one key: it only filters.
SELECT number FROM access_list WHERE keys && headrace.principal_keys(%(readers)s) LIMIT %(most)s

-- name: count
-- Chunks with one of the lists, or with several (0).
SELECT count(*) AS passages FROM (
  SELECT FROM chunk WHERE generation = %(generation)s AND access = ANY (0 || %(lists)s::bigint[]) LIMIT %(most)s) AS x

-- name: documents
-- Those that one of the readers may read and that pass the filters.
SELECT i.document FROM indexed i
WHERE i.generation = %(generation)s AND {filter}
  AND (SELECT a.principals && %(readers)s::text[] FROM access_list a WHERE a.number = i.access)
LIMIT %(most)s

-- name: passages_of
SELECT count(*) AS passages FROM (
  SELECT FROM unnest(%(documents)s::text[]) AS d (document)
  CROSS JOIN LATERAL (SELECT FROM chunk_source WHERE generation = %(generation)s AND document = d.document OFFSET 0) s
  LIMIT %(most)s) AS x

-- name: undescribed
-- Documents that one of the readers may read and that have no values to filter by, because they were indexed before there were filters.
SELECT count(*) AS documents FROM indexed i
WHERE i.generation = %(generation)s AND i.metadata IS NULL
  AND (SELECT a.principals && %(readers)s::text[] FROM access_list a WHERE a.number = i.access)

-- name: passing
-- A condition on a chunk `c`: one of its sources may be read and passes the filters.
EXISTS (
  SELECT FROM chunk_source s
  CROSS JOIN LATERAL (SELECT * FROM indexed WHERE generation = s.generation AND document = s.document OFFSET 0) i
  WHERE s.generation = {generation} AND s.text_hash = c.text_hash AND {filter}
    AND (SELECT a.principals && %(readers)s::text[] FROM access_list a WHERE a.number = i.access) OFFSET 0)
