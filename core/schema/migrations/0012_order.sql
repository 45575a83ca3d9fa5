-- The order of a document's events where offsets do not tell it: between partitions, the time at which the broker appended them counts.
-- `appended_at`: the highest append time of the events that led to a document's state; null if its last event has none.
-- `published`: an upsert has landed at some time. A delete of an unknown id leaves a tombstone that fences and owns nothing.
ALTER TABLE headrace.document
  ADD COLUMN appended_at timestamptz,
  ADD COLUMN published boolean NOT NULL DEFAULT true;

-- The running offset at which the topic of a position begins; null in positions from before.
ALTER TABLE headrace.stream_position ADD COLUMN topic_base bigint CHECK (topic_base >= 0);

-- Which landing of a document an event led to, and which one is indexed: two events of a document may have the same offset in two partitions.
ALTER TABLE headrace.outcome ADD COLUMN revision bigint;
ALTER TABLE headrace.indexed ADD COLUMN revision bigint;

ALTER TABLE headrace.event DROP CONSTRAINT event_fate_check;
ALTER TABLE headrace.event ADD CONSTRAINT event_fate_check
  CHECK (fate IN ('landed', 'unchanged', 'superseded', 'unknown-document', 'dead-lettered'));
ALTER TABLE headrace.outcome DROP CONSTRAINT outcome_outcome_check;
ALTER TABLE headrace.outcome ADD CONSTRAINT outcome_outcome_check
  CHECK (outcome IN ('indexed', 'unchanged', 'superseded', 'deleted', 'unknown-document', 'dead-lettered'));

-- How far a tenant's data has been brought up to date by what SQL cannot do, because it takes the tenant's key. New tenants begin with the
-- newest version.
ALTER TABLE headrace.tenant ADD COLUMN data_version integer NOT NULL DEFAULT 0 CHECK (data_version >= 0);
ALTER TABLE headrace.tenant ALTER COLUMN data_version SET DEFAULT 1;

-- Of the tenant whose role the session has assumed.
CREATE FUNCTION headrace.reach_data_version(version integer) RETURNS void
  LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog
BEGIN ATOMIC
  UPDATE headrace.tenant t SET data_version = greatest(t.data_version, version)
  WHERE t.tenant = substring(current_setting('role') FROM '^headrace_tenant_(.+)$');
END;
REVOKE ALL ON FUNCTION headrace.reach_data_version FROM PUBLIC;
GRANT EXECUTE ON FUNCTION headrace.reach_data_version TO PUBLIC;
