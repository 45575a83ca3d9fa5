-- The control plane, the parents of every tenant's tables, and how a tenant gets its own.
-- Runs as headrace_owner. The roles headrace_pipeline and headrace_reader exist (services/sql/bootstrap.sql).
--
-- Isolation stands three deep. A tenant's rows live in partitions in a schema of its own, on which only its own two roles
-- have any privilege; row-level security is forced on every table, the owner included; and neither login role inherits
-- anything: it takes on one tenant's role for one transaction.
-- Static SQL names tables without a schema: the tenant's search_path leads straight to its partitions, so that planning
-- costs the same with one tenant and with a thousand.

CREATE SCHEMA headrace;
GRANT USAGE ON SCHEMA headrace TO PUBLIC;

-- The tenant whose role is taken on; null for everybody else. Nothing a session can set changes it.
CREATE FUNCTION headrace.current_tenant() RETURNS text
  LANGUAGE sql STABLE PARALLEL SAFE
  RETURN substring(current_user::text FROM '^headrace_(?:tenant|reader)_(.+)$');

CREATE TABLE headrace.tenant (
  tenant        text PRIMARY KEY CHECK (tenant ~ '^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$'),
  status        text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended')),
  configuration jsonb NOT NULL DEFAULT '{}',
  wrapped_key   bytea NOT NULL,
  created_at    timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE headrace.tenant ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_administers ON headrace.tenant TO headrace_owner USING (true) WITH CHECK (true);
CREATE POLICY pipeline_reads ON headrace.tenant FOR SELECT TO headrace_pipeline USING (true);
CREATE POLICY reader_reads ON headrace.tenant FOR SELECT TO headrace_reader USING (true);
GRANT SELECT ON headrace.tenant TO headrace_pipeline;
GRANT SELECT (tenant, status, configuration, created_at) ON headrace.tenant TO headrace_reader;

-- Where the next batch starts: the only position that counts. The broker's committed offsets are for lag tools.
CREATE TABLE headrace.stream_position (
  tenant          text NOT NULL,
  topic           text NOT NULL,
  kafka_partition integer NOT NULL,
  next_offset     bigint NOT NULL CHECK (next_offset >= 0),
  updated_at      timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, topic, kafka_partition)
) PARTITION BY LIST (tenant);

-- Every event's fate. No content, no document id: `document` is the id's keyed digest.
CREATE TABLE headrace.event (
  tenant          text NOT NULL,
  kafka_partition integer NOT NULL,
  kafka_offset    bigint NOT NULL,
  event_key       text,
  document        text,
  operation       text CHECK (operation IN ('upsert', 'delete')),
  sequence        bigint,
  fate            text NOT NULL CHECK (fate IN ('landed', 'unchanged', 'superseded', 'dead-lettered')),
  event_time      timestamptz,
  received_at     timestamptz NOT NULL,
  landed_at       timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, kafka_partition, kafka_offset)
) PARTITION BY LIST (tenant);
CREATE INDEX ON headrace.event (document);
CREATE INDEX ON headrace.event (landed_at);

-- A document's newest state. A tombstone keeps its sequence. `envelope` is sealed: id, source, title, uri, metadata.
-- `revision` counts landings, so that a landing is a compare-and-set; the keys are digests of what each stage depends on.
CREATE TABLE headrace.document (
  tenant            text NOT NULL,
  document          text NOT NULL CHECK (document ~ '^[0-9a-f]{32}$'),
  revision          bigint NOT NULL,
  sequence          bigint NOT NULL,
  sequence_explicit boolean NOT NULL,
  deleted           boolean NOT NULL,
  source_key        text NOT NULL,
  state_key         text NOT NULL,
  content_key       text NOT NULL,
  envelope_key      text NOT NULL,
  acl_key           text NOT NULL,
  envelope          bytea,
  acl               text[] NOT NULL,
  kafka_partition   integer NOT NULL,
  kafka_offset      bigint NOT NULL,
  event_time        timestamptz,
  received_at       timestamptz NOT NULL,
  landed_at         timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, document),
  CHECK ((envelope IS NULL) = deleted)
) PARTITION BY LIST (tenant);

-- The ledger. `behind`: the document has landed anew since; `waiting`: to be tried again at next_attempt.
CREATE TABLE headrace.stage_record (
  tenant       text NOT NULL,
  document     text NOT NULL,
  stage        text NOT NULL,
  input_key    text NOT NULL,
  fingerprint  text NOT NULL,
  output_key   text,
  status       text NOT NULL CHECK (status IN ('done', 'behind', 'failed', 'waiting')),
  attempts     integer NOT NULL DEFAULT 1,
  next_attempt timestamptz,
  reason       text,
  detail       text,
  seconds      real,
  updated_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, document, stage),
  CHECK (status <> 'done' OR output_key IS NOT NULL)
) PARTITION BY LIST (tenant);

