-- name: documents
SELECT count(*) FILTER (WHERE NOT deleted) AS documents, count(*) FILTER (WHERE deleted) AS tombstones, max(landed_at) AS last_landed
FROM document

-- name: index_size
SELECT (SELECT count(*) FROM chunk c JOIN generation g USING (generation) WHERE g.state = 'active') AS chunks,
       (SELECT count(*) FROM indexed i JOIN generation g USING (generation) WHERE g.state = 'active') AS indexed,
       (SELECT count(*) FROM dead_letter WHERE resolved_at IS NULL) AS dead_letters

-- name: open_letters
SELECT kafka_partition || ':' || kafka_offset AS position, stage, reason, detail, attempts, document, first_at, last_at
FROM dead_letter WHERE resolved_at IS NULL ORDER BY last_at DESC, kafka_partition, kafka_offset

-- name: letters_at
SELECT l.*, e.operation, e.sequence, e.fate, e.received_at
FROM dead_letter l LEFT JOIN event e USING (kafka_partition, kafka_offset)
WHERE kafka_partition = %(partition)s AND kafka_offset = %(offset)s ORDER BY stage

-- name: find
-- A document's key, or the documents that a chunk's id is cited from.
SELECT document FROM document WHERE document = ANY (%(keys)s)
UNION SELECT document FROM chunk_source WHERE text_hash = ANY (%(keys)s)
UNION SELECT document FROM dead_letter WHERE document = ANY (%(keys)s)

-- name: documents_by_key
SELECT document FROM document WHERE document = ANY (%(keys)s)

-- name: state
SELECT document, sequence, sequence_explicit, deleted, revision, acl, kafka_partition, kafka_offset, event_time, received_at, landed_at
FROM document WHERE document = %(document)s

-- name: events
SELECT kafka_partition, kafka_offset, operation, sequence, fate, event_time, received_at, landed_at
FROM event WHERE document = %(document)s ORDER BY landed_at DESC, kafka_offset DESC LIMIT 20

-- name: letters_of
SELECT kafka_partition, kafka_offset, stage, reason, detail, attempts, last_at, resolved_at
FROM dead_letter WHERE document = %(document)s ORDER BY last_at DESC

-- name: placed
SELECT i.generation, g.state, i.name, i.title, i.sequence, i.indexed_at,
       (SELECT count(*) FROM chunk_source s WHERE s.generation = i.generation AND s.document = i.document) AS chunks,
       (SELECT count(DISTINCT o.document) FROM chunk_source s JOIN chunk_source o USING (generation, text_hash)
        WHERE s.document = i.document AND s.generation = i.generation AND o.document <> i.document) AS shares_with
FROM indexed i JOIN generation g USING (generation) WHERE i.document = %(document)s

-- name: texts
SELECT DISTINCT text_hash FROM chunk_source WHERE document = %(document)s

-- name: holdings
-- What each table holds of a document; an erasure's receipt counts it before and after. A text that another document has too is
-- not counted: it stays for that one. `texts` are the document's, as found before anything was erased.
WITH own AS MATERIALIZED (
  SELECT text_hash FROM unnest(%(texts)s::text[]) AS text_hash
  WHERE NOT EXISTS (SELECT FROM chunk_source s WHERE s.text_hash = text_hash.text_hash AND s.document <> %(document)s)
)
SELECT (SELECT count(*) FROM event WHERE document = %(document)s) AS events,
       (SELECT count(*) FROM outcome WHERE document = %(document)s) AS outcomes,
       (SELECT count(*) FROM document WHERE document = %(document)s AND envelope IS NOT NULL) AS envelopes,
       (SELECT count(*) FROM artifact WHERE document = %(document)s) AS artifacts,
       (SELECT count(*) FROM chunk_source WHERE document = %(document)s) AS chunk_sources,
       (SELECT count(*) FROM chunk JOIN own USING (text_hash)) AS chunks,
       (SELECT count(*) FROM embedding JOIN own USING (text_hash)) AS cached_vectors,
       (SELECT count(*) FROM indexed WHERE document = %(document)s) AS citations,
       (SELECT count(*) FROM dead_letter WHERE document = %(document)s) AS dead_letters

-- name: bury_state
-- A tombstone that keeps its sequence and nothing else.
UPDATE document SET deleted = true, envelope = NULL, acl = '{}', revision = revision + 1, state_key = 'erased', content_key = 'erased',
  envelope_key = 'erased', acl_key = 'erased', landed_at = now()
WHERE document = %(document)s

-- name: hide
UPDATE chunk_source SET acl = '{}' WHERE document = %(document)s

-- name: erase_outcomes
-- What was not published yet is told to nobody.
DELETE FROM outcome WHERE document = %(document)s

-- name: erase_events
DELETE FROM event WHERE document = %(document)s

-- name: erase_letters
DELETE FROM dead_letter WHERE document = %(document)s

-- name: erase_artifacts
DELETE FROM artifact WHERE document = %(document)s

-- name: erase_vectors
-- Also those of versions that were embedded and never came to their swap. Whoever is on the way to its own embeds again.
DELETE FROM embedding e WHERE NOT EXISTS (SELECT FROM chunk c WHERE c.text_hash = e.text_hash)
