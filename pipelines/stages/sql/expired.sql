-- name: without_content
-- Live documents whose content came with their event and is not there any more.
SELECT document FROM unnest(%(documents)s::text[]) AS document
WHERE NOT EXISTS (SELECT FROM artifact a WHERE a.document = document.document AND a.stage = 'land')

-- name: parse_again
-- What was parsed and let go since is parsed once more for who needs it.
UPDATE stage_record r SET status = 'behind', output_key = NULL
WHERE r.stage = 'parse' AND r.status = 'done' AND r.output_key <> 'deleted' AND r.document = ANY (%(documents)s)
  AND NOT EXISTS (SELECT FROM artifact a WHERE a.document = r.document AND a.stage = 'parse')
