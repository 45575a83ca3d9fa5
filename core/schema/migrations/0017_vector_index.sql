-- A generation's HNSW index (index/vector_index.py): its state, its parameters, how far a build has come. Null while search is exact.
ALTER TABLE headrace.generation ADD COLUMN vector_index jsonb;
