-- name: lock
-- Committing a stage, landing and erasing lock a document: this waits for them, and they wait until this commits. Readers do not wait.
LOCK TABLE document IN EXCLUSIVE MODE

-- name: rotate
SELECT headrace.rotate_surrogates(%(epoch)s, %(wrapped)s, %(data_key)s) AS rotated

-- name: invalidate
-- Every record from redaction on, so that no stage uses the former key's output as its input. `updated_at` stays: it tells what was computed
-- before the rotation. A redacted document without an output key is not seen as done by a process with the former key.
UPDATE stage_record r SET status = 'behind', output_key = CASE r.stage WHEN 'redact' THEN NULL ELSE r.output_key END
FROM document d
WHERE d.document = r.document AND NOT d.deleted AND r.stage = ANY (%(stages)s) AND r.status IN ('done', 'behind')

-- name: drop_canaries
-- A query cannot be redacted again, and its surrogates mean nothing under the new key.
DELETE FROM canary_query WHERE keyed

-- name: documents
-- Live documents, and those of which neither the parsed document nor the content from the event is kept.
SELECT count(*) AS documents,
       count(*) FILTER (WHERE NOT EXISTS (SELECT FROM artifact a WHERE a.document = d.document AND a.stage IN ('land', 'parse')))
         AS without_original
FROM document d WHERE NOT deleted

-- name: remaining
-- Documents in progress that may still have something made with the former key; looks at no more than `most` records.
SELECT count(DISTINCT document) AS documents FROM (
  SELECT r.document FROM stage_record r
  WHERE r.stage = ANY (%(stages)s) AND r.status IN ('behind', 'waiting') AND (r.updated_at < %(rotated_at)s OR r.output_key IS NULL)
    AND NOT EXISTS (SELECT FROM stage_record f WHERE f.document = r.document AND f.status = 'failed' AND f.stage <> 'reindex')
  LIMIT %(most)s::bigint
) found

-- name: failed
-- Documents that make no further progress by themselves.
SELECT d.document FROM document d
WHERE EXISTS (SELECT FROM stage_record f WHERE f.document = d.document AND f.status = 'failed' AND f.stage <> 'reindex')
ORDER BY d.document FOR NO KEY UPDATE OF d

-- name: drop_made_before
-- The artifacts of these documents that a stage has not written since the rotation.
DELETE FROM artifact a
WHERE a.document = ANY (%(documents)s) AND a.stage IN ('redact', 'chunk')
  AND NOT EXISTS (SELECT FROM stage_record r WHERE r.document = a.document AND r.stage = a.stage
                    AND r.output_key IS NOT NULL AND r.updated_at >= %(rotated_at)s)

-- name: projected_before
-- Those of these documents whose contribution to the graph may be from before the rotation.
SELECT a.document FROM artifact a
WHERE a.document = ANY (%(documents)s) AND a.stage = 'graph'
  AND NOT EXISTS (SELECT FROM stage_record r WHERE r.document = a.document AND r.stage = 'project'
                    AND r.output_key IS NOT NULL AND r.updated_at >= %(rotated_at)s)

-- name: invalidate_withdrawn
-- A record whose output was deleted is not done, whatever its next input is.
UPDATE stage_record SET output_key = NULL, status = CASE status WHEN 'done' THEN 'behind' ELSE status END
WHERE document = ANY (%(documents)s) AND stage = ANY (%(stages)s) AND status IN ('behind', 'done')
  AND (updated_at < %(rotated_at)s OR stage = 'graph' AND document = ANY (%(withdrawn)s))

-- name: forget
SELECT headrace.forget_former_surrogates(%(epoch)s) AS forgotten
