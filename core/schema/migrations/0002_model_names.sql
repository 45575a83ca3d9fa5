-- A generation remembers what its model was called, so that other files under the same name are seen for what they are: another model.
-- Null in generations that are older than this; they get their name when their model next embeds.
ALTER TABLE headrace.generation ADD COLUMN model_name text, ADD COLUMN model_revision text;
