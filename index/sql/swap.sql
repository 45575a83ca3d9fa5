-- name: lock
-- One swap at a time per tenant: one transaction may delete a chunk's last source while another adds one. A table lock, because any login
-- could take an advisory lock; readers do not wait for it.
LOCK TABLE chunk_source IN SHARE ROW EXCLUSIVE MODE

-- name: add_chunks
INSERT INTO chunk (generation, text_hash, text, heading_path, token_count, access, embedding)
SELECT DISTINCT ON (x.text_hash) %(generation)s, x.text_hash, x.text, x.heading_path, x.token_count, x.access, e.embedding
FROM jsonb_to_recordset(%(chunks)s) AS x (text_hash text, text text, heading_path text[], token_count integer, access bigint)
JOIN embedding e ON e.model = %(model)s AND e.text_hash = x.text_hash
ON CONFLICT (tenant, generation, text_hash) DO NOTHING

-- name: unembedded
-- Documents with a chunk that has no vector: the cached one was deleted with the text's last other source.
SELECT DISTINCT x.document
FROM jsonb_to_recordset(%(sources)s) AS x (document text, text_hash text)
WHERE NOT EXISTS (SELECT FROM chunk c WHERE c.generation = %(generation)s AND c.text_hash = x.text_hash)
  AND NOT EXISTS (SELECT FROM embedding e WHERE e.model = %(model)s AND e.text_hash = x.text_hash)

-- name: invalidate_embedding
UPDATE stage_record SET status = 'behind', output_key = NULL WHERE stage = 'embed' AND document = ANY (%(documents)s)

-- name: drop_sources
DELETE FROM chunk_source WHERE document = ANY (%(documents)s) AND (generation = %(generation)s OR %(generation)s IS NULL)
RETURNING text_hash

-- name: add_sources
INSERT INTO chunk_source (generation, text_hash, document, ordinal, page)
SELECT %(generation)s, x.text_hash, x.document, x.ordinal, x.page
FROM jsonb_to_recordset(%(sources)s) AS x (document text, text_hash text, ordinal integer, page integer)

-- name: drop_orphans
DELETE FROM chunk c WHERE c.text_hash = ANY (%(text_hashes)s)
  AND NOT EXISTS (SELECT FROM chunk_source s WHERE s.generation = c.generation AND s.text_hash = c.text_hash)
RETURNING c.access

-- name: drop_unused_embeddings
-- The cache outlives generations, but not the texts.
DELETE FROM embedding e WHERE e.text_hash = ANY (%(text_hashes)s)
  AND NOT EXISTS (SELECT FROM chunk c WHERE c.text_hash = e.text_hash)

-- name: sweep
-- Vectors of versions that were never swapped in.
DELETE FROM embedding e WHERE e.created_at < now() - make_interval(secs => %(older_than_s)s)
  AND NOT EXISTS (SELECT FROM chunk c WHERE c.text_hash = e.text_hash)

-- name: list
INSERT INTO indexed (generation, document, name, title, uri, language, access, sequence, revision)
SELECT %(generation)s, x.document, x.name, x.title, x.uri, x.language, x.access, d.sequence, d.revision
FROM jsonb_to_recordset(%(documents)s) AS x (document text, name text, title text, uri text, language text, access bigint)
JOIN document d ON d.document = x.document
ON CONFLICT (tenant, generation, document) DO UPDATE SET
  name = excluded.name, title = excluded.title, uri = excluded.uri, language = excluded.language, access = excluded.access,
  sequence = excluded.sequence, revision = excluded.revision, indexed_at = now()

-- name: unlist
DELETE FROM indexed WHERE document = ANY (%(documents)s)
