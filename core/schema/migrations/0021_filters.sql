-- What searches filter by, of each document, redacted. Null in a row from before: its document's next swap writes it.
ALTER TABLE headrace.indexed
  ADD COLUMN source text, ADD COLUMN media_type text, ADD COLUMN metadata jsonb, ADD COLUMN event_time timestamptz;
CREATE INDEX ON headrace.indexed (event_time);
CREATE INDEX ON headrace.indexed USING gin (metadata jsonb_path_ops);
CREATE INDEX ON headrace.indexed (generation) WHERE metadata IS NULL;
