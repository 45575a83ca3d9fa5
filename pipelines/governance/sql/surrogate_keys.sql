-- name: lock
-- Whoever commits a stage, lands or erases holds a document: they are waited for here, and wait from here until the commit. Readers do not.
LOCK TABLE document IN EXCLUSIVE MODE

-- name: rotate
SELECT headrace.rotate_surrogates(%(epoch)s, %(wrapped)s, %(data_key)s) AS rotated

-- name: invalidate
-- Everything from redaction on, so that no stage takes what was made with the former key for its input. `updated_at` stays: what is older
-- than the rotation was not made since. A redacted document without its output key is not taken for done by who has the former key.
UPDATE stage_record r SET status = 'behind', output_key = CASE r.stage WHEN 'redact' THEN NULL ELSE r.output_key END
FROM document d
WHERE d.document = r.document AND NOT d.deleted AND r.stage = ANY (%(stages)s) AND r.status IN ('done', 'behind')

-- name: documents
-- Of the live ones, those whose original is not kept here: neither what was parsed nor the content that came with the event.
SELECT count(*) AS documents,
       count(*) FILTER (WHERE NOT EXISTS (SELECT FROM artifact a WHERE a.document = d.document AND a.stage IN ('land', 'parse')))
         AS without_original
FROM document d WHERE NOT deleted

-- name: remaining
-- Documents of which something may be left that was made with the former key, and that are still on their way: by no more records than `most`.
SELECT count(DISTINCT document) AS documents FROM (
  SELECT r.document FROM stage_record r
  WHERE r.stage = ANY (%(stages)s) AND r.status IN ('behind', 'waiting') AND (r.updated_at < %(rotated_at)s OR r.output_key IS NULL)
    AND NOT EXISTS (SELECT FROM stage_record f WHERE f.document = r.document AND f.status = 'failed')
  LIMIT %(most)s::bigint
) found

-- name: failed
-- Documents that will not come further on their own.
SELECT d.document FROM document d
WHERE EXISTS (SELECT FROM stage_record f WHERE f.document = d.document AND f.status = 'failed')
ORDER BY d.document FOR NO KEY UPDATE OF d

-- name: drop_made_before
-- Of these, what a stage left and has not made since.
DELETE FROM artifact a
WHERE a.document = ANY (%(documents)s) AND a.stage IN ('redact', 'chunk')
  AND NOT EXISTS (SELECT FROM stage_record r WHERE r.document = a.document AND r.stage = a.stage
                    AND r.output_key IS NOT NULL AND r.updated_at >= %(rotated_at)s)

-- name: projected_before
-- Of these, those whose contribution in the graph may be of before.
SELECT a.document FROM artifact a
WHERE a.document = ANY (%(documents)s) AND a.stage = 'graph'
  AND NOT EXISTS (SELECT FROM stage_record r WHERE r.document = a.document AND r.stage = 'project'
                    AND r.output_key IS NOT NULL AND r.updated_at >= %(rotated_at)s)

-- name: made_anew
-- What is not there any more is not taken for done, whatever their input comes to be.
UPDATE stage_record SET output_key = NULL, status = CASE status WHEN 'done' THEN 'behind' ELSE status END
WHERE document = ANY (%(documents)s) AND stage = ANY (%(stages)s) AND status IN ('behind', 'done')
  AND (updated_at < %(rotated_at)s OR stage = 'graph' AND document = ANY (%(withdrawn)s))

-- name: forget
SELECT headrace.forget_former_surrogates(%(epoch)s) AS forgotten
