"""Search under a tenant's reader role: only passages that the caller's principals may read, with citations.

The pipeline, one module per step: `request` → `candidates` (`vector`, `lexical`) → `fusion` → `rerank` → `collapse` → `citations`. `search`
runs it.
"""
