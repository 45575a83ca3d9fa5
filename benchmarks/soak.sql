-- name: sizes
-- In bytes, including indexes. A partitioned table itself has no size, only its partitions have.
SELECT sum(pg_total_relation_size(c.oid)) FILTER (WHERE c.relname <> 'event') AS tables,
       sum(pg_total_relation_size(c.oid)) FILTER (WHERE c.relname = 'event') AS event,
       (SELECT sum(s.n_dead_tup)::float8 / nullif(sum(s.n_dead_tup + s.n_live_tup), 0) FROM pg_stat_all_tables s
        WHERE s.schemaname IN (%(home)s, 'headrace')) AS dead
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname IN (%(home)s, 'headrace') AND c.relkind = 'r'
