"""Text → vectors: the fastest correct way to run a sentence-transformers model, on a CPU, on a GPU or behind an HTTP endpoint.

Modules here import nothing of Headrace, so that the folder runs on a GPU host that has nothing else of it. Beside numpy and the standard
library they import torch, transformers, sentence-transformers and their dependencies, OpenVINO and httpx, each when first needed.

`embedders.stage` is the exception: it alone knows `core` (configuration, frames, errors), and the pipeline imports it.
"""

from embedders.backend import Kind, Vectors
from embedders.choice import Selection
from embedders.embedder import Embedder, EmbedderOptions, load
from embedders.engine import Embedded, Result
from embedders.http_backend import Endpoint
from embedders.refusal import Refusal

__all__ = ["Embedded", "Embedder", "EmbedderOptions", "Endpoint", "Kind", "Refusal", "Result", "Selection", "Vectors", "load"]
