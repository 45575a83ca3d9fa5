-- name: of_source
SELECT document FROM document WHERE source_key = %(source_key)s ORDER BY document

-- name: outermost
-- The outermost parents of these documents: the text of an attachment is part of its mail too.
WITH RECURSIVE up AS (
  SELECT document, parent FROM document WHERE document = ANY (%(documents)s)
  UNION SELECT d.document, d.parent FROM up JOIN document d ON d.document = up.parent)
SELECT document FROM up WHERE parent IS NULL OR NOT EXISTS (SELECT FROM document d WHERE d.document = up.parent) ORDER BY document

-- name: write_tombstones
-- A tombstone keeps the sequence and nothing else.
UPDATE document SET deleted = true, envelope = NULL, acl = '{}', revision = revision + 1, state_key = 'erased', content_key = 'erased',
  envelope_key = 'erased', acl_key = 'erased', landed_at = now()
WHERE document = ANY (%(documents)s)

-- name: complete_records
-- The records as after a delete that has passed every stage, but for the projection, which has still to pass.
UPDATE stage_record r SET status = CASE WHEN r.stage = 'project' THEN 'behind' ELSE 'done' END, output_key = 'deleted',
  input_key = headrace.input_key(true, d.sequence, NULL, NULL), attempts = 1, next_attempt = NULL, reason = NULL, detail = NULL,
  updated_at = now()
FROM document d WHERE d.document = r.document AND r.document = ANY (%(documents)s)

-- name: complete_projection
UPDATE stage_record SET status = 'done', updated_at = now() WHERE stage = 'project' AND document = ANY (%(documents)s)

-- name: drop_dead_claims
-- Claims of processes that are dead. A live process will find that its document has changed, and release it.
DELETE FROM claim WHERE (document, stage) IN (
  SELECT document, stage FROM claim
  WHERE document = ANY (%(documents)s) AND process NOT IN (
    SELECT (classid::bigint << 32) | objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND objsubid = 1)
  ORDER BY document, stage FOR UPDATE)

-- name: claimed
SELECT count(*) AS claims FROM claim WHERE document = ANY (%(documents)s)

-- name: erase_outcomes
-- Outcomes that are not published yet are never published.
DELETE FROM outcome WHERE document = ANY (%(documents)s)

-- name: erase_events
DELETE FROM event WHERE document = ANY (%(documents)s)

-- name: erase_dead_letters
DELETE FROM dead_letter WHERE document = ANY (%(documents)s)

-- name: erase_artifacts
-- The graph's artifact is overwritten: it becomes the version up to which Neo4j refuses writes of the document.
DELETE FROM artifact WHERE document = ANY (%(documents)s) AND stage <> 'graph'

-- name: erase_vectors
-- Includes the vectors of versions that were embedded and never swapped in. A document that still needs one is embedded again.
DELETE FROM embedding e WHERE NOT EXISTS (SELECT FROM chunk c WHERE c.text_hash = e.text_hash)
  AND NOT EXISTS (SELECT FROM indexed i WHERE i.context_hash = e.text_hash)
