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
