-- Lexical search: BM25 under the reader's role, from two tables that the swap writes in its own transaction.

-- A tenant's partition holds that tenant's rows alone, so that its two roles may see all of them. A condition on each row
-- (tenant = current_tenant()) would have to be checked before any operator that is not leakproof: neither @@ nor && is, and with it no GIN
-- index is used. Who has not taken on one of the two roles has no policy and sees nothing, the owner included.
CREATE PROCEDURE headrace.own_table(tenant text, relation text)
  LANGUAGE plpgsql AS $$
DECLARE
  home   text := 'tenant_' || tenant;
  writer text := 'headrace_tenant_' || tenant;
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
  EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I.%I TO %I', home, relation, writer);
END $$;

CREATE PROCEDURE headrace.own_policy(tenant text, relation text)
  LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format(
    'CREATE POLICY own_tenant ON %I.%I TO %I, %I USING (true) WITH CHECK (tenant = (SELECT headrace.current_tenant()))',
    'tenant_' || tenant, relation, 'headrace_tenant_' || tenant, 'headrace_reader_' || tenant);
END $$;

-- A passage's terms. `impacts`: term number → impact (index/lexical.py), for `pivot`; `length`: the number of its words.
CREATE TABLE headrace.lexical (
  tenant     text NOT NULL,
  generation bigint NOT NULL,
  text_hash  text NOT NULL,
  language   text NOT NULL,
  length     integer NOT NULL,
  pivot      real NOT NULL,
  terms      tsvector NOT NULL,
  impacts    sparsevec NOT NULL,
  PRIMARY KEY (tenant, generation, text_hash)
) PARTITION BY LIST (tenant);
CREATE INDEX ON headrace.lexical USING gin (terms);

-- A term of a generation: its number, in how many passages it stands, and an upper bound of its impact in any of them.
CREATE TABLE headrace.term (
  tenant     text NOT NULL,
  generation bigint NOT NULL,
  term       text COLLATE "C" NOT NULL,
  number     integer NOT NULL,
  passages   bigint NOT NULL,
  bound      real NOT NULL,
  PRIMARY KEY (tenant, generation, term)
) PARTITION BY LIST (tenant);

-- What BM25 has to know of all passages. `passages`: by language. `numbers`: how many were given to terms. `pivot`: the length at which an impact is neither raised nor lowered.
-- `behind`: some passages have no terms yet, or impacts for another pivot.
CREATE TABLE headrace.lexicon (
  tenant     text NOT NULL,
  generation bigint NOT NULL,
  passages   jsonb NOT NULL,
  words      bigint NOT NULL,
  numbers    integer NOT NULL DEFAULT 0,
  pivot      real NOT NULL,
  behind     boolean NOT NULL DEFAULT false,
  PRIMARY KEY (tenant, generation)
) PARTITION BY LIST (tenant);

ALTER TABLE headrace.chunk DROP COLUMN words;
-- The smallest language of its sources decides how a passage is stemmed; empty if unknown.
ALTER TABLE headrace.indexed ADD COLUMN language text NOT NULL DEFAULT '';

DO $$
DECLARE
  relation text;
  name     text;
BEGIN
  FOREACH relation IN ARRAY ARRAY['lexical', 'term', 'lexicon'] LOOP
    EXECUTE format('ALTER TABLE headrace.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', relation);
  END LOOP;
  FOR name IN SELECT tenant FROM headrace.tenant ORDER BY tenant LOOP
    FOR relation IN SELECT c.relname FROM pg_class c WHERE c.relnamespace = 'headrace'::regnamespace AND c.relkind = 'p' ORDER BY c.oid LOOP
      IF relation IN ('lexical', 'term', 'lexicon') THEN
        CALL headrace.own_table(name, relation);
        EXECUTE format('GRANT SELECT ON %I.%I TO %I', 'tenant_' || name, relation, 'headrace_reader_' || name);
      ELSE
        EXECUTE format('DROP POLICY own_tenant ON %I.%I', 'tenant_' || name, relation);
        CALL headrace.own_policy(name, relation);
      END IF;
    END LOOP;
    -- what is indexed gets its terms from maintenance (index/lexical.py)
    EXECUTE format('ALTER TABLE %I.generation NO FORCE ROW LEVEL SECURITY', 'tenant_' || name);
    EXECUTE format('ALTER TABLE %I.lexicon NO FORCE ROW LEVEL SECURITY', 'tenant_' || name);
    EXECUTE format('INSERT INTO %1$I.lexicon SELECT %2$L, generation, ''{}'', 0, 0, 128, true FROM %1$I.generation', 'tenant_' || name, name);
    EXECUTE format('ALTER TABLE %I.generation FORCE ROW LEVEL SECURITY', 'tenant_' || name);
    EXECUTE format('ALTER TABLE %I.lexicon FORCE ROW LEVEL SECURITY', 'tenant_' || name);
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
  EXECUTE format('GRANT SELECT ON %1$I.chunk, %1$I.chunk_source, %1$I.indexed, %1$I.generation, %1$I.lexical, %1$I.term, %1$I.lexicon TO %2$I',
                 home, reader);
END $$;

REVOKE ALL ON ROUTINE headrace.own_table, headrace.own_policy FROM PUBLIC;

-- The Snowball stemmers that Postgres ships, by ISO 639-1. For another language, a word is its own stem.
CREATE FUNCTION headrace.stemmer(language text) RETURNS regdictionary
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE language
    WHEN 'ar' THEN 'arabic_stem' WHEN 'ca' THEN 'catalan_stem' WHEN 'da' THEN 'danish_stem' WHEN 'de' THEN 'german_stem'
    WHEN 'el' THEN 'greek_stem' WHEN 'en' THEN 'english_stem' WHEN 'es' THEN 'spanish_stem' WHEN 'eu' THEN 'basque_stem'
    WHEN 'fi' THEN 'finnish_stem' WHEN 'fr' THEN 'french_stem' WHEN 'ga' THEN 'irish_stem' WHEN 'hi' THEN 'hindi_stem'
    WHEN 'hu' THEN 'hungarian_stem' WHEN 'hy' THEN 'armenian_stem' WHEN 'id' THEN 'indonesian_stem' WHEN 'it' THEN 'italian_stem'
    WHEN 'lt' THEN 'lithuanian_stem' WHEN 'nb' THEN 'norwegian_stem' WHEN 'ne' THEN 'nepali_stem' WHEN 'nl' THEN 'dutch_stem'
    WHEN 'nn' THEN 'norwegian_stem' WHEN 'no' THEN 'norwegian_stem' WHEN 'pt' THEN 'portuguese_stem' WHEN 'ro' THEN 'romanian_stem'
    WHEN 'ru' THEN 'russian_stem' WHEN 'sr' THEN 'serbian_stem' WHEN 'sv' THEN 'swedish_stem' WHEN 'ta' THEN 'tamil_stem'
    WHEN 'tr' THEN 'turkish_stem' WHEN 'yi' THEN 'yiddish_stem' ELSE 'simple' END::regdictionary;

-- Word → stem, without stop words, which have none.
CREATE FUNCTION headrace.stems(language text, words text[]) RETURNS TABLE (word text, stem text)
  LANGUAGE sql STABLE PARALLEL SAFE
BEGIN ATOMIC
  SELECT w.word, s.stem
  FROM (SELECT headrace.stemmer(language) AS dictionary OFFSET 0) AS d, unnest(words) AS w (word),
    LATERAL unnest(ts_lexize(d.dictionary, w.word)) AS s (stem);
END;
GRANT EXECUTE ON FUNCTION headrace.stemmer, headrace.stems TO PUBLIC;
