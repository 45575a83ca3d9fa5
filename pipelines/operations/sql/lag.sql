-- name: positions
-- Of many tenants at once, as the login role: positions contain nothing of a document.
SELECT tenant, kafka_partition, next_offset, topic_id, base, base_from FROM headrace.stream_position WHERE tenant = ANY (%(tenants)s)

-- name: landed
-- Documents that landed and are not indexed, without those that failed.
SELECT min(d.received_at) AS oldest, count(*) AS documents
FROM document d LEFT JOIN stage_record r ON r.document = d.document AND r.stage = 'index' AND r.status = 'done'
WHERE r.document IS NULL
  AND NOT EXISTS (SELECT FROM stage_record f WHERE f.document = d.document AND f.status = 'failed' AND f.stage <> 'reindex')
