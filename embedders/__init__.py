"""Text → vectors.

`engine`, `models` and `hardware` run the model and import nothing of ours, so that they can run on a machine that has only torch and
sentence-transformers. `stage` is the edge: configuration in, frames in and out, and `engine`'s refusals as `core.errors`.
"""

from embedders.stage import Embedder, embed, load

__all__ = ["Embedder", "embed", "load"]
