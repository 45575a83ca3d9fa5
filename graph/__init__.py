"""The knowledge graph: what each document contributes, and its projection to Neo4j.

`extract` is pure: redacted text in, contributions out. `Projection` writes contributions to Neo4j and removes them again; Postgres
stays the source of truth, so that the graph can be dropped and rebuilt. The ledger and the contributions' tables belong elsewhere.

The model, and why the order in which documents arrive does not matter: see `graph.rows`.
"""

from graph.extraction import extract, fingerprint
from graph.extractors import Extractor, extractors_for
from graph.projection import Projection
from graph.rows import Projected, projection_fingerprint

__all__ = ["Extractor", "Projected", "Projection", "extract", "extractors_for", "fingerprint", "projection_fingerprint"]
