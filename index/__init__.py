"""The vector index in pgvector: cached embeddings, the atomic swap of a document's chunks, generations, deletes.

No model runs here (`embedders`), users' searches are elsewhere (`retrieval`), and the tables' migrations are in `core/schema`.
"""
