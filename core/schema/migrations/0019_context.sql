-- What names a document (its title, else its name) counts in the vectors and the terms of its passages (index/swap.py).

-- Empty if there is neither. `context_hash`: of its vector in `embedding`.
ALTER TABLE headrace.indexed ADD COLUMN context text NOT NULL DEFAULT '', ADD COLUMN context_hash text NOT NULL DEFAULT '';
CREATE INDEX ON headrace.indexed (context_hash);
-- The contexts that are in a chunk's vector, sorted; and those of a passage's terms, as one number.
ALTER TABLE headrace.chunk ADD COLUMN contexts text[] NOT NULL DEFAULT '{}';
ALTER TABLE headrace.lexical ADD COLUMN contexts bigint NOT NULL DEFAULT hashtextextended('', 0);
