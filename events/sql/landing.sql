-- name: position
SELECT kafka_partition, next_offset FROM stream_position WHERE topic = %(topic)s

-- name: open_position
INSERT INTO stream_position (topic, kafka_partition, next_offset) VALUES (%(topic)s, %(partition)s, 0) ON CONFLICT DO NOTHING

-- name: move_position
-- The compare-and-set that makes landing exactly once: whoever read from another position writes nothing.
UPDATE stream_position SET next_offset = %(end)s, updated_at = now()
WHERE topic = %(topic)s AND kafka_partition = %(partition)s AND next_offset = %(start)s

-- name: states
SELECT document, revision, sequence, sequence_explicit, source_key, state_key, content_key, envelope_key, acl_key, deleted
FROM document WHERE document = ANY (%(documents)s)

-- name: land
INSERT INTO document AS d (document, revision, sequence, sequence_explicit, deleted, source_key, state_key, content_key, envelope_key,
  acl_key, envelope, acl, kafka_partition, kafka_offset, event_time, received_at)
VALUES (%(document)s, %(revision)s + 1, %(sequence)s, %(sequence_explicit)s, %(deleted)s, %(source_key)s, %(state_key)s, %(content_key)s,
  %(envelope_key)s, %(acl_key)s, %(envelope)s, %(acl)s, %(kafka_partition)s, %(kafka_offset)s, %(event_time)s, %(received_at)s)
ON CONFLICT (tenant, document) DO UPDATE SET
  revision = excluded.revision, sequence = excluded.sequence, sequence_explicit = excluded.sequence_explicit, deleted = excluded.deleted,
  source_key = excluded.source_key, state_key = excluded.state_key, content_key = excluded.content_key,
  envelope_key = excluded.envelope_key, acl_key = excluded.acl_key, envelope = excluded.envelope, acl = excluded.acl,
  kafka_partition = excluded.kafka_partition, kafka_offset = excluded.kafka_offset, event_time = excluded.event_time,
  received_at = excluded.received_at, landed_at = now()
WHERE d.revision = excluded.revision - 1

-- name: narrow
-- A revoked principal loses access now; what is granted anew comes with the swap.
UPDATE chunk_source s SET acl = headrace.narrowed(s.acl, d.acl)
FROM document d WHERE d.document = s.document AND d.document = ANY (%(documents)s) AND s.acl IS DISTINCT FROM headrace.narrowed(s.acl, d.acl)

-- name: expect
-- What became of an event is told once. A document's newest one is not decided yet, its older ones of the same batch are.
INSERT INTO outcome (kafka_partition, kafka_offset, document, operation, sequence, subject, event_time, received_at, reason, outcome, decided_at)
SELECT x.partition, x.kafka_offset, x.document, x.operation, x.sequence, x.subject, x.event_time, x.received, x.reason,
       c.outcome, CASE WHEN c.outcome IS NOT NULL THEN clock_timestamp() END
FROM unnest(%(partitions)s::int[], %(offsets)s::bigint[], %(documents)s::text[], %(operations)s::text[], %(sequences)s::bigint[],
            %(fates)s::text[], %(event_times)s::timestamptz[], %(received)s::timestamptz[], %(reasons)s::text[], %(subjects)s::bytea[])
  AS x (partition, kafka_offset, document, operation, sequence, fate, event_time, received, reason, subject)
LEFT JOIN document d ON d.document = x.document AND d.kafka_partition = x.partition AND d.kafka_offset = x.kafka_offset
CROSS JOIN LATERAL (
  SELECT CASE WHEN x.fate <> 'landed' THEN x.fate WHEN d.document IS NULL THEN 'superseded' END AS outcome) c
WHERE %(anew)s OR NOT EXISTS (SELECT FROM event e WHERE e.kafka_partition = x.partition AND e.kafka_offset = x.kafka_offset)
ORDER BY x.partition, x.kafka_offset

-- name: note
INSERT INTO event (kafka_partition, kafka_offset, event_key, document, operation, sequence, fate, event_time, received_at)
SELECT * FROM unnest(%(partitions)s::int[], %(offsets)s::bigint[], %(event_keys)s::text[], %(documents)s::text[], %(operations)s::text[],
  %(sequences)s::bigint[], %(fates)s::text[], %(event_times)s::timestamptz[], %(received)s::timestamptz[])
ON CONFLICT (tenant, kafka_partition, kafka_offset) DO UPDATE SET fate = excluded.fate, landed_at = now()
