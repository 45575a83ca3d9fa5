-- name: read
SELECT settings, fingerprint, state, reason, comparison, requested_at, changed_at FROM reindex

-- name: is_wanted
SELECT EXISTS (SELECT FROM reindex WHERE fingerprint = %(fingerprint)s AND state IN ('building', 'standby')) AS wanted

-- name: is_in
SELECT EXISTS (SELECT FROM reindex WHERE state = %(state)s) AS found

-- name: begin
INSERT INTO reindex (settings, fingerprint, state) VALUES (%(settings)s, %(fingerprint)s, 'building')
ON CONFLICT (tenant) DO UPDATE SET
  settings = excluded.settings, fingerprint = excluded.fingerprint, state = 'building', reason = '', comparison = NULL,
  requested_at = now(), changed_at = now()

-- name: follow
UPDATE reindex SET fingerprint = %(fingerprint)s WHERE fingerprint = %(was)s AND state = 'building'

-- name: refuse
UPDATE reindex SET state = 'refused', reason = %(reason)s, comparison = %(comparison)s, changed_at = now()
WHERE fingerprint = %(fingerprint)s AND state = 'building'

-- name: end
UPDATE reindex SET state = 'ended', reason = %(reason)s, changed_at = now() WHERE fingerprint = %(fingerprint)s

-- name: configure
SELECT headrace.configure_index(%(embedding)s, %(chunking)s)

-- name: stand_by
UPDATE reindex SET settings = %(settings)s, fingerprint = %(fingerprint)s, state = 'standby', reason = %(reason)s,
  comparison = coalesce(%(comparison)s, comparison), changed_at = now()

-- name: drop_records
DELETE FROM stage_record WHERE stage = 'reindex'

-- name: drop_claims
DELETE FROM claim WHERE stage = 'reindex'

-- name: resolve
UPDATE dead_letter SET resolved_at = now() WHERE stage = 'reindex' AND resolved_at IS NULL

-- name: adopt_records
-- Of documents whose passages in this generation are those of their newest redacted version.
INSERT INTO stage_record (document, stage, input_key, fingerprint, output_key, status)
SELECT d.document, 'reindex',
       headrace.input_key(d.deleted, d.sequence, headrace.part_key('acl', d.content_key, d.envelope_key, d.acl_key), r.output_key),
       %(fingerprint)s, i.output_key, 'done'
FROM document d
JOIN stage_record r ON r.document = d.document AND r.stage = 'redact' AND r.status = 'done'
JOIN stage_record c ON c.document = d.document AND c.stage = 'chunk' AND c.status = 'done' AND c.input_key = r.output_key
JOIN stage_record e ON e.document = d.document AND e.stage = 'embed' AND e.status = 'done' AND e.input_key = c.output_key
JOIN stage_record i ON i.document = d.document AND i.stage = 'index' AND i.status = 'done' AND i.fingerprint = %(fingerprint)s
  AND i.input_key = headrace.input_key(d.deleted, d.sequence,
    headrace.part_key('acl', d.content_key, d.envelope_key, d.acl_key), e.output_key)
WHERE NOT d.deleted
