-- name: known
-- What became of these events before, and why landing refuses them where it still does.
SELECT kafka_partition, kafka_offset, e.fate, l.reason
FROM unnest(%(partitions)s::int[], %(offsets)s::bigint[]) AS wanted (kafka_partition, kafka_offset)
JOIN event e USING (kafka_partition, kafka_offset)
LEFT JOIN (SELECT kafka_partition, kafka_offset, reason FROM dead_letter WHERE stage = 'land' AND resolved_at IS NULL) l
  USING (kafka_partition, kafka_offset)

-- name: settle
-- An event that passes landing after all has no dead letter of landing any more.
UPDATE dead_letter l SET resolved_at = now()
FROM unnest(%(partitions)s::int[], %(offsets)s::bigint[]) AS tried (kafka_partition, kafka_offset)
JOIN event e USING (kafka_partition, kafka_offset)
WHERE l.kafka_partition = e.kafka_partition AND l.kafka_offset = e.kafka_offset AND l.stage = 'land' AND l.resolved_at IS NULL
  AND e.fate <> 'dead-lettered'
