-- name: of_source
SELECT document FROM document WHERE source_key = %(source_key)s ORDER BY document

-- name: outermost
-- The documents that these are inside of; what an attachment says stands in its mail too.
WITH RECURSIVE up AS (
  SELECT document, parent FROM document WHERE document = ANY (%(documents)s)
  UNION SELECT d.document, d.parent FROM up JOIN document d ON d.document = up.parent)
SELECT document FROM up WHERE parent IS NULL OR NOT EXISTS (SELECT FROM document d WHERE d.document = up.parent) ORDER BY document

-- name: texts
SELECT DISTINCT text_hash FROM chunk_source WHERE document = ANY (%(documents)s)

-- name: holdings
-- What each table holds of these documents. A text that another document has too is not counted: it stays for that one. `texts` are the
-- documents', as found before anything was erased. A record or a queued stage that says no more than that the document is gone is none.
WITH own AS MATERIALIZED (
  SELECT text_hash FROM unnest(%(texts)s::text[]) AS text_hash
  WHERE NOT EXISTS (SELECT FROM chunk_source s WHERE s.text_hash = text_hash.text_hash AND s.document <> ALL (%(documents)s)))
SELECT (SELECT count(*) FROM document WHERE document = ANY (%(documents)s) AND envelope IS NOT NULL) AS envelopes,
       (SELECT count(*) FROM event WHERE document = ANY (%(documents)s)) AS events,
       (SELECT count(*) FROM outcome WHERE document = ANY (%(documents)s)) AS outcomes,
       (SELECT count(*) FROM artifact WHERE document = ANY (%(documents)s) AND stage <> 'graph') AS artifacts,
       (SELECT count(*) FROM chunk_source WHERE document = ANY (%(documents)s)) AS chunk_sources,
       (SELECT count(*) FROM chunk JOIN own USING (text_hash)) AS chunks,
       (SELECT count(*) FROM embedding JOIN own USING (text_hash)) AS cached_vectors,
       (SELECT count(*) FROM indexed WHERE document = ANY (%(documents)s)) AS citations,
       (SELECT count(*) FROM dead_letter WHERE document = ANY (%(documents)s)) AS dead_letters,
       (SELECT count(*) FROM stage_record WHERE document = ANY (%(documents)s) AND output_key IS DISTINCT FROM 'deleted') AS stage_records,
       (SELECT count(*) FROM claim WHERE document = ANY (%(documents)s)) AS in_hand

-- name: write_tombstones
-- A tombstone that keeps its sequence and nothing else.
UPDATE document SET deleted = true, envelope = NULL, acl = '{}', revision = revision + 1, state_key = 'erased', content_key = 'erased',
  envelope_key = 'erased', acl_key = 'erased', landed_at = now()
WHERE document = ANY (%(documents)s)

-- name: complete_records
-- As a delete that has passed every stage leaves them; the projection has still to pass.
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
-- What was not published yet is told to nobody.
DELETE FROM outcome WHERE document = ANY (%(documents)s)

-- name: erase_events
DELETE FROM event WHERE document = ANY (%(documents)s)

-- name: erase_letters
DELETE FROM dead_letter WHERE document = ANY (%(documents)s)

-- name: erase_artifacts
-- The graph's is written over: it is the version above which Neo4j takes nothing of the document any more.
DELETE FROM artifact WHERE document = ANY (%(documents)s) AND stage <> 'graph'

-- name: erase_vectors
-- Also those of versions that were embedded and never came to their swap. Whoever is on the way to its own embeds again.
DELETE FROM embedding e WHERE NOT EXISTS (SELECT FROM chunk c WHERE c.text_hash = e.text_hash)

-- name: still_erased
-- Those that have not come back under a higher sequence.
SELECT document, sequence FROM document WHERE document = ANY (%(documents)s) AND deleted AND state_key = 'erased' ORDER BY document

-- name: of_tenant
SELECT (SELECT count(*) FROM document WHERE NOT deleted) AS documents, (SELECT count(*) FROM document WHERE deleted) AS tombstones,
       (SELECT count(*) FROM event) AS events, (SELECT count(*) FROM outcome) AS outcomes, (SELECT count(*) FROM artifact) AS artifacts,
       (SELECT count(*) FROM chunk_source) AS chunk_sources, (SELECT count(*) FROM chunk) AS chunks,
       (SELECT count(*) FROM embedding) AS cached_vectors, (SELECT count(*) FROM indexed) AS citations,
       (SELECT count(*) FROM dead_letter) AS dead_letters, (SELECT count(*) FROM stage_record) AS stage_records,
       (SELECT count(*) FROM claim) AS in_hand, (SELECT count(*) FROM stream_position) AS positions

-- name: traces
-- Of a tenant, as anybody may see them: its key, its schema, its roles.
SELECT (SELECT count(*) FROM headrace.tenant WHERE tenant = %(tenant)s) AS key,
       (SELECT count(*) FROM pg_namespace WHERE nspname = %(schema)s) AS tables,
       (SELECT count(*) FROM pg_roles WHERE rolname = ANY (%(roles)s)) AS roles
