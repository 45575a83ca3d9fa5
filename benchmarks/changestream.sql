-- name: states
SELECT document, sequence, deleted, acl FROM document

-- name: sources
-- Every passage that a search can give, with the document it is cited from.
SELECT s.document, s.acl, c.heading_path, c.text
FROM chunk_source s JOIN chunk c USING (generation, text_hash) JOIN generation g USING (generation)
WHERE g.state = 'active' ORDER BY s.document, s.ordinal

-- name: held
-- Documents that any generation still holds something of.
SELECT document FROM indexed UNION SELECT document FROM chunk_source

-- name: listed
SELECT i.document FROM indexed i JOIN generation g USING (generation) WHERE g.state = 'active'

-- name: unsourced
SELECT count(*) AS chunks FROM chunk c
WHERE NOT EXISTS (SELECT FROM chunk_source s WHERE s.generation = c.generation AND s.text_hash = c.text_hash)
