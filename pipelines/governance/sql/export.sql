-- name: generation
SELECT generation, fingerprint, model_name AS model, model_revision AS revision, model AS model_identity, dimension, surrogate_epoch
FROM generation WHERE state = 'active'

-- name: documents
-- Live documents. Their texts come from redacted artifacts; these columns are keys, numbers, times and access lists.
-- `done`: the stages whose result belongs to this sequence. A new landing resets all of a document's.
SELECT d.document, d.parent, d.sequence, d.event_time, d.received_at, d.landed_at, d.acl,
       ARRAY(SELECT r.stage FROM stage_record r WHERE r.document = d.document AND r.status = 'done') AS done
FROM document d WHERE NOT d.deleted AND d.document > %(after)s ORDER BY d.document LIMIT %(limit)s

-- name: chunks
SELECT text_hash AS chunk, text, heading_path, token_count FROM chunk WHERE generation = %(generation)s ORDER BY text_hash

-- name: embedded_chunks
SELECT text_hash AS chunk, text, heading_path, token_count, embedding::real[] AS embedding
FROM chunk WHERE generation = %(generation)s ORDER BY text_hash

-- name: sources
-- The columns that search cites.
SELECT s.text_hash AS chunk, s.document, s.ordinal, s.page, a.principals AS acl, i.name, i.title, i.uri, i.sequence
FROM chunk_source s JOIN indexed i ON i.generation = s.generation AND i.document = s.document JOIN access_list a ON a.number = i.access
WHERE s.generation = %(generation)s ORDER BY s.document, s.ordinal

-- name: outcomes
SELECT kafka_partition AS partition, kafka_offset AS offset, document, operation, sequence, fate, event_time, received_at, landed_at
FROM event ORDER BY kafka_partition, kafka_offset

-- name: dead_letters
SELECT kafka_partition AS partition, kafka_offset AS offset, stage, document, reason, attempts, first_at, last_at, resolved_at
FROM dead_letter ORDER BY kafka_partition, kafka_offset, stage, document
