-- name: landed
SELECT tenant, 'documents.' || tenant AS topic, kafka_partition AS partition, kafka_offset AS "offset", document, sequence, operation, fate,
       event_time, received_at
FROM event ORDER BY landed_at DESC LIMIT %(limit)s

-- name: chunks
SELECT c.text_hash, c.token_count, c.text, min(s.ordinal) AS ordinal, count(s.document) AS sources
FROM chunk c JOIN generation g ON g.generation = c.generation AND g.state = 'active'
LEFT JOIN chunk_source s ON s.generation = c.generation AND s.text_hash = c.text_hash
GROUP BY c.generation, c.text_hash, c.token_count, c.text LIMIT %(limit)s

-- name: vectors
SELECT e.embedding::text AS embedding FROM embedding e WHERE e.model = %(model)s ORDER BY e.created_at DESC LIMIT %(limit)s

-- name: newest
SELECT document FROM stage_record WHERE stage = %(stage)s AND status = 'done' AND output_key <> 'deleted'
ORDER BY updated_at DESC LIMIT %(limit)s

-- name: sampled
-- In a random order that is the same for the same documents, and changes with a document's output.
SELECT document, count(*) OVER () AS documents FROM stage_record WHERE stage = 'redact' AND status = 'done' AND output_key <> 'deleted'
ORDER BY md5(document || output_key) LIMIT %(limit)s

-- name: completeness
SELECT count(*) FILTER (WHERE NOT d.deleted) AS live,
       count(*) FILTER (WHERE NOT d.deleted AND i.document IS NOT NULL) AS indexed,
       count(*) FILTER (WHERE NOT d.deleted AND i.document IS NULL AND f.failed) AS failed,
       count(*) FILTER (WHERE NOT d.deleted AND i.document IS NULL AND f.failed IS NOT TRUE AND w.waiting) AS waiting,
       count(*) FILTER (WHERE d.deleted AND i.document IS NOT NULL AND r.status = 'done') AS surplus,
       count(*) FILTER (WHERE NOT d.deleted AND i.document IS NOT NULL
                        AND NOT EXISTS (SELECT FROM chunk_source s WHERE s.generation = i.generation AND s.document = i.document)) AS empty
FROM document d
LEFT JOIN (SELECT document, generation FROM indexed JOIN generation g USING (generation) WHERE g.state = 'active') i ON i.document = d.document
LEFT JOIN stage_record r ON r.document = d.document AND r.stage = 'index'
LEFT JOIN LATERAL (SELECT true AS failed FROM stage_record f WHERE f.document = d.document AND f.status = 'failed' AND f.stage <> 'reindex' LIMIT 1) f ON true
LEFT JOIN LATERAL (SELECT true AS waiting FROM stage_record w
                   WHERE w.document = d.document AND w.status IN ('waiting', 'behind') AND w.stage <> 'reindex'
                   UNION ALL SELECT true WHERE r.document IS NULL
                   -- for the promotion of a generation that is being built
                   UNION ALL SELECT true FROM indexed b JOIN generation g USING (generation)
                   WHERE b.document = d.document AND g.state = 'building' LIMIT 1) w ON true

-- name: projected
SELECT document FROM stage_record WHERE stage = 'project' AND status = 'done' AND output_key <> 'deleted'

-- name: questions
-- A sample: the order of hashes is no order of texts.
SELECT embedding::text AS embedding FROM chunk WHERE generation = %(generation)s ORDER BY text_hash LIMIT %(limit)s
