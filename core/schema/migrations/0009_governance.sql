-- The audit log: who did what to which tenant, and when; counts and keys, no value of a document's. One chain for the installation, so that
-- a tenant's removal is in it and takes nothing out of it. An entry's hash covers the one before, so that none can be changed or taken out
-- unnoticed; its seal is keyed by the master key, which no role here has, so that the chain cannot be made anew either.
-- Who may add may do nothing else: no role updates or deletes, the owner neither.
CREATE TABLE headrace.audit (
  number bigint PRIMARY KEY CHECK (number > 0),
  entry  text NOT NULL,
  tenant text GENERATED ALWAYS AS (entry::jsonb ->> 'tenant') STORED,
  hash   bytea NOT NULL,
  seal   bytea NOT NULL
);
CREATE INDEX ON headrace.audit (tenant, number);
ALTER TABLE headrace.audit ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_reads ON headrace.audit FOR SELECT TO headrace_owner USING (true);
CREATE POLICY owner_adds ON headrace.audit FOR INSERT TO headrace_owner WITH CHECK (true);
CREATE POLICY pipeline_reads ON headrace.audit FOR SELECT TO headrace_pipeline USING (true);
GRANT SELECT ON headrace.audit TO headrace_pipeline;
REVOKE UPDATE, DELETE, TRUNCATE ON headrace.audit FROM headrace_owner;

CREATE FUNCTION headrace.audit_stays() RETURNS trigger
  LANGUAGE plpgsql SET search_path = pg_catalog AS $$
BEGIN
  RAISE EXCEPTION 'the audit log is added to, and nothing else' USING ERRCODE = 'insufficient_privilege';
END $$;
CREATE TRIGGER stays BEFORE UPDATE OR DELETE OR TRUNCATE ON headrace.audit FOR EACH STATEMENT EXECUTE FUNCTION headrace.audit_stays();

-- Null where another entry took this number first: then it follows that one. What is added follows the last entry, or is refused.
CREATE FUNCTION headrace.add_audit(place bigint, said text, sealed bytea) RETURNS bytea
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
DECLARE
  previous bytea;
  made     bytea;
BEGIN
  SELECT a.hash INTO previous FROM headrace.audit a WHERE a.number = place - 1;
  IF (previous IS NULL) <> (place = 1) THEN
    RAISE EXCEPTION 'there is no entry that it would follow';
  END IF;
  INSERT INTO headrace.audit AS a (number, entry, hash, seal)
  VALUES (place, said, sha256(convert_to(place || E'\n' || coalesce(encode(previous, 'hex'), '') || E'\n' || said, 'UTF8')), sealed)
  ON CONFLICT DO NOTHING RETURNING a.hash INTO made;
  RETURN made;
END $$;

-- What a tenant's own role may read: its entries since it was made. One that had its name before was another.
CREATE FUNCTION headrace.own_audit() RETURNS TABLE (number bigint, entry text, hash bytea)
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
BEGIN ATOMIC
  SELECT a.number, a.entry, a.hash FROM headrace.audit a JOIN headrace.tenant t ON t.tenant = a.tenant
  WHERE a.tenant = substring(current_setting('role') FROM '^headrace_tenant_(.+)$') AND (a.entry::jsonb ->> 'at')::timestamptz >= t.created_at
  ORDER BY a.number;
END;

REVOKE ALL ON FUNCTION headrace.audit_stays, headrace.add_audit FROM PUBLIC;
GRANT EXECUTE ON FUNCTION headrace.add_audit TO headrace_pipeline;
GRANT EXECUTE ON FUNCTION headrace.own_audit TO PUBLIC;
