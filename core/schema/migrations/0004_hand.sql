-- What each stage has in hand: a row comes with the transaction that takes a document, and goes with the one that settles it. What is
-- left after a process died names the documents that it may have died of. `worker` is the key of the session lock that the process
-- holds while it lives; `company`: how many it took together; `deaths` of processes that had it in hand; `trials` in which a process
-- had nothing else in hand.
CREATE TABLE headrace.hand (
  tenant   text NOT NULL,
  document text NOT NULL,
  stage    text NOT NULL,
  worker   bigint NOT NULL,
  company  integer NOT NULL CHECK (company > 0),
  deaths   integer NOT NULL,
  trials   integer NOT NULL,
  PRIMARY KEY (tenant, document, stage)
) PARTITION BY LIST (tenant);
ALTER TABLE headrace.hand ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;

-- Tenants that are there already get theirs as create_tenant gives it to those that come.
DO $$
DECLARE
  name text;
  home text;
BEGIN
  FOR name, home IN SELECT tenant, 'tenant_' || tenant FROM headrace.tenant ORDER BY tenant LOOP
    EXECUTE format('CREATE TABLE %I.hand (LIKE headrace.hand INCLUDING ALL)', home);
    EXECUTE format('ALTER TABLE headrace.hand ATTACH PARTITION %I.hand FOR VALUES IN (%L)', home, name);
    EXECUTE format('ALTER TABLE %I.hand ALTER COLUMN tenant SET DEFAULT %L', home, name);
    EXECUTE format('ALTER TABLE %I.hand ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY', home);
    EXECUTE format(
      'CREATE POLICY own_tenant ON %I.hand USING (tenant = (SELECT headrace.current_tenant())) '
      'WITH CHECK (tenant = (SELECT headrace.current_tenant()))', home);
    EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I.hand TO %I', home, 'headrace_tenant_' || name);
  END LOOP;
END $$;

-- The digest of that part of the event which a stage depends on.
CREATE FUNCTION headrace.part_key(part text, content_key text, envelope_key text, acl_key text) RETURNS text
  LANGUAGE sql IMMUTABLE PARALLEL SAFE
  RETURN CASE part WHEN 'content' THEN content_key WHEN 'envelope' THEN envelope_key WHEN 'acl' THEN acl_key END;
GRANT EXECUTE ON FUNCTION headrace.part_key TO PUBLIC;
