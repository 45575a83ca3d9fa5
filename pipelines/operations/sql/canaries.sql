-- name: clear
DELETE FROM canary_query

-- name: add
INSERT INTO canary_query (query, judgements, keyed)
SELECT x.query, x.judgements, x.keyed FROM jsonb_to_recordset(%(canaries)s) AS x (query text, judgements jsonb, keyed boolean)

-- name: stored
SELECT query, judgements FROM canary_query ORDER BY query

-- name: count
SELECT count(*) AS queries FROM canary_query
