"""Blocks → chunks: structure-aware, bounded by the embedding model's tokens, stable under edits elsewhere in the document.

Nothing here knows a model: the caller passes a token counter. Nothing here performs I/O.
"""

from chunkers.chunker import Chunker
from chunkers.stage import chunk

__all__ = ["Chunker", "chunk"]
