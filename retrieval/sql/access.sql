-- name: lists
-- The lists with one of the readers. Two principals may have one key: it only filters.
SELECT number FROM access_list WHERE keys && headrace.principal_keys(%(readers)s) LIMIT %(most)s

-- name: count
-- Chunks with one of the lists, or with several (0).
SELECT count(*) AS passages FROM (
  SELECT FROM chunk WHERE generation = (SELECT generation FROM generation WHERE state = 'active') AND access = ANY (0 || %(lists)s::bigint[])
  LIMIT %(most)s) AS x
