-- name: open
SELECT kafka_partition || ':' || kafka_offset AS position, stage, reason, detail, attempts, document, first_at, last_at
FROM dead_letter WHERE resolved_at IS NULL ORDER BY last_at DESC, kafka_partition, kafka_offset

-- name: at
SELECT l.tenant, l.kafka_partition, l.kafka_offset, l.stage, l.document, l.reason, l.detail, l.attempts, l.first_at, l.last_at,
       l.resolved_at, e.operation, e.sequence, e.fate, e.received_at
FROM dead_letter l LEFT JOIN event e USING (kafka_partition, kafka_offset)
WHERE kafka_partition = %(partition)s AND kafka_offset = %(offset)s ORDER BY stage
