-- name: parents
SELECT document, envelope FROM document WHERE document = ANY (%(documents)s) AND NOT deleted

-- name: existing
-- The documents that have these ids now. One that belongs to another parent, or to an event of its own, stays as it is. A tombstone of an id
-- that was never published has no owner.
SELECT document, parent, published, content_key, envelope_key, acl_key, deleted FROM document WHERE document = ANY (%(documents)s)

-- name: upsert_children
-- A child has its parent's sequence, access list, Kafka position and append time.
INSERT INTO document AS d (document, parent, revision, sequence, sequence_explicit, deleted, source_key, state_key, content_key, envelope_key,
  acl_key, envelope, acl, kafka_partition, kafka_offset, event_time, received_at, appended_at)
SELECT x.document, p.document, 1, p.sequence, p.sequence_explicit, false, p.source_key, x.content_key, x.content_key, x.envelope_key,
  p.acl_key, x.envelope, p.acl, p.kafka_partition, p.kafka_offset, p.event_time, p.received_at, p.appended_at
FROM unnest(%(documents)s::text[], %(parents)s::text[], %(content_keys)s::text[], %(envelope_keys)s::text[], %(envelopes)s::bytea[])
  AS x (document, parent, content_key, envelope_key, envelope)
JOIN document p ON p.document = x.parent
ORDER BY x.document
ON CONFLICT (tenant, document) DO UPDATE SET
  parent = excluded.parent, revision = d.revision + 1, sequence = excluded.sequence, sequence_explicit = excluded.sequence_explicit,
  published = true, deleted = false, source_key = excluded.source_key, state_key = excluded.state_key, content_key = excluded.content_key,
  envelope_key = excluded.envelope_key, acl_key = excluded.acl_key, envelope = excluded.envelope, acl = excluded.acl,
  kafka_partition = excluded.kafka_partition, kafka_offset = excluded.kafka_offset, event_time = excluded.event_time,
  received_at = excluded.received_at, appended_at = excluded.appended_at, landed_at = now()

-- name: delete_children
-- Children that their parent does not contain any more. The documents inside them are deleted when the parse stage takes them.
UPDATE document c SET deleted = true, envelope = NULL, acl = '{}', revision = c.revision + 1, sequence = p.sequence,
  kafka_partition = p.kafka_partition, kafka_offset = p.kafka_offset, appended_at = p.appended_at, landed_at = now()
FROM document p
WHERE p.document = c.parent AND c.parent = ANY (%(parents)s) AND c.document <> ALL (%(kept)s) AND NOT c.deleted
RETURNING c.document

-- name: propagate
-- In the landing's transaction: all documents inside a deleted one are deleted too, and the others get its access list.
WITH RECURSIVE family AS (
  SELECT c.document, c.parent AS root FROM document c WHERE c.parent = ANY (%(documents)s)
  UNION SELECT c.document, f.root FROM family f JOIN document c ON c.parent = f.document)
UPDATE document c SET deleted = p.deleted, envelope = CASE WHEN p.deleted THEN NULL ELSE c.envelope END, acl = p.acl, acl_key = p.acl_key,
  revision = c.revision + 1, sequence = p.sequence, kafka_partition = p.kafka_partition, kafka_offset = p.kafka_offset,
  appended_at = p.appended_at, landed_at = now()
FROM family f JOIN document p ON p.document = f.root
WHERE c.document = f.document AND NOT c.deleted AND (p.deleted OR c.acl_key <> p.acl_key)
RETURNING c.document, c.deleted

-- name: invalidate_parse
-- A parent that is restored with the same content must be parsed again, to find its children.
UPDATE stage_record SET output_key = NULL WHERE stage = 'parse' AND document = ANY (%(documents)s)
