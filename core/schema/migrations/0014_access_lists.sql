-- Access lists are stored once, however many documents and passages have them. What is searched carries a list's number.

-- What a tenant's reader role may read. `own_table` grants it with the table.
CREATE FUNCTION headrace.readable() RETURNS text[]
  LANGUAGE sql IMMUTABLE
  RETURN ARRAY['chunk', 'chunk_source', 'indexed', 'generation', 'lexical', 'term', 'lexicon', 'access_list'];

CREATE OR REPLACE PROCEDURE headrace.own_table(tenant text, relation text)
  LANGUAGE plpgsql AS $$
DECLARE
  home   text := 'tenant_' || tenant;
BEGIN
  -- attached, not made in place: that would wait for every open transaction, and everybody's next one would wait behind it
  EXECUTE format('CREATE TABLE %1$I.%2$I (LIKE headrace.%2$I INCLUDING ALL)', home, relation);
  EXECUTE format('ALTER TABLE headrace.%2$I ATTACH PARTITION %1$I.%2$I FOR VALUES IN (%3$L)', home, relation, tenant);
  EXECUTE format('ALTER TABLE %I.%I ALTER COLUMN tenant SET DEFAULT %L', home, relation, tenant);
  EXECUTE format('ALTER TABLE %I.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', home, relation);
  IF relation = 'term' THEN
    -- every swap counts terms: no index has the columns that change, and each page has room for a row's next version (HOT)
    EXECUTE format('ALTER TABLE %I.term SET (fillfactor = 60)', home);
  END IF;
  CALL headrace.own_policy(tenant, relation);
  EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I.%I TO %I', home, relation, 'headrace_tenant_' || tenant);
  IF relation = ANY (headrace.readable()) THEN
    EXECUTE format('GRANT SELECT ON %I.%I TO %I', home, relation, 'headrace_reader_' || tenant);
  END IF;
END $$;

CREATE SEQUENCE headrace.access_list_number;
GRANT USAGE ON SEQUENCE headrace.access_list_number TO PUBLIC;

-- Equal for lists with the same principals.
CREATE FUNCTION headrace.access_digest(principals text[]) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN encode(sha256(convert_to(to_jsonb(ARRAY(SELECT DISTINCT unnest(principals) COLLATE "C" ORDER BY 1))::text, 'UTF8')), 'hex');

-- What principals are looked up by: an index holds no text of any length. Two principals may have one key.
CREATE FUNCTION headrace.principal_keys(principals text[]) RETURNS bigint[]
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN ARRAY(SELECT DISTINCT hashtextextended(principal, 0) FROM unnest(principals) AS principal ORDER BY 1);
GRANT EXECUTE ON FUNCTION headrace.access_digest, headrace.principal_keys TO PUBLIC;

CREATE TABLE headrace.access_list (
  tenant     text NOT NULL,
  number     bigint NOT NULL DEFAULT nextval('headrace.access_list_number'),
  digest     text COLLATE "C" NOT NULL,
  principals text[] NOT NULL,
  keys       bigint[] NOT NULL GENERATED ALWAYS AS (headrace.principal_keys(principals)) STORED,
  PRIMARY KEY (tenant, number),
  UNIQUE (tenant, digest)
) PARTITION BY LIST (tenant);
CREATE INDEX ON headrace.access_list USING gin (keys);
ALTER TABLE headrace.access_list ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

-- Who may read a document: decides. A landing narrows it, the swap sets it.
ALTER TABLE headrace.indexed ADD COLUMN access bigint;
CREATE INDEX ON headrace.indexed (access);
-- The list that all sources of a chunk had at the last swap of one of them; 0 if they differed. For filtering: narrowed by no landing.
ALTER TABLE headrace.chunk ADD COLUMN access bigint NOT NULL DEFAULT 0;
ALTER TABLE headrace.lexical ADD COLUMN access bigint NOT NULL DEFAULT 0;

DO $$
DECLARE
  name     text;
  home     text;
  relation text;
  forced   text[] := ARRAY['access_list', 'indexed', 'chunk', 'chunk_source', 'lexical'];
BEGIN
  FOR name IN SELECT tenant FROM headrace.tenant ORDER BY tenant LOOP
    home := 'tenant_' || name;
    CALL headrace.own_table(name, 'access_list');
    FOREACH relation IN ARRAY forced LOOP
      EXECUTE format('ALTER TABLE %I.%I NO FORCE ROW LEVEL SECURITY', home, relation);
    END LOOP;
    EXECUTE format(
      'INSERT INTO %1$I.access_list (tenant, digest, principals) '
      'SELECT %2$L, digest, min(acl) FROM (SELECT DISTINCT acl, headrace.access_digest(acl) AS digest FROM %1$I.chunk_source) AS x GROUP BY digest',
      home, name);
    -- all sources of a document have one list
    EXECUTE format(
      'UPDATE %1$I.indexed i SET access = a.number FROM %1$I.access_list a '
      'WHERE a.digest = (SELECT headrace.access_digest(s.acl) FROM %1$I.chunk_source s '
      '                  WHERE s.generation = i.generation AND s.document = i.document LIMIT 1)', home);
    -- documents without passages: nobody reads anything of them
    EXECUTE format('INSERT INTO %1$I.access_list (tenant, digest, principals) VALUES (%2$L, headrace.access_digest(''{}''), ''{}'') '
                   'ON CONFLICT DO NOTHING', home, name);
    EXECUTE format('UPDATE %1$I.indexed SET access = (SELECT number FROM %1$I.access_list WHERE principals = ''{}'') WHERE access IS NULL', home);
    EXECUTE format(
      'UPDATE %1$I.chunk c SET access = x.access FROM ('
      '  SELECT s.generation, s.text_hash, min(i.access) AS access FROM %1$I.chunk_source s JOIN %1$I.indexed i USING (generation, document)'
      '  GROUP BY 1, 2 HAVING min(i.access) = max(i.access)) AS x '
      'WHERE c.generation = x.generation AND c.text_hash = x.text_hash', home);
    EXECUTE format(
      'UPDATE %1$I.lexical l SET access = c.access FROM %1$I.chunk c WHERE c.generation = l.generation AND c.text_hash = l.text_hash', home);
    FOREACH relation IN ARRAY forced LOOP
      EXECUTE format('ALTER TABLE %I.%I FORCE ROW LEVEL SECURITY', home, relation);
    END LOOP;
  END LOOP;
END $$;

ALTER TABLE headrace.indexed ALTER COLUMN access SET NOT NULL;
ALTER TABLE headrace.chunk_source DROP COLUMN acl;
-- for readers of few lists, and to know whether a list is still used
CREATE INDEX ON headrace.chunk (access, generation);
CREATE INDEX ON headrace.lexical (access, generation);

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
END $$;

REVOKE ALL ON FUNCTION headrace.readable FROM PUBLIC;