-- What is to be done, found without reading what is done.
CREATE INDEX ON headrace.stage_record (stage, document) WHERE status <> 'done';

-- What a stage gave for a document's newest state; zstd, and sealed where it precedes redaction.
CREATE TABLE headrace.artifact (
  tenant   text NOT NULL,
  document text NOT NULL,
  stage    text NOT NULL,
  key      text NOT NULL,
  payload  bytea NOT NULL,
  PRIMARY KEY (tenant, document, stage)
) PARTITION BY LIST (tenant);

CREATE SEQUENCE headrace.generation_number;
CREATE SEQUENCE headrace.projection_version;

-- A chunker and an embedder together. One is active; another may be building beside it.
CREATE TABLE headrace.generation (
  tenant       text NOT NULL,
  generation   bigint NOT NULL DEFAULT nextval('headrace.generation_number'),
  fingerprint  text NOT NULL,
  model        text NOT NULL,
  dimension    integer NOT NULL,
  state        text NOT NULL CHECK (state IN ('building', 'active', 'retired')),
  created_at   timestamptz NOT NULL DEFAULT now(),
  activated_at timestamptz,
  PRIMARY KEY (tenant, generation),
  UNIQUE (tenant, fingerprint)
) PARTITION BY LIST (tenant);
CREATE UNIQUE INDEX ON headrace.generation (tenant) WHERE state = 'active';

-- What this tenant has embedded under a model; outlives generations, not the texts.
CREATE TABLE headrace.embedding (
  tenant     text NOT NULL,
  model      text NOT NULL,
  text_hash  text NOT NULL,
  embedding  halfvec NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, model, text_hash)
) PARTITION BY LIST (tenant);

-- Exact duplicates are one chunk with several sources. A source's foreign key leads to the tenant's own partition (create_tenant):
-- one between the parents would look, and lock, through every tenant's, and would go for all with the first tenant that is dropped.
CREATE TABLE headrace.chunk (
  tenant       text NOT NULL,
  generation   bigint NOT NULL,
  text_hash    text NOT NULL,
  text         text NOT NULL,
  heading_path text[] NOT NULL,
  token_count  integer NOT NULL,
  embedding    halfvec NOT NULL,
  words        tsvector GENERATED ALWAYS AS (to_tsvector('simple', text)) STORED,
  PRIMARY KEY (tenant, generation, text_hash)
) PARTITION BY LIST (tenant);
CREATE INDEX ON headrace.chunk (text_hash);

CREATE TABLE headrace.chunk_source (
  tenant     text NOT NULL,
  generation bigint NOT NULL,
  text_hash  text NOT NULL,
  document   text NOT NULL,
  ordinal    integer NOT NULL,
  page       integer,
  acl        text[] NOT NULL,
  PRIMARY KEY (tenant, generation, document, ordinal)
) PARTITION BY LIST (tenant);
CREATE INDEX ON headrace.chunk_source (generation, text_hash);
CREATE INDEX ON headrace.chunk_source (document);

-- What a citation shows of a document, redacted; changes with the swap, so that it fits the chunks beside it.
CREATE TABLE headrace.indexed (
  tenant     text NOT NULL,
  generation bigint NOT NULL,
  document   text NOT NULL,
  name       text NOT NULL,
  title      text NOT NULL,
  uri        text NOT NULL,
  sequence   bigint NOT NULL,
  indexed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant, generation, document)
) PARTITION BY LIST (tenant);

-- What could not be processed: where its event is and why. Never the payload.
CREATE TABLE headrace.dead_letter (
  tenant          text NOT NULL,
  kafka_partition integer NOT NULL,
  kafka_offset    bigint NOT NULL,
  stage           text NOT NULL,
  document        text,
  reason          text NOT NULL,
  detail          text NOT NULL,
  attempts        integer NOT NULL DEFAULT 1,
  first_at        timestamptz NOT NULL DEFAULT now(),
  last_at         timestamptz NOT NULL DEFAULT now(),
  resolved_at     timestamptz,
  PRIMARY KEY (tenant, kafka_partition, kafka_offset, stage)
) PARTITION BY LIST (tenant);
CREATE INDEX ON headrace.dead_letter (document);

-- Each parent is closed: rows are reached through the tenant's own partitions alone.
DO $$
DECLARE parent regclass;
BEGIN
  FOR parent IN SELECT c.oid FROM pg_class c WHERE c.relnamespace = 'headrace'::regnamespace AND c.relkind = 'p' LOOP
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', parent);
  END LOOP;
END $$;

