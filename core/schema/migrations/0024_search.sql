-- Search in SQL: a function and a view in each tenant's schema, for applications that have a reader's login and no program of ours.

-- Made anew where a migration changes what they read. Parameters and columns are only added, at the end (docs/retrieval.md).
CREATE PROCEDURE headrace.own_search(tenant text)
  LANGUAGE plpgsql AS $own_search$
DECLARE
  home   text := 'tenant_' || tenant;
  reader text := 'headrace_reader_' || tenant;
BEGIN
  EXECUTE format($view$
    CREATE OR REPLACE VIEW %1$I.passage WITH (security_invoker = true) AS
      SELECT c.text_hash AS chunk, c.text, c.heading_path, c.token_count, i.name AS document, i.document AS document_key, i.title, i.uri,
             s.page, s.ordinal, i.sequence, i.indexed_at, a.principals
      FROM %1$I.generation g
      JOIN %1$I.chunk c ON c.generation = g.generation
      JOIN %1$I.chunk_source s ON s.generation = c.generation AND s.text_hash = c.text_hash
      JOIN %1$I.indexed i ON i.generation = s.generation AND i.document = s.document
      JOIN %1$I.access_list a ON a.number = i.access
      WHERE g.state = 'active'
  $view$, home);
  EXECUTE format($function$
    CREATE OR REPLACE FUNCTION %1$I.search(
      query_vector public.halfvec, query_text text, principals text[], top integer DEFAULT 5, weight double precision DEFAULT 0.5)
    RETURNS TABLE (chunk text, text text, heading_path text[], score double precision, cosine double precision, bm25 double precision,
                   documents jsonb)
    LANGUAGE plpgsql STABLE SET search_path = %1$I, headrace, public, pg_temp SET jit = off AS $body$
    #variable_conflict use_column
    DECLARE
      most CONSTANT integer := 100;  -- candidates of a side
      readers text[] := principals || '*'::text;
      folded  text := lower(normalize(coalesce(query_text, ''), NFKC));
      active  record;
      asked   record;
      least   double precision;
      wanted  tsquery;
      lists   bigint[];
      near    text[] := '{}';
      wordy   text[] := '{}';
      mean    double precision := 0;
    BEGIN
      IF query_vector IS NULL AND btrim(folded) = '' THEN
        RAISE EXCEPTION 'bad-query: neither a vector nor a text' USING ERRCODE = 'invalid_parameter_value';
      ELSIF top IS NULL OR top NOT BETWEEN 1 AND most THEN
        RAISE EXCEPTION 'bad-top: ask for 1 to %% passages', most USING ERRCODE = 'invalid_parameter_value';
      ELSIF weight IS NULL OR weight NOT BETWEEN 0 AND 1 THEN
        RAISE EXCEPTION 'bad-option: weight must be a number from 0 to 1' USING ERRCODE = 'invalid_parameter_value';
      END IF;
      SELECT generation, dimension, vector_index ->> 'state' IS NOT DISTINCT FROM 'ready' AS indexed INTO active
      FROM generation WHERE state = 'active';
      IF NOT FOUND THEN
        RETURN;
      ELSIF vector_dims(query_vector) <> active.dimension THEN
        RAISE EXCEPTION 'model-mismatch: the vector has %% dimensions, and the index %%', vector_dims(query_vector), active.dimension
          USING ERRCODE = 'invalid_parameter_value';
      END IF;
      lists := ARRAY(SELECT number FROM access_list WHERE keys && headrace.principal_keys(readers));

      IF query_vector IS NOT NULL THEN
        -- the generation and the dimension stand in the text: by them Postgres finds the index
        IF active.indexed THEN
          PERFORM set_config('hnsw.iterative_scan', 'relaxed_order', true), set_config('hnsw.ef_search', '128', true),
                  set_config('hnsw.max_scan_tuples', '40000', true);
        END IF;
        EXECUTE format(
          'SELECT array_agg(text_hash) FROM (SELECT text_hash FROM chunk'
          ' WHERE generation = %%s AND (access = 0 OR access = ANY ($1))'
          ' ORDER BY embedding%%s <=> $2 LIMIT %%s) x',
          active.generation, CASE WHEN active.indexed THEN format('::halfvec(%%s)', active.dimension) ELSE '' END, most)
        INTO near USING lists, query_vector;
        SELECT CASE WHEN count(*) < 2 THEN 0
                    ELSE greatest(least((count(*) * l2_norm(avg(embedding)) ^ 2 - 1) / (count(*) - 1), 0.9), 0) END INTO mean
        FROM (SELECT embedding FROM chunk WHERE generation = active.generation ORDER BY text_hash LIMIT 256) x;
      END IF;

      -- the query's terms that the index has: stems of its words, names as they are written, pairs of characters without spaces
      WITH every AS (
        SELECT sum(value::bigint) AS passages, array_agg(key) AS languages FROM lexicon, jsonb_each_text(lexicon.passages)
        WHERE generation = active.generation
      ), run AS (
        SELECT run FROM regexp_split_to_table(folded, '[[:space:][:cntrl:]]+') AS run WHERE run <> ''
      ), word AS (
        SELECT DISTINCT left(word, 128) AS word FROM run, regexp_split_to_table(run, '[^[:alnum:]]+') AS word WHERE word <> ''
      ), unspaced AS (
        SELECT m[1] AS characters
        FROM run, regexp_matches(run, '([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff]+)', 'g') AS m
      ), candidate AS (
        SELECT s.stem AS term FROM every, unnest(every.languages) AS language,
          LATERAL headrace.stems(language, ARRAY(SELECT word FROM word)) AS s
        UNION SELECT regexp_replace(run, '^[^[:alnum:].~/$@#-]+|[^[:alnum:]+#]+$', '', 'g') FROM run WHERE run !~ '^[[:alnum:]]+$'
        UNION SELECT substr(characters, at, 2) FROM unspaced, generate_series(1, length(characters) - 1) AS at
        UNION SELECT substr(characters, at, 1) FROM unspaced, generate_series(1, length(characters)) AS at
      ), known AS (
        SELECT t.number, ln(1 + (every.passages - t.passages + 0.5) / (t.passages + 0.5)) AS idf, t.bound, t.passages,
               '''' || replace(replace(t.term, '\', '\\'), '''', '''''') || '''' AS quoted
        FROM every, candidate
        CROSS JOIN LATERAL (SELECT * FROM term WHERE generation = active.generation AND term = candidate.term OFFSET 0) t
        ORDER BY t.passages, t.term LIMIT 48
      ), ordered AS (
        SELECT *, sum(idf * bound) OVER (ORDER BY idf * bound, number) AS reach, sum(passages) OVER (ORDER BY passages, number) AS together
        FROM known
      )
      SELECT ('{' || string_agg(number || ':' || idf, ',' ORDER BY number) || '}/1000000000')::sparsevec AS weights, sum(idf) AS total,
             string_agg(quoted, ' | ') FILTER (WHERE together <= 2000 OR together = passages)::tsquery AS rarest,
             array_agg(reach ORDER BY reach) AS reaches, array_agg(quoted ORDER BY reach) AS terms
      INTO asked FROM ordered;

      IF asked.total > 0 THEN
        -- a passage that has none but the terms with the smallest bounds cannot reach the last of the best that have a rare one
        SELECT CASE WHEN count(*) = most THEN min(reached) ELSE 0 END INTO least
        FROM (SELECT -(impacts <#> asked.weights) AS reached FROM lexical
              WHERE generation = active.generation AND terms @@ asked.rarest AND (access = 0 OR access = ANY (lists))
              ORDER BY impacts <#> asked.weights LIMIT most) x;
        SELECT coalesce(string_agg(quoted, ' | ')::tsquery, asked.rarest) INTO wanted
        FROM unnest(asked.terms, asked.reaches) AS x (quoted, reach) WHERE x.reach >= least * (1 - 1e-5);
        wordy := ARRAY(SELECT text_hash FROM lexical
                       WHERE generation = active.generation AND terms @@ wanted AND (access = 0 OR access = ANY (lists))
                       ORDER BY impacts <#> asked.weights, text_hash LIMIT most);
      END IF;

      RETURN QUERY
      SELECT c.text_hash, c.text, c.heading_path, x.score, x.cosine, x.bm25, sources.documents
      FROM (SELECT DISTINCT unnest(near || wordy) AS text_hash) AS candidate
      CROSS JOIN LATERAL (
        SELECT * FROM chunk
        WHERE tenant = (SELECT headrace.current_tenant()) AND generation = active.generation AND text_hash = candidate.text_hash OFFSET 0) c
      CROSS JOIN LATERAL (
        SELECT jsonb_agg(jsonb_build_object('document', i.name, 'document_key', i.document, 'title', i.title, 'uri', i.uri, 'page', s.page,
                                            'ordinal', s.ordinal, 'sequence', i.sequence) ORDER BY i.name, s.ordinal) AS documents
        FROM chunk_source s
        CROSS JOIN LATERAL (SELECT * FROM indexed WHERE generation = s.generation AND document = s.document OFFSET 0) i
        WHERE s.generation = active.generation AND s.text_hash = c.text_hash
          AND (SELECT a.principals && readers FROM access_list a WHERE a.number = i.access)) sources
      LEFT JOIN LATERAL (
        SELECT -(impacts <#> asked.weights) / asked.total AS share FROM lexical
        WHERE tenant = (SELECT headrace.current_tenant()) AND generation = active.generation AND text_hash = c.text_hash OFFSET 0) l ON true
      CROSS JOIN LATERAL (SELECT 1 - (c.embedding <=> query_vector) AS cosine, coalesce(l.share, 0) AS bm25) y
      CROSS JOIN LATERAL (
        SELECT y.cosine, y.bm25, CASE WHEN query_vector IS NULL THEN y.bm25 WHEN btrim(folded) = '' THEN y.cosine
                                      ELSE weight * (y.cosine - mean) / (1 - mean) + (1 - weight) * y.bm25 END AS score) x
      WHERE sources.documents IS NOT NULL AND (query_vector IS NOT NULL OR x.bm25 > 0)
      ORDER BY x.score DESC, c.text_hash LIMIT top;
    END $body$
  $function$, home);
  EXECUTE format('REVOKE ALL ON FUNCTION %I.search FROM PUBLIC', home);
  EXECUTE format('GRANT EXECUTE ON FUNCTION %I.search TO %I', home, reader);
  EXECUTE format('GRANT SELECT ON %I.passage TO %I', home, reader);
END $own_search$;
REVOKE ALL ON ROUTINE headrace.own_search FROM PUBLIC;

DO $$
DECLARE
  name text;
BEGIN
  FOR name IN SELECT tenant FROM headrace.tenant ORDER BY tenant LOOP
    CALL headrace.own_search(name);
  END LOOP;
END $$;

CREATE OR REPLACE PROCEDURE headrace.create_tenant(name text, wrapped_key bytea, configuration jsonb)
  LANGUAGE plpgsql AS $$
DECLARE
  relation text;
  home     text := 'tenant_' || name;
  writer   text := 'headrace_tenant_' || name;
  reader   text := 'headrace_reader_' || name;
BEGIN
  INSERT INTO headrace.tenant (tenant, wrapped_key, configuration) VALUES (name, wrapped_key, configuration);
  EXECUTE format('CREATE ROLE %I NOLOGIN', writer);
  EXECUTE format('CREATE ROLE %I NOLOGIN', reader);
  EXECUTE format('GRANT %I TO headrace_pipeline WITH INHERIT FALSE, SET TRUE', writer);
  EXECUTE format('GRANT %I TO headrace_reader WITH INHERIT FALSE, SET TRUE', reader);
  EXECUTE format('CREATE SCHEMA %I', home);
  EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I, %I', home, writer, reader);
  FOR relation IN SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'headrace'::regnamespace AND c.relkind = 'p' ORDER BY c.oid LOOP
    CALL headrace.own_table(name, relation);
  END LOOP;
  EXECUTE format('ALTER TABLE %1$I.chunk_source ADD FOREIGN KEY (tenant, generation, text_hash) REFERENCES %1$I.chunk', home);
  EXECUTE format('ALTER TABLE %I.artifact ALTER COLUMN payload SET STORAGE EXTERNAL', home);
  CALL headrace.own_search(name);
END $$;
