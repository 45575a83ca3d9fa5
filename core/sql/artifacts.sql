-- name: put
INSERT INTO artifact (document, stage, key, payload)
SELECT x.document, %(stage)s, x.key, x.payload
FROM unnest(%(documents)b::text[], %(keys)b::text[], %(payloads)b::bytea[]) AS x (document, key, payload)
ON CONFLICT (tenant, document, stage) DO UPDATE SET key = excluded.key, payload = excluded.payload

-- name: get
-- At least one, and no more than max_bytes together. The length of a payload is known without reading it.
SELECT document, stage, payload
FROM (SELECT a.*, sum(octet_length(payload)) OVER (ORDER BY document) - octet_length(payload) AS before
      FROM artifact a WHERE document = ANY (%(documents)s) AND stage = %(stage)s) x
WHERE before < %(max_bytes)s OR %(max_bytes)s IS NULL

-- name: discard
DELETE FROM artifact WHERE document = ANY (%(documents)s) AND stage = ANY (%(stages)s)
