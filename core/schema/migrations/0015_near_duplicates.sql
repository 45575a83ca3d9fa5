-- Near-duplicates of a generation's passages, kept by the swap in its own transaction (index/near_duplicates.py).

CREATE OR REPLACE FUNCTION headrace.readable() RETURNS text[]
  LANGUAGE sql IMMUTABLE
  RETURN ARRAY['chunk', 'chunk_source', 'indexed', 'generation', 'lexical', 'term', 'lexicon', 'access_list', 'near_duplicate', 'deduplication'];

-- The MinHash bands of a passage's text. Without the list of pending entries: every swap would search it from its beginning to its end.
CREATE TABLE headrace.signature (
  generation bigint NOT NULL,
  tenant     text NOT NULL,
  text_hash  text COLLATE "C" NOT NULL,
  bands      bigint[] NOT NULL
) PARTITION BY LIST (tenant);
-- Unique, but for a column that would be the same in each of its entries.
CREATE INDEX ON headrace.signature (generation, text_hash);
CREATE INDEX ON headrace.signature USING gin (bands) WITH (fastupdate = off);

-- A band that more passages have than are compared with each other: how many, and the first of them by text_hash, with which every other one is.
CREATE TABLE headrace.hot_band (
  tenant     text NOT NULL,
  generation bigint NOT NULL,
  band       bigint NOT NULL,
  passages   bigint NOT NULL,
  heads      text[] NOT NULL,
  PRIMARY KEY (tenant, generation, band)
) PARTITION BY LIST (tenant);

-- A passage, and one before it by text_hash that is alike beyond the threshold. `pivot`: the passage belongs to the cluster of that one.
CREATE TABLE headrace.near_duplicate (
  tenant     text NOT NULL,
  generation bigint NOT NULL,
  text_hash  text COLLATE "C" NOT NULL,
  neighbour  text COLLATE "C" NOT NULL,
  similarity real NOT NULL,
  pivot      boolean NOT NULL DEFAULT false,
  PRIMARY KEY (tenant, generation, text_hash, neighbour)
) PARTITION BY LIST (tenant);
CREATE INDEX ON headrace.near_duplicate (generation, neighbour, pivot, text_hash);

-- How a generation's near-duplicates are found, and what a search does with boilerplate. `behind`: some passages have no signature yet.
CREATE TABLE headrace.deduplication (
  tenant      text NOT NULL,
  generation  bigint NOT NULL,
  scheme      text NOT NULL,
  threshold   double precision NOT NULL,
  boilerplate text NOT NULL,
  behind      boolean NOT NULL DEFAULT false,
  PRIMARY KEY (tenant, generation)
) PARTITION BY LIST (tenant);

DO $$
DECLARE
  relation text;
  name     text;
  home     text;
BEGIN
  FOREACH relation IN ARRAY ARRAY['signature', 'hot_band', 'near_duplicate', 'deduplication'] LOOP
    EXECUTE format('ALTER TABLE headrace.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', relation);
    FOR name IN SELECT tenant FROM headrace.tenant ORDER BY tenant LOOP
      CALL headrace.own_table(name, relation);
    END LOOP;
  END LOOP;
  -- what is indexed gets its signatures from maintenance
  FOR name IN SELECT tenant FROM headrace.tenant ORDER BY tenant LOOP
    home := 'tenant_' || name;
    EXECUTE format('ALTER TABLE %I.generation NO FORCE ROW LEVEL SECURITY', home);
    EXECUTE format('ALTER TABLE %I.deduplication NO FORCE ROW LEVEL SECURITY', home);
    EXECUTE format('INSERT INTO %1$I.deduplication SELECT %2$L, generation, '''', 0.7, ''mark'', true FROM %1$I.generation', home, name);
    EXECUTE format('ALTER TABLE %I.generation FORCE ROW LEVEL SECURITY', home);
    EXECUTE format('ALTER TABLE %I.deduplication FORCE ROW LEVEL SECURITY', home);
  END LOOP;
END $$;
