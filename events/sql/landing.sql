-- name: states
-- Including the documents inside them. The lock keeps outcomes in order: an open swap's outcomes of earlier events are numbered before
-- those that this landing decides.
SELECT document, revision, sequence, sequence_explicit, published, source_key, state_key, content_key, envelope_key, acl_key, deleted,
       kafka_partition, appended_at, landed_at
FROM document WHERE document IN (
  WITH RECURSIVE family AS (
    SELECT unnest(%(documents)s::text[]) AS document UNION SELECT d.document FROM family f JOIN document d ON d.parent = f.document)
  SELECT document FROM family)
ORDER BY document FOR NO KEY UPDATE

-- name: upsert_documents
INSERT INTO document AS d (document, revision, sequence, sequence_explicit, published, deleted, source_key, state_key, content_key,
  envelope_key, acl_key, envelope, acl, kafka_partition, kafka_offset, event_time, received_at, appended_at)
SELECT x.document, x.revision + 1, x.sequence, x.sequence_explicit, x.published, x.deleted, x.source_key, x.state_key, x.content_key,
  x.envelope_key, x.acl_key, x.envelope, ARRAY(SELECT jsonb_array_elements_text(x.acl)), x.kafka_partition, x.kafka_offset, x.event_time,
  x.received_at, x.appended_at
FROM unnest(%(document)b::text[], %(revision)b::bigint[], %(sequence)b::bigint[], %(sequence_explicit)b::boolean[],
            %(published)b::boolean[], %(deleted)b::boolean[], %(source_key)b::text[], %(state_key)b::text[], %(content_key)b::text[],
            %(envelope_key)b::text[], %(acl_key)b::text[], %(envelope)b::bytea[], %(acl)b::text[]::jsonb[], %(kafka_partition)b::int[],
            %(kafka_offset)b::bigint[], %(event_time)b::timestamptz[], %(received_at)b::timestamptz[], %(appended_at)b::timestamptz[])
  AS x (document, revision, sequence, sequence_explicit, published, deleted, source_key, state_key, content_key, envelope_key, acl_key,
        envelope, acl, kafka_partition, kafka_offset, event_time, received_at, appended_at)
ORDER BY x.document
ON CONFLICT (tenant, document) DO UPDATE SET
  revision = excluded.revision, sequence = excluded.sequence, sequence_explicit = excluded.sequence_explicit,
  published = excluded.published, deleted = excluded.deleted, source_key = excluded.source_key, state_key = excluded.state_key, content_key = excluded.content_key,
  envelope_key = excluded.envelope_key, acl_key = excluded.acl_key, envelope = excluded.envelope, acl = excluded.acl,
  kafka_partition = excluded.kafka_partition, kafka_offset = excluded.kafka_offset, event_time = excluded.event_time,
  received_at = excluded.received_at, appended_at = excluded.appended_at, landed_at = now(), parent = NULL
WHERE d.revision = excluded.revision - 1

-- name: record_events
-- Each event's row, and its outcome, under the topic's own offset. An event gets one outcome: undecided for a document's newest event,
-- decided for all others.
WITH x AS MATERIALIZED (
  SELECT * FROM unnest(%(partitions)b::int[], %(offsets)b::bigint[], %(event_keys)b::text[], %(documents)b::text[],
    %(operations)b::text[], %(sequences)b::bigint[], %(fates)b::text[], %(event_times)b::timestamptz[], %(received)b::timestamptz[],
    %(reasons)b::text[], %(subjects)b::bytea[], %(own_offsets)b::bigint[])
  AS x (partition, kafka_offset, event_key, document, operation, sequence, fate, event_time, received, reason, subject, own_offset)
), recorded AS (
  INSERT INTO event (kafka_partition, kafka_offset, event_key, document, operation, sequence, fate, event_time, received_at)
  SELECT partition, kafka_offset, event_key, document, operation, sequence, fate, event_time, received FROM x
  ON CONFLICT (tenant, kafka_partition, kafka_offset) DO UPDATE SET fate = excluded.fate, landed_at = now()
)
INSERT INTO outcome (kafka_partition, kafka_offset, document, operation, sequence, revision, subject, event_time, received_at, reason,
  outcome, decided_at)
SELECT x.partition, x.own_offset, x.document, x.operation, x.sequence, d.revision, x.subject, x.event_time, x.received, x.reason,
       c.outcome, CASE WHEN c.outcome IS NOT NULL THEN clock_timestamp() END
FROM x
LEFT JOIN document d ON d.document = x.document AND d.kafka_partition = x.partition AND d.kafka_offset = x.kafka_offset
CROSS JOIN LATERAL (
  SELECT CASE WHEN x.fate <> 'landed' THEN x.fate WHEN d.document IS NULL THEN 'superseded' END AS outcome) c
-- this reads the rows from before the statement
WHERE %(first_read)s OR NOT EXISTS (SELECT FROM event e WHERE e.kafka_partition = x.partition AND e.kafka_offset = x.kafka_offset)
ORDER BY x.partition, x.kafka_offset
