-- name: clear
DELETE FROM canary_query

-- name: add
INSERT INTO canary_query (query, judgements, keyed, baseline)
SELECT x.query, x.judgements, x.keyed, x.baseline
FROM jsonb_to_recordset(%(canaries)s) AS x (query text, judgements jsonb, keyed boolean, baseline jsonb)

-- name: record
UPDATE canary_query c SET baseline = x.baseline
FROM jsonb_to_recordset(%(baselines)s) AS x (query text, baseline jsonb) WHERE c.query = x.query

-- name: stored
SELECT query, judgements, keyed, baseline FROM canary_query ORDER BY query

-- name: count
SELECT count(*) AS queries FROM canary_query
