-- name: add_chunks
-- A chunk's vector is its text's and the mean of its documents' contexts, added and made of unit length again.
INSERT INTO chunk (generation, text_hash, text, heading_path, token_count, access, contexts, embedding)
SELECT DISTINCT ON (x.text_hash) %(generation)s, x.text_hash, x.text, x.heading_path, x.token_count, x.access, x.contexts,
  CASE WHEN named.mean IS NULL THEN e.embedding ELSE l2_normalize(e.embedding + named.mean) END
FROM jsonb_to_recordset(%(chunks)s)
  AS x (text_hash text, text text, heading_path text[], token_count integer, access bigint, contexts text[])
JOIN embedding e ON e.model = %(model)s AND e.text_hash = x.text_hash
CROSS JOIN LATERAL (
  SELECT avg(c.embedding) AS mean FROM embedding c WHERE c.model = %(model)s AND c.text_hash = ANY (x.contexts)) named
ON CONFLICT (tenant, generation, text_hash) DO NOTHING

-- name: refresh_contexts
-- Of chunks whose sources have other contexts now than their vector has. Where a vector is not cached any more, the chunk stays as it is
-- until its documents are embedded anew.
WITH found AS MATERIALIZED (
  SELECT c.generation, c.text_hash, x.contexts, g.model
  FROM chunk c
  JOIN generation g ON g.generation = c.generation
  CROSS JOIN LATERAL (
    SELECT CASE WHEN c.access = 0 OR count(DISTINCT i.context_hash) > %(most)s THEN '{}'
                ELSE coalesce(array_agg(DISTINCT i.context_hash ORDER BY i.context_hash) FILTER (WHERE i.context_hash <> ''), '{}') END AS contexts
    FROM chunk_source s
    CROSS JOIN LATERAL (SELECT context_hash FROM indexed WHERE generation = s.generation AND document = s.document OFFSET 0) i
    WHERE s.generation = c.generation AND s.text_hash = c.text_hash) x
  WHERE c.text_hash = ANY (%(text_hashes)s) AND c.contexts <> x.contexts
), cached AS MATERIALIZED (
  SELECT f.generation, f.text_hash, f.contexts, e.embedding, named.mean
  FROM found f
  JOIN embedding e ON e.model = f.model AND e.text_hash = f.text_hash
  CROSS JOIN LATERAL (
    SELECT avg(c.embedding) AS mean, count(*) AS vectors FROM embedding c WHERE c.model = f.model AND c.text_hash = ANY (f.contexts)) named
  WHERE named.vectors = cardinality(f.contexts)
), refreshed AS (
  UPDATE chunk c SET contexts = x.contexts,
    embedding = CASE WHEN x.mean IS NULL THEN x.embedding ELSE l2_normalize(x.embedding + x.mean) END
  FROM cached x WHERE c.generation = x.generation AND c.text_hash = x.text_hash
)
SELECT DISTINCT s.document FROM found f JOIN chunk_source s USING (generation, text_hash)
WHERE NOT EXISTS (SELECT FROM cached x WHERE x.generation = f.generation AND x.text_hash = f.text_hash)

-- name: unembedded
-- Documents with a text that has no vector: the cached one was deleted with the text's last other source, or by retention. A chunk that is
-- there needs none if it has the document's context already; a context, which is no chunk, always does.
SELECT DISTINCT x.document
FROM jsonb_to_recordset(%(sources)s) AS x (document text, text_hash text, context text)
WHERE NOT EXISTS (SELECT FROM chunk c WHERE c.generation = %(generation)s AND c.text_hash = x.text_hash
                    AND (x.context = '' OR x.context = ANY (c.contexts) OR c.access = 0) AND x.context <> x.text_hash)
  AND NOT EXISTS (SELECT FROM embedding e WHERE e.model = %(model)s AND e.text_hash = x.text_hash)

-- name: invalidate_embedding
UPDATE stage_record SET status = 'behind', output_key = NULL WHERE stage = 'embed' AND document = ANY (%(documents)s)

-- name: invalidate_both
UPDATE stage_record SET status = 'behind', output_key = NULL WHERE stage IN ('embed', 'index') AND document = ANY (%(documents)s)

-- name: drop_sources
DELETE FROM chunk_source WHERE document = ANY (%(documents)s) AND (generation = %(generation)s OR %(generation)s IS NULL)
RETURNING text_hash

-- name: add_sources
INSERT INTO chunk_source (generation, text_hash, document, ordinal, page, parent_first, parent_last)
SELECT %(generation)s, x.text_hash, x.document, x.ordinal, x.page, x.parent_first, x.parent_last
FROM jsonb_to_recordset(%(sources)s)
  AS x (document text, text_hash text, ordinal integer, page integer, parent_first integer, parent_last integer)

-- name: drop_orphans
DELETE FROM chunk c WHERE c.text_hash = ANY (%(text_hashes)s)
  AND NOT EXISTS (SELECT FROM chunk_source s WHERE s.generation = c.generation AND s.text_hash = c.text_hash)
RETURNING c.access

-- name: drop_unused_embeddings
-- The cache outlives generations, but not the texts.
DELETE FROM embedding e WHERE e.text_hash = ANY (%(text_hashes)s)
  AND NOT EXISTS (SELECT FROM chunk c WHERE c.text_hash = e.text_hash)
  AND NOT EXISTS (SELECT FROM indexed i WHERE i.context_hash = e.text_hash)

-- name: sweep
-- Vectors of versions that were never swapped in.
DELETE FROM embedding e WHERE e.created_at < now() - make_interval(secs => %(older_than_s)s)
  AND NOT EXISTS (SELECT FROM chunk c WHERE c.text_hash = e.text_hash)
  AND NOT EXISTS (SELECT FROM indexed i WHERE i.context_hash = e.text_hash)

-- name: list
INSERT INTO indexed (generation, document, name, title, uri, language, access, context, context_hash, source, media_type, metadata,
                     event_time, sequence, revision)
SELECT %(generation)s, x.document, x.name, x.title, x.uri, x.language, x.access, x.context, x.context_hash, x.source, x.media_type, x.metadata,
       d.event_time, d.sequence, d.revision
FROM jsonb_to_recordset(%(documents)s)
  AS x (document text, name text, title text, uri text, language text, access bigint, context text, context_hash text,
        source text, media_type text, metadata jsonb)
JOIN document d ON d.document = x.document
ON CONFLICT (tenant, generation, document) DO UPDATE SET
  name = excluded.name, title = excluded.title, uri = excluded.uri, language = excluded.language, access = excluded.access,
  context = excluded.context, context_hash = excluded.context_hash, source = excluded.source, media_type = excluded.media_type,
  metadata = excluded.metadata, event_time = excluded.event_time, sequence = excluded.sequence, revision = excluded.revision,
  indexed_at = now()

-- name: unlist
DELETE FROM indexed WHERE document = ANY (%(documents)s)

-- name: contexts_of
SELECT DISTINCT context_hash FROM indexed WHERE document = ANY (%(documents)s) AND context_hash <> ''
