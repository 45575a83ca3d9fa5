-- name: first_since
-- The topic's own offsets of events that landed from the topic that the positions belong to.
SELECT kafka_partition, min(e.kafka_offset) - base AS kafka_offset
FROM event e JOIN stream_position p USING (kafka_partition)
WHERE p.topic = %(topic)s AND e.received_at >= %(since)s AND e.kafka_offset >= base + base_from
GROUP BY kafka_partition, base
