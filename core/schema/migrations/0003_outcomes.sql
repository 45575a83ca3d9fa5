-- The outbox: what became of each landed event, until it was published to `outcomes.<tenant>`. A row comes with its landing, is decided
-- in the transaction that decides it (`number` then says in which order), and goes once it was published.
-- No content, and no id in clear: `document` is the id's keyed digest, `subject` is sealed: the event's id and the record's key.
-- Nothing is unique by position: a topic that was made anew begins at offset 0 again.

CREATE SEQUENCE headrace.outcome_number;
GRANT USAGE ON SEQUENCE headrace.outcome_number TO PUBLIC;

CREATE TABLE headrace.outcome (
  tenant          text NOT NULL,
  number          bigint NOT NULL DEFAULT nextval('headrace.outcome_number'),
  kafka_partition integer NOT NULL,
  kafka_offset    bigint NOT NULL,
  document        text,
  operation       text,
  sequence        bigint,
  subject         bytea NOT NULL,
  event_time      timestamptz,
  received_at     timestamptz NOT NULL,
  landed_at       timestamptz NOT NULL DEFAULT now(),
  outcome         text CHECK (outcome IN ('indexed', 'unchanged', 'superseded', 'deleted', 'dead-lettered')),
  reason          text,
  decided_at      timestamptz,
  PRIMARY KEY (tenant, number),
  CHECK ((outcome IS NULL) = (decided_at IS NULL)),
  CHECK ((reason IS NOT NULL) = (outcome IS NOT DISTINCT FROM 'dead-lettered'))
) PARTITION BY LIST (tenant);
CREATE INDEX ON headrace.outcome (document);
-- what is to be published, found without reading what is not decided yet
CREATE INDEX ON headrace.outcome (number) WHERE outcome IS NOT NULL;
ALTER TABLE headrace.outcome ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

-- Tenants that are there already get theirs as create_tenant gives it to those that come.
DO $$
DECLARE
  name text;
  home text;
BEGIN
  FOR name, home IN SELECT tenant, 'tenant_' || tenant FROM headrace.tenant ORDER BY tenant LOOP
    EXECUTE format('CREATE TABLE %I.outcome (LIKE headrace.outcome INCLUDING ALL)', home);
    EXECUTE format('ALTER TABLE headrace.outcome ATTACH PARTITION %I.outcome FOR VALUES IN (%L)', home, name);
    EXECUTE format('ALTER TABLE %I.outcome ALTER COLUMN tenant SET DEFAULT %L', home, name);
    EXECUTE format('ALTER TABLE %I.outcome ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', home);
    EXECUTE format(
      'CREATE POLICY own_tenant ON %I.outcome USING (tenant = (SELECT headrace.current_tenant())) '
      'WITH CHECK (tenant = (SELECT headrace.current_tenant()))', home);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I.outcome TO %I', home, 'headrace_tenant_' || name);
  END LOOP;
END $$;
