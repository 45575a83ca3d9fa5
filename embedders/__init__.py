"""Text → vectors: the fastest honest way to run a sentence-transformers model over texts, on a CPU, a GPU or behind an endpoint.

Imports nothing of ours, and beside numpy and the standard library only torch, transformers, sentence-transformers and what comes with them,
OpenVINO and httpx, each when it is first needed: the folder runs as it is on a GPU host that has nothing else of Headrace.
Frames, configuration and our errors are the edge's (`embedders.stage`).
"""

from embedders.backend import Kind, Vectors
from embedders.choice import About
from embedders.embedder import Embedder, Wanted, load
from embedders.engine import Embedded, Result
from embedders.http_backend import Endpoint
from embedders.refusal import Refusal

__all__ = ["About", "Embedded", "Embedder", "Endpoint", "Kind", "Refusal", "Result", "Vectors", "Wanted", "load"]
