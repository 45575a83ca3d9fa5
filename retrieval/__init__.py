"""Search under a tenant's reader role: only passages that the caller's principals may read, with citations.

The pipeline, one module per step: `request` → `access` and `filters` → `vector`, `lexical`, `hybrid` (with `fusion`) → `pages`
(`citations`, `parents`, `collapse`, `cursor`) → `answer`. `search` runs it.
"""
