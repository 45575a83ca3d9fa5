-- name: lock_behind
-- A writer of a document's records locks the document first, in one order everywhere, and compares in a later statement: what a statement
-- that waits for a lock reads besides may be older than the lock.
SELECT d.document FROM document d
WHERE EXISTS (SELECT FROM stage_record r WHERE r.document = d.document AND r.stage = %(stage)s AND r.status = 'behind'
                AND r.output_key IS NOT NULL AND r.fingerprint = %(fingerprint)s)
  AND (%(only)s::text[] IS NULL OR d.document = ANY (%(only)s))
ORDER BY d.document FOR NO KEY UPDATE OF d

-- name: revalidate
-- A document that landed again with nothing changed for this stage is done again, without work.
UPDATE stage_record r SET status = 'done', updated_at = now()
FROM document d LEFT JOIN stage_record u ON u.document = d.document AND u.stage = %(upstream)s AND u.status = 'done'
WHERE r.document = d.document AND r.document = ANY (%(documents)s)
  AND r.stage = %(stage)s AND r.status = 'behind' AND r.output_key IS NOT NULL AND r.fingerprint = %(fingerprint)s
  AND (%(upstream)s::text IS NULL OR u.document IS NOT NULL OR d.deleted)
  AND r.input_key = headrace.input_key(d.deleted, d.sequence,
    headrace.part_key(%(part)s, d.content_key, d.envelope_key, d.acl_key), u.output_key)

-- name: stale
-- Unclaimed documents come first, then those claimed in the largest batch: they are suspected least.
SELECT d.document, d.revision, d.deleted, d.sequence, d.envelope, d.acl, d.kafka_partition, d.kafka_offset, d.received_at,
       d.released_key IS NOT DISTINCT FROM d.content_key AS released,
       k.input_key, CASE WHEN r.status = 'waiting' THEN r.attempts ELSE 0 END AS attempts, c.process, c.batch_size, c.crashes, c.solo_attempts
FROM document d
LEFT JOIN stage_record u ON u.document = d.document AND u.stage = %(upstream)s AND u.status = 'done'
LEFT JOIN stage_record r ON r.document = d.document AND r.stage = %(stage)s
LEFT JOIN claim c ON c.document = d.document AND c.stage = %(stage)s
CROSS JOIN LATERAL (SELECT headrace.input_key(d.deleted, d.sequence,
  headrace.part_key(%(part)s, d.content_key, d.envelope_key, d.acl_key), u.output_key) AS input_key) k
WHERE (%(only)s::text[] IS NULL OR d.document = ANY (%(only)s))
  AND (%(upstream)s::text IS NULL OR u.document IS NOT NULL OR d.deleted)
  AND (r.document IS NULL OR r.status = 'behind' OR r.fingerprint <> %(fingerprint)s OR r.input_key <> k.input_key
       OR (r.status = 'waiting' AND r.next_attempt <= now()))
ORDER BY c.document IS NOT NULL, c.batch_size DESC, d.landed_at, d.document
LIMIT %(limit)s

-- name: lock
-- Until the commit neither a landing nor another stage changes these. Documents inside a document are locked too, because a stage may
-- change them with it: all in one order everywhere.
SELECT document FROM document WHERE document = ANY (%(documents)s) OR parent = ANY (%(documents)s) ORDER BY document FOR NO KEY UPDATE

-- name: current
-- The compare of the compare-and-set: the documents whose current input is what the result was computed from. The revision too: a document
-- that changed and changed back may have shown the other state to the computation. A rotation locks every document while it changes the
-- epoch, so a computation under the former surrogate key finds it changed here. Current or not, the claims on all of them end.
WITH finished AS (DELETE FROM claim WHERE stage = %(stage)s AND document IN (
  SELECT document FROM claim WHERE stage = %(stage)s AND document = ANY (%(documents)s) ORDER BY document FOR UPDATE))
SELECT d.document
FROM unnest(%(documents)s::text[], %(revisions)s::bigint[], %(input_keys)s::text[]) AS mine (document, revision, input_key)
JOIN document d ON d.document = mine.document AND d.revision = mine.revision
LEFT JOIN stage_record u ON u.document = d.document AND u.stage = %(upstream)s AND u.status = 'done'
WHERE (SELECT headrace.surrogate_epoch()) = %(epoch)s
  AND (%(upstream)s::text IS NULL OR u.document IS NOT NULL OR d.deleted)
  AND mine.input_key = headrace.input_key(d.deleted, d.sequence,
    headrace.part_key(%(part)s, d.content_key, d.envelope_key, d.acl_key), u.output_key)

