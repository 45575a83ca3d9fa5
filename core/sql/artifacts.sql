-- name: put
INSERT INTO artifact (document, stage, key, payload)
SELECT x.document, %(stage)s, x.key, x.payload
FROM unnest(%(documents)s::text[], %(keys)s::text[], %(payloads)s::bytea[]) AS x (document, key, payload)
ON CONFLICT (tenant, document, stage) DO UPDATE SET key = excluded.key, payload = excluded.payload

-- name: get
SELECT document, stage, payload FROM artifact WHERE document = ANY (%(documents)s) AND stage = %(stage)s

-- name: discard
DELETE FROM artifact WHERE document = ANY (%(documents)s) AND stage = ANY (%(stages)s)
