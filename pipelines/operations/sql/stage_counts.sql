-- name: counts
-- The tenant's documents by state at one stage. Tombstones do not count as done. A document that failed or waits at an earlier stage is not
-- behind here: no run of this stage would take it.
SELECT count(*) FILTER (WHERE r.status = 'done' AND r.output_key IS DISTINCT FROM 'deleted') AS done,
       count(*) FILTER (WHERE r.status = 'failed') AS failed,
       count(*) FILTER (WHERE r.status = 'waiting') AS waiting,
       count(*) FILTER (WHERE s.open AND NOT b.blocked) AS behind,
       count(*) FILTER (WHERE s.open AND b.blocked) AS blocked
FROM document d
LEFT JOIN stage_record r ON r.document = d.document AND r.stage = %(stage)s
CROSS JOIN LATERAL (SELECT r.status = 'behind' OR (r.document IS NULL AND NOT d.deleted) AS open) s
CROSS JOIN LATERAL (SELECT s.open AND EXISTS (SELECT FROM stage_record f WHERE f.document = d.document
                                              AND f.status IN ('failed', 'waiting') AND f.stage <> 'reindex') AS blocked) b

-- name: reasons
SELECT reason, count(*) AS documents FROM stage_record WHERE stage = %(stage)s AND status IN ('failed', 'waiting') GROUP BY reason

-- name: landed
SELECT count(*) FILTER (WHERE NOT deleted) AS live, count(*) FILTER (WHERE deleted) AS tombstones FROM document

-- name: refused
SELECT reason, count(*) AS documents FROM dead_letter WHERE stage = 'land' AND resolved_at IS NULL GROUP BY reason

-- name: due
-- Documents that a run would take now: their last stage never ran or is behind, or they wait and are due. A stage that failed, or waits for
-- a later time, excludes its document. A run also publishes outcomes. Changed fingerprints are not detected: that takes models.
SELECT count(*) + (EXISTS (SELECT FROM outcome WHERE outcome IS NOT NULL))::int AS documents
FROM document d LEFT JOIN stage_record last ON last.document = d.document AND last.stage = %(last)s
WHERE (last.document IS NULL
       OR EXISTS (SELECT FROM stage_record r WHERE r.document = d.document AND r.status IN ('behind', 'waiting')
                    AND r.stage <> 'reindex'))
  AND NOT EXISTS (SELECT FROM stage_record f WHERE f.document = d.document AND f.stage <> 'reindex'
                  AND (f.status = 'failed' OR (f.status = 'waiting' AND f.next_attempt > now())))
