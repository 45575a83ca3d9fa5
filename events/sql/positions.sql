-- name: stored
-- A position without a stored `topic_base` is from before there was one. The base of a partition that was cut says less than where it began.
SELECT kafka_partition, next_offset, topic_id, base, base_from,
       coalesce(topic_base, CASE base_from WHEN 0 THEN base ELSE 0 END) AS topic_base
FROM stream_position WHERE topic = %(topic)s

-- name: open
INSERT INTO stream_position (topic, kafka_partition, next_offset, topic_id) VALUES (%(topic)s, %(partition)s, 0, %(topic_id)s)
ON CONFLICT DO NOTHING

-- name: move
-- The compare-and-set that makes events land exactly once: a batch from another position or another topic writes nothing.
UPDATE stream_position SET next_offset = %(end)s, topic_id = coalesce(topic_id, %(topic_id)s), updated_at = now()
WHERE topic = %(topic)s AND kafka_partition = %(partition)s AND next_offset = %(start)s
  AND (topic_id = %(topic_id)s OR topic_id IS NULL OR %(topic_id)s::text IS NULL)
RETURNING base, coalesce(topic_base, CASE base_from WHEN 0 THEN base ELSE 0 END) AS topic_base

-- name: reconcile
-- A compare-and-set too: the reset applies only to the position that it was computed from.
UPDATE stream_position SET next_offset = %(next_offset)s, topic_id = %(topic_id)s, base = %(base)s, base_from = %(base_from)s,
  topic_base = %(topic_base)s, updated_at = now()
WHERE topic = %(topic)s AND kafka_partition = %(partition)s AND next_offset = %(seen_offset)s AND base = %(seen_base)s
  AND topic_id IS NOT DISTINCT FROM %(seen_topic_id)s

-- name: losses
SELECT kafka_partition || ':' || kafka_offset AS position, reason, detail, first_at
FROM dead_letter WHERE stage = 'land' AND reason = ANY (%(reasons)s) AND resolved_at IS NULL ORDER BY first_at, kafka_partition, kafka_offset

-- name: dismiss
UPDATE dead_letter SET resolved_at = now()
WHERE kafka_partition = %(partition)s AND kafka_offset = %(offset)s AND stage = 'land' AND resolved_at IS NULL
