-- name: documents
SELECT document, revision, sequence, deleted, acl FROM document

-- name: sources
-- Every passage that a search can return, with the document it is cited from.
SELECT s.document, s.ordinal, s.page, a.principals AS acl, c.heading_path, c.text
FROM chunk_source s JOIN chunk c USING (generation, text_hash) JOIN generation g USING (generation)
JOIN indexed i ON i.generation = s.generation AND i.document = s.document JOIN access_list a ON a.number = i.access
WHERE g.state = 'active' ORDER BY s.document, s.ordinal

-- name: in_any_generation
-- Documents that any generation still has rows of.
SELECT document FROM indexed UNION SELECT document FROM chunk_source

-- name: indexed
SELECT i.document, i.name, i.title, i.uri, i.sequence FROM indexed i JOIN generation g USING (generation) WHERE g.state = 'active'

-- name: unsourced
SELECT count(*) AS chunks FROM chunk c
WHERE NOT EXISTS (SELECT FROM chunk_source s WHERE s.generation = c.generation AND s.text_hash = c.text_hash)

-- name: events
SELECT document, kafka_partition, kafka_offset, fate, operation, sequence, event_time FROM event ORDER BY kafka_partition, kafka_offset

-- name: dead_letters
SELECT document, stage, reason, attempts FROM dead_letter WHERE resolved_at IS NULL ORDER BY kafka_partition, kafka_offset, stage

-- name: unfinished
SELECT document, stage, status, reason FROM stage_record WHERE status <> 'done' AND stage <> 'reindex' ORDER BY document, stage

-- name: outdated
-- Results of a stage for documents that it could take now, with another fingerprint than it has now.
SELECT count(*) AS records
FROM unnest(%(stages)s::text[], %(fingerprints)s::text[]) AS now (stage, fingerprint)
JOIN stage_record r ON r.stage = now.stage AND r.fingerprint <> now.fingerprint AND r.status = 'done' AND r.output_key <> 'deleted'
JOIN stage_record u ON u.document = r.document AND u.stage = 'redact' AND u.status = 'done'

-- name: leftovers
-- Artifacts of deleted documents. Those of the graph stage do not count: they record the deletion.
SELECT a.document, a.stage FROM artifact a JOIN document d USING (document) WHERE d.deleted AND a.stage <> 'graph'

-- name: unpublished
SELECT count(*) AS outcomes FROM outcome
