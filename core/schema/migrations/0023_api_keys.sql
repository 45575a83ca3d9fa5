-- Keys of callers of the server (`headrace serve`): whom a key stands for, and how much it may ask. Of a key itself only the digest is here.
-- A table of the installation: the pipeline's login reads it, before it knows for which tenant, and the owner adds and revokes. A tenant's
-- roles see nothing of it. A key goes with its tenant, so that a tenant made later under the same name has none.
CREATE TABLE headrace.api_key (
  key        text PRIMARY KEY CHECK (key ~ '^[0-9a-f]{12}$'),
  digest     bytea NOT NULL CHECK (length(digest) = 32),
  tenant     text NOT NULL REFERENCES headrace.tenant ON DELETE CASCADE,
  principals text[] NOT NULL,
  rate       real NOT NULL CHECK (rate > 0),
  note       text NOT NULL DEFAULT '',
  created_at timestamptz NOT NULL DEFAULT now(),
  expires_at timestamptz NOT NULL,
  revoked_at timestamptz
);
CREATE INDEX ON headrace.api_key (tenant);
ALTER TABLE headrace.api_key ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY owner_administers ON headrace.api_key TO headrace_owner USING (true) WITH CHECK (true);
CREATE POLICY pipeline_reads ON headrace.api_key FOR SELECT TO headrace_pipeline USING (true);
GRANT SELECT ON headrace.api_key TO headrace_pipeline;
