-- name: documents
SELECT count(*) FILTER (WHERE NOT deleted) AS documents, count(*) FILTER (WHERE deleted) AS tombstones, max(landed_at) AS last_landed
FROM document

-- name: index_size
SELECT (SELECT count(*) FROM chunk c JOIN generation g USING (generation) WHERE g.state = 'active') AS chunks,
       (SELECT count(*) FROM indexed i JOIN generation g USING (generation) WHERE g.state = 'active') AS indexed,
       (SELECT count(*) FROM indexed i JOIN generation g USING (generation)
        WHERE g.state = 'active'
          AND NOT EXISTS (SELECT FROM chunk_source s WHERE s.generation = i.generation AND s.document = i.document)) AS empty,
       (SELECT count(*) FROM dead_letter WHERE resolved_at IS NULL) AS dead_letters

-- name: rates
-- What landed and was indexed within the last seconds, and the outcomes that are decided and not published yet.
SELECT (SELECT count(*) FROM event WHERE landed_at > now() - make_interval(secs => %(within_s)s)) AS landed,
       (SELECT count(*) FROM indexed i JOIN generation g USING (generation)
        WHERE g.state = 'active' AND i.indexed_at > now() - make_interval(secs => %(within_s)s)) AS indexed,
       (SELECT count(*) FROM outcome WHERE outcome IS NOT NULL) AS outcomes_waiting

-- name: failures
SELECT reason, count(*) AS letters FROM dead_letter WHERE resolved_at IS NULL GROUP BY reason ORDER BY letters DESC, reason