-- Lag over all tenants is one query; it holds no document.
CREATE POLICY pipeline_reads ON headrace.stream_position FOR SELECT TO headrace_pipeline USING (true);
GRANT SELECT ON headrace.stream_position TO headrace_pipeline;
GRANT USAGE ON SEQUENCE headrace.generation_number, headrace.projection_version TO PUBLIC;

-- What a stage's result must have been computed from to be current.
CREATE FUNCTION headrace.input_key(deleted boolean, sequence bigint, own text, upstream text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE WHEN deleted THEN 'deleted.' || sequence ELSE concat_ws('.', own, upstream) END;

-- Who may read under both lists: what a revoked principal loses at once, before the swap grants anything new.
CREATE FUNCTION headrace.narrowed(old text[], new text[]) RETURNS text[]
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE
    WHEN '*' = ANY (old) THEN new
    WHEN '*' = ANY (new) THEN old
    ELSE ARRAY(SELECT unnest(old) INTERSECT SELECT unnest(new) ORDER BY 1)
  END;

-- A tenant's schema with its partitions, its pipeline role and its reader role. The name has passed the table's CHECK.
CREATE PROCEDURE headrace.create_tenant(name text, wrapped_key bytea, configuration jsonb)
  LANGUAGE plpgsql AS $$
DECLARE
  parent  record;
  home    text := 'tenant_' || name;
  writer  text := 'headrace_tenant_' || name;
  reader  text := 'headrace_reader_' || name;
BEGIN
  INSERT INTO headrace.tenant (tenant, wrapped_key, configuration) VALUES (name, wrapped_key, configuration);
  EXECUTE format('CREATE ROLE %I NOLOGIN', writer);
  EXECUTE format('CREATE ROLE %I NOLOGIN', reader);
  EXECUTE format('GRANT %I TO headrace_pipeline WITH INHERIT FALSE, SET TRUE', writer);
  EXECUTE format('GRANT %I TO headrace_reader WITH INHERIT FALSE, SET TRUE', reader);
  EXECUTE format('CREATE SCHEMA %I', home);
  EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I, %I', home, writer, reader);
  FOR parent IN SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'headrace'::regnamespace AND c.relkind = 'p' ORDER BY c.oid LOOP
    -- attached, not made in place: that would wait for every open transaction, and everybody's next one would wait behind it
    EXECUTE format('CREATE TABLE %1$I.%2$I (LIKE headrace.%2$I INCLUDING ALL)', home, parent.relname);
    EXECUTE format('ALTER TABLE headrace.%2$I ATTACH PARTITION %1$I.%2$I FOR VALUES IN (%3$L)', home, parent.relname, name);
    EXECUTE format('ALTER TABLE %I.%I ALTER COLUMN tenant SET DEFAULT %L', home, parent.relname, name);
    EXECUTE format('ALTER TABLE %I.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', home, parent.relname);
    EXECUTE format(
      -- asked once for a statement, not once for a row
      'CREATE POLICY own_tenant ON %I.%I USING (tenant = (SELECT headrace.current_tenant())) '
      'WITH CHECK (tenant = (SELECT headrace.current_tenant()))', home, parent.relname);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I.%I TO %I', home, parent.relname, writer);
  END LOOP;
  EXECUTE format('ALTER TABLE %1$I.chunk_source ADD FOREIGN KEY (tenant, generation, text_hash) REFERENCES %1$I.chunk', home);
  EXECUTE format('ALTER TABLE %I.artifact ALTER COLUMN payload SET STORAGE EXTERNAL', home);
  EXECUTE format('GRANT SELECT ON %1$I.chunk, %1$I.chunk_source, %1$I.indexed, %1$I.generation TO %2$I', home, reader);
END $$;

-- Everything of a tenant, its key first of all: what a backup still holds is unreadable afterwards.
-- It needs the parents for itself. While it waits for an open transaction everybody waits behind it, so it gives up before long.
CREATE PROCEDURE headrace.drop_tenant(name text)
  LANGUAGE plpgsql SET lock_timeout = '5s' AS $$
DECLARE
  own text;
BEGIN
  DELETE FROM headrace.tenant WHERE tenant = name;
  EXECUTE format('DROP SCHEMA %I CASCADE', 'tenant_' || name);
  FOREACH own IN ARRAY ARRAY['headrace_tenant_' || name, 'headrace_reader_' || name] LOOP
    -- a role may have set default privileges, or hold a grant of a later migration: either would keep it from being dropped
    EXECUTE format('GRANT %I TO CURRENT_USER WITH INHERIT TRUE', own);
    EXECUTE format('DROP OWNED BY %I', own);
    EXECUTE format('DROP ROLE %I', own);
  END LOOP;
END $$;

REVOKE ALL ON ALL ROUTINES IN SCHEMA headrace FROM PUBLIC;
GRANT EXECUTE ON FUNCTION headrace.current_tenant, headrace.input_key, headrace.narrowed TO PUBLIC;
