-- name: unfinished
-- Documents of these partitions that no event will start: their last stage never ran or is behind, or they wait and are due. A stage that
-- failed, or waits for a later time, keeps its document out (as in stage_counts.sql's `due`).
SELECT d.document
FROM document d LEFT JOIN stage_record last ON last.document = d.document AND last.stage = %(last)s
WHERE d.kafka_partition = ANY (%(partitions)s) AND d.document <> ALL (%(in_flight)s)
  AND (last.document IS NULL
       OR EXISTS (SELECT FROM stage_record r WHERE r.document = d.document AND r.status IN ('behind', 'waiting')
                    AND r.stage <> 'reindex'))
  AND NOT EXISTS (SELECT FROM stage_record f WHERE f.document = d.document AND f.stage <> 'reindex'
                  AND (f.status = 'failed' OR (f.status = 'waiting' AND f.next_attempt > now())))
ORDER BY d.landed_at, d.document LIMIT %(limit)s

-- name: outdated
-- Documents with a result of another fingerprint than a stage has now, a page at a time.
SELECT DISTINCT r.document
FROM unnest(%(stages)s::text[], %(fingerprints)s::text[]) AS now (stage, fingerprint)
JOIN stage_record r ON r.stage = now.stage AND r.fingerprint <> now.fingerprint
JOIN document d ON d.document = r.document
WHERE d.kafka_partition = ANY (%(partitions)s) AND r.document > %(after)s
ORDER BY r.document LIMIT %(limit)s

-- name: unpublished
SELECT EXISTS (SELECT FROM outcome WHERE outcome IS NOT NULL) AS found
