-- The chunks whose text together answers in a small chunk's place, by ordinal; null where a chunk answers for itself.
ALTER TABLE headrace.chunk_source ADD COLUMN parent_first integer, ADD COLUMN parent_last integer;
