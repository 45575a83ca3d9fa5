-- name: state
SELECT document, sequence, sequence_explicit, published, deleted, revision, acl, kafka_partition, kafka_offset, event_time, received_at,
       appended_at, landed_at
FROM document WHERE document = %(document)s

-- name: events
SELECT kafka_partition, kafka_offset, operation, sequence, fate, event_time, received_at, landed_at
FROM event WHERE document = %(document)s ORDER BY landed_at DESC, kafka_offset DESC LIMIT 20

-- name: dead_letters
SELECT kafka_partition, kafka_offset, stage, reason, detail, attempts, last_at, resolved_at
FROM dead_letter WHERE document = %(document)s ORDER BY last_at DESC

-- name: placed
SELECT i.generation, g.state, i.name, i.title, i.sequence, i.indexed_at,
       (SELECT count(*) FROM chunk_source s WHERE s.generation = i.generation AND s.document = i.document) AS chunks,
       (SELECT count(DISTINCT o.document) FROM chunk_source s JOIN chunk_source o USING (generation, text_hash)
        WHERE s.document = i.document AND s.generation = i.generation AND o.document <> i.document) AS shares_with
FROM indexed i JOIN generation g USING (generation) WHERE i.document = %(document)s
