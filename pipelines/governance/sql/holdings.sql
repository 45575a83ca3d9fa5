-- name: texts
-- What a document is called has a vector too.
SELECT text_hash FROM chunk_source WHERE document = ANY (%(documents)s)
UNION SELECT context_hash FROM indexed WHERE document = ANY (%(documents)s) AND context_hash <> ''

-- name: holdings
-- The rows of each table that belong to these documents. A text that another document shares is not counted: it stays for that one.
-- `texts` are those of the documents, found before anything was erased. Records that only say that the document is deleted do not count.
WITH own AS MATERIALIZED (
  SELECT text_hash FROM unnest(%(texts)s::text[]) AS text_hash
  WHERE NOT EXISTS (SELECT FROM chunk_source s WHERE s.text_hash = text_hash.text_hash AND s.document <> ALL (%(documents)s))
    AND NOT EXISTS (SELECT FROM indexed i WHERE i.context_hash = text_hash.text_hash AND i.document <> ALL (%(documents)s)))
SELECT (SELECT count(*) FROM document WHERE document = ANY (%(documents)s) AND envelope IS NOT NULL) AS envelopes,
       (SELECT count(*) FROM event WHERE document = ANY (%(documents)s)) AS events,
       (SELECT count(*) FROM outcome WHERE document = ANY (%(documents)s)) AS outcomes,
       (SELECT count(*) FROM artifact WHERE document = ANY (%(documents)s) AND stage <> 'graph') AS artifacts,
       (SELECT count(*) FROM chunk_source WHERE document = ANY (%(documents)s)) AS chunk_sources,
       (SELECT count(*) FROM chunk JOIN own USING (text_hash)) AS chunks,
       (SELECT count(*) FROM embedding JOIN own USING (text_hash)) AS cached_vectors,
       (SELECT count(*) FROM indexed WHERE document = ANY (%(documents)s)) AS citations,
       (SELECT count(*) FROM dead_letter WHERE document = ANY (%(documents)s)) AS dead_letters,
       (SELECT count(*) FROM stage_record WHERE document = ANY (%(documents)s) AND output_key IS DISTINCT FROM 'deleted') AS stage_records,
       (SELECT count(*) FROM claim WHERE document = ANY (%(documents)s)) AS claims

-- name: tombstones
-- Documents that were erased and have not come back under a higher sequence.
SELECT document, sequence FROM document WHERE document = ANY (%(documents)s) AND deleted AND state_key = 'erased' ORDER BY document

-- name: of_tenant
SELECT (SELECT count(*) FROM document WHERE NOT deleted) AS documents, (SELECT count(*) FROM document WHERE deleted) AS tombstones,
       (SELECT count(*) FROM event) AS events, (SELECT count(*) FROM outcome) AS outcomes, (SELECT count(*) FROM artifact) AS artifacts,
       (SELECT count(*) FROM chunk_source) AS chunk_sources, (SELECT count(*) FROM chunk) AS chunks,
       (SELECT count(*) FROM embedding) AS cached_vectors, (SELECT count(*) FROM indexed) AS citations,
       (SELECT count(*) FROM dead_letter) AS dead_letters, (SELECT count(*) FROM stage_record) AS stage_records,
       (SELECT count(*) FROM claim) AS claims, (SELECT count(*) FROM stream_position) AS positions

-- name: traces
-- A tenant's key, schema and roles.
SELECT (SELECT count(*) FROM headrace.tenant WHERE tenant = %(tenant)s) AS key,
       (SELECT count(*) FROM pg_namespace WHERE nspname = %(schema)s) AS tables,
       (SELECT count(*) FROM pg_roles WHERE rolname = ANY (%(roles)s)) AS roles
