-- name: shown
-- Documents searched or cited, in every generation: it may be an older version than the one in progress.
SELECT s.document FROM chunk c JOIN chunk_source s USING (generation, text_hash), unnest(%(tokens)s::text[]) AS token
WHERE strpos(concat_ws(' ', c.text, array_to_string(c.heading_path, ' ')), token) > 0
UNION
SELECT i.document FROM indexed i, unnest(%(tokens)s::text[]) AS token WHERE strpos(concat_ws(' ', i.name, i.title, i.uri, i.source, i.metadata), token) > 0

-- name: kept
SELECT DISTINCT document FROM artifact WHERE stage = ANY (%(stages)s) AND document > %(after)s ORDER BY document LIMIT %(limit)s

-- name: not_redacted
-- A document that is behind only because of a rotation counts as redacted: its redacted version still exists and has the same input.
SELECT count(*) AS documents FROM document d LEFT JOIN stage_record r ON r.document = d.document AND r.stage = 'redact'
LEFT JOIN stage_record p ON p.document = d.document AND p.stage = 'parse' AND p.status = 'done'
WHERE NOT d.deleted AND r.status IS DISTINCT FROM 'done'
  AND (r.status = 'behind' AND r.reason IS NULL AND EXISTS (SELECT FROM artifact a WHERE a.document = d.document AND a.stage = 'redact')
       AND r.input_key = headrace.input_key(false, d.sequence, d.envelope_key, p.output_key)) IS NOT TRUE
