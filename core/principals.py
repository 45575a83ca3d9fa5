"""Principals: who may read a document, as event sources and readers name them (`user:jo`, `group:finance`)."""

from __future__ import annotations

EVERYONE = "*"
"""The principal that every caller of a tenant has. In a document's access list: everyone in the tenant may read it."""
