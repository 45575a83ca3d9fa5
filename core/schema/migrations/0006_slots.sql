-- Who streams where: one row for each stream process, by the name that its supervisor gave it or that it gave itself. It holds no tenant's
-- data: names of hosts, counts, and the codes of troubles. A process says every few seconds that it is there; one that stops saying so
-- died, and `deaths` remembers when, so that a slot that dies again and again is seen for what it is.

CREATE TABLE headrace.slot (
  slot       text PRIMARY KEY CHECK (length(slot) BETWEEN 1 AND 200),
  host       text NOT NULL,
  pid        integer NOT NULL,
  started_at timestamptz NOT NULL DEFAULT now(),
  seen_at    timestamptz NOT NULL DEFAULT now(),
  state      text NOT NULL DEFAULT 'running' CHECK (state IN ('running', 'left', 'failed')),
  tenants    integer NOT NULL DEFAULT 0,
  partitions integer NOT NULL DEFAULT 0,
  in_hand    integer NOT NULL DEFAULT 0,
  trouble    text,
  deaths     timestamptz[] NOT NULL DEFAULT '{}'
);
ALTER TABLE headrace.slot ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
CREATE POLICY pipeline_keeps ON headrace.slot TO headrace_pipeline USING (true) WITH CHECK (true);
GRANT SELECT, INSERT, UPDATE, DELETE ON headrace.slot TO headrace_pipeline;
