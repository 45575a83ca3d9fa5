-- A generation may stand by: complete, searched by those who still have its model, and kept up to date for a rollback (`headrace reindex`).
DO $$
DECLARE
  name text;
BEGIN
  ALTER TABLE headrace.generation DROP CONSTRAINT generation_state_check;
  FOR name IN SELECT tenant FROM headrace.tenant ORDER BY tenant LOOP
    -- a partition's own copy of the constraint stays when the parent's goes
    EXECUTE format('ALTER TABLE %I.generation DROP CONSTRAINT IF EXISTS generation_state_check', 'tenant_' || name);
  END LOOP;
  ALTER TABLE headrace.generation
    ADD CONSTRAINT generation_state_check CHECK (state IN ('building', 'active', 'standby', 'retired'));
END $$;

-- The generation beside the active one: the settings that it is built with (sections `embedding` and `chunking`), and what became of it.
-- `building`; `refused`: the comparison did not pass; `standby`: of the two, the one that is not active; `ended`.
CREATE TABLE headrace.reindex (
  tenant       text NOT NULL,
  settings     jsonb NOT NULL,
  fingerprint  text NOT NULL,
  state        text NOT NULL CHECK (state IN ('building', 'refused', 'standby', 'ended')),
  reason       text NOT NULL DEFAULT '',
  comparison   jsonb,
  requested_at timestamptz NOT NULL DEFAULT now(),
  changed_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant)
) PARTITION BY LIST (tenant);

-- A question that two generations are compared on, redacted, and the grades of documents where people have judged them. `keyed`: it has
-- surrogates, which a rotation of the surrogate key makes meaningless.
CREATE TABLE headrace.canary_query (
  tenant     text NOT NULL,
  query      text NOT NULL,
  judgements jsonb NOT NULL,
  keyed      boolean NOT NULL,
  PRIMARY KEY (tenant, query)
) PARTITION BY LIST (tenant);

DO $$
DECLARE
  relation text;
  name     text;
BEGIN
  FOREACH relation IN ARRAY ARRAY['reindex', 'canary_query'] LOOP
    EXECUTE format('ALTER TABLE headrace.%I ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', relation);
    FOR name IN SELECT tenant FROM headrace.tenant ORDER BY tenant LOOP
      CALL headrace.own_table(name, relation);
    END LOOP;
  END LOOP;
END $$;

-- The sections of a tenant's configuration that decide its index, of the tenant whose role the session has taken: in the transaction that
-- switches to another generation.
CREATE FUNCTION headrace.configure_index(embedding jsonb, chunking jsonb) RETURNS void
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
  UPDATE headrace.tenant SET configuration = configuration || jsonb_build_object('embedding', embedding, 'chunking', chunking)
  WHERE tenant = substring(current_setting('role') FROM '^headrace_tenant_(.+)$');
END $$;
GRANT EXECUTE ON FUNCTION headrace.configure_index TO PUBLIC;
