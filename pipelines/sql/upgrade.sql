-- name: data_version
SELECT data_version FROM headrace.tenant WHERE tenant = %(tenant)s

-- name: reach
SELECT headrace.reach_data_version(%(version)s)

-- name: live
SELECT document, envelope FROM document WHERE NOT deleted AND document > %(after)s ORDER BY document LIMIT %(limit)s

-- name: disown
-- Tombstones that one batch wrote, and that no upsert is known of: their ids were never published.
UPDATE document d SET published = false, source_key = ''
WHERE d.deleted AND d.published AND d.parent IS NULL AND d.revision = 1 AND d.state_key <> 'erased'
  AND NOT EXISTS (SELECT FROM event e WHERE e.document = d.document AND e.operation = 'upsert' AND e.fate = 'landed')

-- name: move_document
-- The revision is higher than both documents' were, so that no worker that has one of them claimed commits, and no outcome is decided by
-- what was indexed before its event landed.
INSERT INTO document AS d (document, parent, revision, sequence, sequence_explicit, published, deleted, source_key, state_key, content_key,
  envelope_key, acl_key, envelope, acl, kafka_partition, kafka_offset, event_time, received_at, landed_at, released_key, appended_at)
SELECT %(document)s, f.parent, greatest(f.revision, %(revision)s) + 1, f.sequence, f.sequence_explicit, f.published, f.deleted, f.source_key,
  f.state_key, f.content_key, %(envelope_key)s, f.acl_key, %(envelope)s, f.acl, f.kafka_partition, f.kafka_offset, f.event_time,
  f.received_at, f.landed_at, f.released_key, f.appended_at
FROM document f WHERE f.document = %(former)s
ON CONFLICT (tenant, document) DO UPDATE SET
  parent = excluded.parent, revision = excluded.revision, sequence = excluded.sequence, sequence_explicit = excluded.sequence_explicit,
  published = excluded.published, deleted = excluded.deleted, source_key = excluded.source_key, state_key = excluded.state_key,
  content_key = excluded.content_key, envelope_key = excluded.envelope_key, acl_key = excluded.acl_key, envelope = excluded.envelope,
  acl = excluded.acl, kafka_partition = excluded.kafka_partition, kafka_offset = excluded.kafka_offset, event_time = excluded.event_time,
  received_at = excluded.received_at, landed_at = excluded.landed_at, released_key = excluded.released_key,
  appended_at = excluded.appended_at

-- name: mark_deleted
-- `parent` becomes the new key, so that erasing either key, as an earlier receipt may ask for, erases both.
UPDATE document SET deleted = true, envelope = NULL, acl = '{}', revision = revision + 1, landed_at = now(),
  parent = coalesce(%(moved_to)s, parent)
WHERE document = %(former)s

-- name: drop_records
DELETE FROM stage_record WHERE document = %(document)s

-- name: drop_artifacts
-- Not the graph's: it has the version that Neo4j knows of this document.
DELETE FROM artifact WHERE document = %(document)s AND stage <> 'graph'

-- name: move_events
UPDATE event SET document = %(document)s WHERE document = %(former)s

-- name: move_outcomes
UPDATE outcome SET document = %(document)s WHERE document = %(former)s

-- name: move_dead_letters
UPDATE dead_letter SET document = %(document)s WHERE document = %(former)s

-- name: move_artifacts
-- The contribution to the graph is made again under the new key, and the tombstone removes the former one.
UPDATE artifact SET document = %(document)s WHERE document = %(former)s AND stage <> 'graph'

-- name: move_sources
UPDATE chunk_source SET document = %(document)s WHERE document = %(former)s

-- name: move_citations
UPDATE indexed SET document = %(document)s WHERE document = %(former)s

-- name: move_records
UPDATE stage_record SET document = %(document)s WHERE document = %(former)s AND stage NOT IN ('graph', 'project')

-- name: move_children
UPDATE document SET parent = %(document)s WHERE parent = %(former)s

-- name: keep_without_original
-- Redaction finds a changed envelope and runs again, so that citations have the normalised id. Not if retention has left nothing to redact:
-- then what is searchable stays as it is.
UPDATE stage_record SET input_key = replace(input_key, %(former_key)s, %(envelope_key)s)
WHERE document = %(document)s
  AND NOT EXISTS (SELECT FROM artifact a WHERE a.document = %(document)s AND a.stage IN ('land', 'parse'))
