-- Documents inside documents: attachments, members of archives. A child is a document like any other, but no event of its own has made it:
-- the parse of its parent has. It follows its parent's access and goes with it.
ALTER TABLE headrace.document ADD COLUMN parent text CHECK (parent ~ '^[0-9a-f]{32}$');
CREATE INDEX ON headrace.document (parent) WHERE parent IS NOT NULL;

-- What was put aside (quarantined) and let pass by somebody: the content that this was said of; another content is judged anew.
ALTER TABLE headrace.document ADD COLUMN released_key text;

-- A parent and its children share an event: what failed is told by the document too. A record that is no event has none.
ALTER TABLE headrace.dead_letter DROP CONSTRAINT dead_letter_pkey;
ALTER TABLE headrace.dead_letter ADD CONSTRAINT dead_letter_once
  UNIQUE NULLS NOT DISTINCT (tenant, kafka_partition, kafka_offset, stage, document);
