-- name: chunks
SELECT (SELECT count(*) FROM chunk) AS chunks, (SELECT vector_index FROM generation WHERE state = 'active') AS vector_index

-- name: tables
-- Of the schema that the tenant's role sees first.
SELECT c.relname AS table, CASE WHEN c.reltuples >= 0 THEN c.reltuples::bigint END AS rows,
       pg_table_size(c.oid) AS table_bytes, pg_indexes_size(c.oid) AS index_bytes
FROM pg_class c WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind = 'r'
ORDER BY pg_total_relation_size(c.oid) DESC, c.relname
