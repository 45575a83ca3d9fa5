"""The vector index in pgvector: schema and migrations, the atomic swap, generations, exact duplicates, deletes.

No model runs here and nothing is read for users here: that is `embedders` and `retrieval`.
"""
