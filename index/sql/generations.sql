-- name: open
-- The first generation is active from its first chunk; a later one is built beside the active one.
INSERT INTO generation (fingerprint, model, model_name, model_revision, dimension, surrogate_epoch, state)
VALUES (%(fingerprint)s, %(model)s, %(name)s, %(revision)s, %(dimension)s, %(epoch)s,
        CASE WHEN EXISTS (SELECT FROM generation WHERE state = 'active') THEN 'building' ELSE 'active' END)
ON CONFLICT (tenant, fingerprint) DO UPDATE SET
  state = CASE generation.state WHEN 'retired' THEN 'building' ELSE generation.state END
RETURNING generation, state

-- name: changed
-- The same name, with other files. Retired generations are empty.
SELECT EXISTS (
  SELECT FROM generation
  WHERE state <> 'retired' AND model <> %(model)s AND model_name = %(name)s AND model_revision IS NOT DISTINCT FROM %(revision)s
) AS changed

-- name: name
UPDATE generation SET model_name = %(name)s, model_revision = %(revision)s
WHERE model = %(model)s AND (model_name, model_revision) IS DISTINCT FROM (%(name)s, %(revision)s::text)

-- name: building
SELECT generation FROM generation WHERE fingerprint = %(fingerprint)s AND state IN ('building', 'standby')

-- name: is_building
-- But for the one that `headrace reindex` builds, which is not promoted.
SELECT EXISTS (SELECT FROM generation g WHERE g.state = 'building'
               AND NOT EXISTS (SELECT FROM reindex r WHERE r.fingerprint = g.fingerprint)) AS building

-- name: unfinished
-- Whether there is a document that the generation still has to take. Documents that wait for a retry count, those that failed do not.
SELECT EXISTS (
  SELECT FROM document d
  WHERE NOT EXISTS (SELECT FROM stage_record r WHERE r.document = d.document AND r.stage = 'index'
                      AND r.fingerprint = %(fingerprint)s AND r.status <> 'behind')
    AND NOT EXISTS (SELECT FROM stage_record f WHERE f.document = d.document AND f.status = 'failed'
                      AND f.stage IN ('parse', 'redact', 'chunk', 'embed', 'index'))
) AS unfinished

-- name: retire
UPDATE generation SET state = 'retired' WHERE state = 'active' AND generation <> %(generation)s RETURNING generation

-- name: activate
UPDATE generation SET state = 'active', activated_at = now() WHERE generation = %(generation)s

-- name: abandon
-- Generations that were being built when the surrogate key was rotated are not finished, and one that stood by is not kept.
UPDATE generation SET state = 'retired' WHERE state IN ('building', 'standby') AND surrogate_epoch < %(epoch)s RETURNING generation

-- name: epoch
SELECT surrogate_epoch FROM generation WHERE state = 'active'

-- name: older
-- Whether a generation whose texts were redacted with an earlier surrogate key still has rows.
SELECT EXISTS (
  SELECT FROM generation g WHERE g.surrogate_epoch < %(epoch)s
    AND (EXISTS (SELECT FROM chunk c WHERE c.generation = g.generation)
         OR EXISTS (SELECT FROM indexed i WHERE i.generation = g.generation))
) AS older

-- name: lock_documents
-- Landing and committing a stage lock a document first: this waits for them, and they wait for this transaction. Readers do not wait.
LOCK TABLE document IN EXCLUSIVE MODE

-- name: lacking
-- Live documents of the active generation that the one with this fingerprint has not got in that version or a later one. A reason is that
-- the document failed there, or on the way to both.
SELECT count(*) AS documents
FROM indexed a JOIN generation g ON g.generation = a.generation AND g.state = 'active'
JOIN document d ON d.document = a.document AND NOT d.deleted
LEFT JOIN indexed n ON n.document = a.document AND n.generation = (SELECT generation FROM generation WHERE fingerprint = %(fingerprint)s)
WHERE (n.document IS NULL OR n.revision < a.revision)
  AND NOT EXISTS (SELECT FROM stage_record f WHERE f.document = a.document AND f.status = 'failed'
                    AND (f.stage IN ('parse', 'redact') OR (f.stage = 'reindex' AND f.fingerprint = %(fingerprint)s)))

-- name: refused
-- Live documents of the active generation that the one with this fingerprint has no version of and will not get, by reason.
SELECT f.reason, count(*) AS documents
FROM indexed a JOIN generation g ON g.generation = a.generation AND g.state = 'active'
JOIN document d ON d.document = a.document AND NOT d.deleted
CROSS JOIN LATERAL (SELECT reason FROM stage_record f WHERE f.document = a.document AND f.status = 'failed'
                      AND (f.stage IN ('parse', 'redact') OR (f.stage = 'reindex' AND f.fingerprint = %(fingerprint)s)) LIMIT 1) f
WHERE NOT EXISTS (SELECT FROM indexed n WHERE n.document = a.document
                    AND n.generation = (SELECT generation FROM generation WHERE fingerprint = %(fingerprint)s))
GROUP BY f.reason ORDER BY f.reason

-- name: find
SELECT generation, fingerprint, model, dimension, state, vector_index ->> 'state' = 'ready' AS indexed,
       (SELECT count(*) FROM indexed i WHERE i.generation = g.generation) AS documents
FROM generation g WHERE fingerprint = %(fingerprint)s OR (%(fingerprint)s::text IS NULL AND state = 'active')

-- name: stand_by
UPDATE generation SET state = 'standby' WHERE state = 'active'

-- name: activate_beside
UPDATE generation SET state = 'active', activated_at = now() WHERE fingerprint = %(fingerprint)s AND state IN ('building', 'standby')

-- name: drop_beside
UPDATE generation SET state = 'retired' WHERE fingerprint = %(fingerprint)s AND state IN ('building', 'standby') RETURNING generation, model

-- name: drop_vectors_of
-- The cache's vectors of a model that no generation in use has.
DELETE FROM embedding e WHERE e.model = ANY (%(models)s)
  AND NOT EXISTS (SELECT FROM generation g WHERE g.model = e.model AND g.state <> 'retired')

-- name: clear_sources
DELETE FROM chunk_source WHERE generation = ANY (%(generations)s)

-- name: clear_chunks
DELETE FROM chunk WHERE generation = ANY (%(generations)s)

-- name: clear_indexed
DELETE FROM indexed WHERE generation = ANY (%(generations)s)

-- name: lacks_statistics
-- The same condition as in headrace.learn_statistics (migration 0007).
SELECT EXISTS (
  SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
  WHERE n.nspname = 'tenant_' || substring(current_setting('role') FROM '^headrace_tenant_(.+)$')
    AND c.relkind = 'r' AND c.reltuples < 0 AND pg_relation_size(c.oid) >= 4 * 8192
) AS found

-- name: learn_statistics
SELECT headrace.learn_statistics()
