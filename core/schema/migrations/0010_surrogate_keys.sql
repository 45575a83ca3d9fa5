-- A tenant's surrogate key may be exchanged for a fresh one. Epoch 0 is the key that is derived from the tenant's data key; a later one is
-- random and stands here, wrapped under the master key. While anything that was made under the key before is left, that one is kept too
-- (`former_surrogate_key`; null where that is the derived one), and `rotated_at` says since when.
ALTER TABLE headrace.tenant
  ADD COLUMN surrogate_epoch integer NOT NULL DEFAULT 0 CHECK (surrogate_epoch >= 0),
  ADD COLUMN wrapped_surrogate_key bytea,
  ADD COLUMN former_surrogate_key bytea,
  ADD COLUMN rotated_at timestamptz,
  ADD CHECK ((surrogate_epoch = 0) = (wrapped_surrogate_key IS NULL)),
  ADD CHECK (former_surrogate_key IS NULL OR rotated_at IS NOT NULL);

-- Under which key the texts of a generation were redacted, so that questions are redacted like what they are compared with.
ALTER TABLE headrace.generation ADD COLUMN surrogate_epoch integer NOT NULL DEFAULT 0;

-- What follows speaks of the tenant whose role the session has taken, and of no other: in a function of the owner's, current_user is the owner.

-- Compared with in the commit of every stage, so that a worker that still has the former key writes nothing.
CREATE FUNCTION headrace.surrogate_epoch() RETURNS integer
  LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog
BEGIN ATOMIC
  SELECT t.surrogate_epoch FROM headrace.tenant t WHERE t.tenant = substring(current_setting('role') FROM '^headrace_tenant_(.+)$');
END;

-- From the epoch that is named to the next one, where that is the tenant's, no rotation is under way, and the data key is still wrapped as it
-- was when the new key was: a change of the master key wraps it anew. The time is the statement's own: the transaction's may be older than
-- what it waited for.
CREATE FUNCTION headrace.rotate_surrogates(before integer, wrapped bytea, data_key bytea) RETURNS boolean
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
  UPDATE headrace.tenant SET surrogate_epoch = before + 1, wrapped_surrogate_key = wrapped, former_surrogate_key = wrapped_surrogate_key,
    rotated_at = clock_timestamp()
  WHERE tenant = substring(current_setting('role') FROM '^headrace_tenant_(.+)$') AND surrogate_epoch = before AND rotated_at IS NULL
    AND wrapped_key = data_key;
  RETURN FOUND;
END $$;

CREATE FUNCTION headrace.forget_former_surrogates(epoch integer) RETURNS boolean
  LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog AS $$
BEGIN
  UPDATE headrace.tenant SET former_surrogate_key = NULL, rotated_at = NULL
  WHERE tenant = substring(current_setting('role') FROM '^headrace_tenant_(.+)$') AND surrogate_epoch = epoch AND rotated_at IS NOT NULL;
  RETURN FOUND;
END $$;

GRANT EXECUTE ON FUNCTION headrace.surrogate_epoch, headrace.rotate_surrogates, headrace.forget_former_surrogates TO PUBLIC;

-- Changes of the master key. What the former one sealed for the installation (entries of the audit log up to `last_audit`, receipts that
-- began with one of these) is still verified: by the two keys for that which were derived from it, wrapped under the master key in force.
-- `mark` is derived from the master key that was changed to: who has another one in its configuration writes nothing into the audit log,
-- and so begins nothing.
CREATE TABLE headrace.master_change (
  number     integer PRIMARY KEY CHECK (number > 0),
  last_audit bigint NOT NULL,
  former     bytea NOT NULL,
  mark       bytea NOT NULL,
  changed_at timestamptz NOT NULL DEFAULT now()
);
ALTER TABLE headrace.master_change ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_administers ON headrace.master_change TO headrace_owner USING (true) WITH CHECK (true);
CREATE POLICY pipeline_reads ON headrace.master_change FOR SELECT TO headrace_pipeline USING (true);
GRANT SELECT ON headrace.master_change TO headrace_pipeline;
