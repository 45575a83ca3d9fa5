"""Confined worker processes that parse documents: the pool, the protocol and the confinement. Knows no document format."""
