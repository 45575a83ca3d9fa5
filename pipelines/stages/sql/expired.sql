-- name: without_content
-- Live documents whose content came with their event and was deleted.
SELECT document FROM unnest(%(documents)s::text[]) AS document
WHERE NOT EXISTS (SELECT FROM artifact a WHERE a.document = document.document AND a.stage = 'land')

-- name: parse_again
-- Parsed documents whose artifact was deleted are parsed again for the stage that needs it.
UPDATE stage_record r SET status = 'behind', output_key = NULL
WHERE r.stage = 'parse' AND r.status = 'done' AND r.output_key <> 'deleted' AND r.document = ANY (%(documents)s)
  AND NOT EXISTS (SELECT FROM artifact a WHERE a.document = r.document AND a.stage = 'parse')
