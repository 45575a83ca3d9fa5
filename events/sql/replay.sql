-- name: fates
-- These events' former fates, and the reasons of the dead letters that are still open.
SELECT kafka_partition, kafka_offset, e.fate, l.reason
FROM unnest(%(partitions)s::int[], %(offsets)s::bigint[]) AS x (kafka_partition, kafka_offset)
JOIN event e USING (kafka_partition, kafka_offset)
LEFT JOIN (SELECT kafka_partition, kafka_offset, reason FROM dead_letter WHERE stage = 'land' AND resolved_at IS NULL) l
  USING (kafka_partition, kafka_offset)

-- name: resolve
-- Resolve landing's dead letters of the events that have landed now.
UPDATE dead_letter l SET resolved_at = now()
FROM unnest(%(partitions)s::int[], %(offsets)s::bigint[]) AS x (kafka_partition, kafka_offset)
JOIN event e USING (kafka_partition, kafka_offset)
WHERE l.kafka_partition = e.kafka_partition AND l.kafka_offset = e.kafka_offset AND l.stage = 'land' AND l.resolved_at IS NULL
  AND e.fate <> 'dead-lettered'
