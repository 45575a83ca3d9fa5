-- name: lock
-- One swap at a time in a tenant: the last source of a chunk and a new one may meet. A table's lock and not an advisory one, which any
-- login could hold; readers do not wait for it.
LOCK TABLE chunk_source IN SHARE ROW EXCLUSIVE MODE

-- name: add_chunks
INSERT INTO chunk (generation, text_hash, text, heading_path, token_count, embedding)
SELECT DISTINCT ON (x.text_hash) %(generation)s, x.text_hash, x.text, x.heading_path, x.token_count, e.embedding
FROM jsonb_to_recordset(%(chunks)s) AS x (text_hash text, text text, heading_path text[], token_count integer)
JOIN embedding e ON e.model = %(model)s AND e.text_hash = x.text_hash
ON CONFLICT (tenant, generation, text_hash) DO NOTHING

-- name: unembedded
-- Documents some of whose chunks have no vector: the cache lost it to a delete of their last other source.
SELECT DISTINCT x.document
FROM jsonb_to_recordset(%(sources)s) AS x (document text, text_hash text)
WHERE NOT EXISTS (SELECT FROM chunk c WHERE c.generation = %(generation)s AND c.text_hash = x.text_hash)
  AND NOT EXISTS (SELECT FROM embedding e WHERE e.model = %(model)s AND e.text_hash = x.text_hash)

-- name: embed_again
UPDATE stage_record SET status = 'behind', output_key = NULL WHERE stage = 'embed' AND document = ANY (%(documents)s)

-- name: drop_sources
DELETE FROM chunk_source WHERE document = ANY (%(documents)s) AND (generation = %(generation)s OR %(generation)s IS NULL)
RETURNING text_hash

-- name: add_sources
INSERT INTO chunk_source (generation, text_hash, document, ordinal, page, acl)
SELECT %(generation)s, x.text_hash, x.document, x.ordinal, x.page, x.acl
FROM jsonb_to_recordset(%(sources)s) AS x (document text, text_hash text, ordinal integer, page integer, acl text[])

-- name: drop_orphans
DELETE FROM chunk c WHERE c.text_hash = ANY (%(text_hashes)s)
  AND NOT EXISTS (SELECT FROM chunk_source s WHERE s.generation = c.generation AND s.text_hash = c.text_hash)

-- name: forget
-- The cache outlives generations, not the texts.
DELETE FROM embedding e WHERE e.text_hash = ANY (%(text_hashes)s)
  AND NOT EXISTS (SELECT FROM chunk c WHERE c.text_hash = e.text_hash)

-- name: sweep
-- What was embedded for a version that never came to its swap.
DELETE FROM embedding e WHERE e.created_at < now() - make_interval(secs => %(older_than_s)s)
  AND NOT EXISTS (SELECT FROM chunk c WHERE c.text_hash = e.text_hash)

-- name: list
INSERT INTO indexed (generation, document, name, title, uri, sequence)
SELECT %(generation)s, x.document, x.name, x.title, x.uri, d.sequence
FROM jsonb_to_recordset(%(documents)s) AS x (document text, name text, title text, uri text)
JOIN document d ON d.document = x.document
ON CONFLICT (tenant, generation, document) DO UPDATE SET
  name = excluded.name, title = excluded.title, uri = excluded.uri, sequence = excluded.sequence, indexed_at = now()

-- name: unlist
DELETE FROM indexed WHERE document = ANY (%(documents)s)