-- name: record
INSERT INTO stage_record (document, stage, input_key, fingerprint, output_key, status, attempts, next_attempt, reason, detail, seconds)
SELECT x.document, %(stage)s, x.input_key, %(fingerprint)s, x.output_key, x.status, x.attempts,
       now() + make_interval(secs => x.retry_in_s), x.reason, x.detail, x.seconds
FROM unnest(%(documents)s::text[], %(input_keys)s::text[], %(output_keys)s::text[], %(statuses)s::text[], %(attempts)s::int[],
            %(retries_in_s)s::float8[], %(reasons)s::text[], %(details)s::text[], %(seconds)s::float8[])
  AS x (document, input_key, output_key, status, attempts, retry_in_s, reason, detail, seconds)
ON CONFLICT (tenant, document, stage) DO UPDATE SET
  input_key = excluded.input_key, fingerprint = excluded.fingerprint, output_key = excluded.output_key, status = excluded.status,
  attempts = excluded.attempts, next_attempt = excluded.next_attempt, reason = excluded.reason, detail = excluded.detail,
  seconds = excluded.seconds, updated_at = now()

-- name: invalidate
-- In the landing's transaction: every record downstream is about an older state now, and so is every suspicion of a crash.
WITH unclaimed AS (DELETE FROM claim WHERE (document, stage) IN (
  SELECT document, stage FROM claim WHERE document = ANY (%(documents)s) ORDER BY document, stage FOR UPDATE))
UPDATE stage_record SET status = 'behind' WHERE document = ANY (%(documents)s) AND status <> 'behind'

-- name: retry
-- A replay: failed and waiting records are stale again.
UPDATE stage_record SET status = 'behind', output_key = NULL, attempts = 0
WHERE document = ANY (%(documents)s) AND (stage = %(stage)s OR %(stage)s IS NULL) AND status IN ('failed', 'waiting')

-- name: release
UPDATE document SET released_key = content_key, revision = revision + 1 WHERE document = %(document)s AND NOT deleted

-- name: dead_letter
INSERT INTO dead_letter (kafka_partition, kafka_offset, stage, document, reason, detail)
SELECT * FROM unnest(%(partitions)s::int[], %(offsets)s::bigint[], %(stages)s::text[], %(documents)s::text[], %(reasons)s::text[], %(details)s::text[])
ON CONFLICT (tenant, kafka_partition, kafka_offset, stage, document) DO UPDATE SET
  reason = excluded.reason, detail = excluded.detail, attempts = dead_letter.attempts + 1, last_at = now(), resolved_at = NULL

-- name: resolve
-- A success resolves the earlier failures of the document at this stage.
UPDATE dead_letter SET resolved_at = now()
WHERE document = ANY (%(documents)s) AND stage = %(stage)s AND resolved_at IS NULL

-- name: crashed_last
-- Whether the last other document that this stage finished crashed in the same place.
SELECT r.status = 'failed' AND r.reason = %(reason)s AND r.detail = %(detail)s AS alike FROM stage_record r
WHERE r.stage = %(stage)s AND r.fingerprint = %(fingerprint)s AND r.document <> %(document)s
  AND r.status IN ('done', 'failed') AND r.output_key IS DISTINCT FROM 'deleted'
ORDER BY r.updated_at DESC LIMIT 1

-- name: progress
SELECT stage, status, count(*) AS documents, min(reason) AS reason FROM stage_record GROUP BY stage, status ORDER BY stage, status

-- name: failure_reasons
SELECT stage, reason, count(*) AS documents FROM stage_record
WHERE status IN ('failed', 'waiting') AND (stage = %(stage)s OR %(stage)s::text IS NULL) GROUP BY stage, reason ORDER BY 3 DESC, 1, 2

-- name: records
SELECT stage, status, input_key, fingerprint, output_key, attempts, next_attempt, reason, detail, seconds, updated_at
FROM stage_record WHERE document = %(document)s ORDER BY updated_at, stage

-- name: lock_documents
SELECT document FROM document WHERE document = ANY (%(documents)s) ORDER BY document FOR NO KEY UPDATE
