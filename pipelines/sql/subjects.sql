-- name: shown
-- What is searched and cited, in every generation: it may be an older version than what is being worked on.
SELECT s.document FROM chunk c JOIN chunk_source s USING (generation, text_hash), unnest(%(tokens)s::text[]) AS token
WHERE strpos(concat_ws(' ', c.text, array_to_string(c.heading_path, ' ')), token) > 0
UNION
SELECT i.document FROM indexed i, unnest(%(tokens)s::text[]) AS token WHERE strpos(concat_ws(' ', i.name, i.title, i.uri), token) > 0

-- name: kept
SELECT DISTINCT document FROM artifact WHERE stage = ANY (%(stages)s) AND document > %(after)s ORDER BY document LIMIT %(limit)s

-- name: not_redacted
SELECT count(*) AS documents FROM document d LEFT JOIN stage_record r ON r.document = d.document AND r.stage = 'redact'
WHERE NOT d.deleted AND r.status IS DISTINCT FROM 'done'
