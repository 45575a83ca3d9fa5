"""Reference vectors of a model: a few fixed texts, embedded by sentence-transformers in float32 on the CPU, cached by the files' hash.

Every backend is compared with them at start, so that a faulty driver, a conversion that lost a mask or a precision too coarse for this
model is detected before it writes a vector.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING

import numpy as np

from embedders.backend import Vectors

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from embedders.recipe import Recipe

_SENTENCE = (
    "the headrace leads water from the weir to the mill wheel and every sluice along it has a keeper who writes down what passed when it "
    "passed and how much of it was lost between one gate and the next so that nobody downstream has to guess in 1843 or in 2026"
)
_ODD = ("", "ok", "if (gate.level > 0.4) { gate.open(); }  // § 7", "Überprüfung: 12,5 % 漢字 שלום 👩‍👩‍👧", "a\x00b")
_LENGTHS = (5, 11, 23, 47, 83, 120, 160, 200)

QUICK = 8
"""How many of the probes every start computes. Selecting a backend for the first time computes all of them."""


def probes(recipe: Recipe) -> list[str]:
    """About twenty texts of different lengths within the model's limit, short ones first: padding them together is part of the check."""
    words = _SENTENCE.split()
    spun = [" ".join(words[(at * 7 + n) % len(words)] for n in range(length)) for at, length in enumerate(_LENGTHS * 2)]
    texts = [*_ODD, *sorted(spun, key=len)]
    counts = recipe.count(texts, "passage")
    return [text for text, count in zip(texts, counts, strict=True) if count <= recipe.max_tokens]


def digest(texts: Sequence[str]) -> str:
    """16 hex characters that identify the probes."""
    return blake2b("\0".join(texts).encode(), digest_size=8).hexdigest()


def load(file: Path, count: int) -> Vectors | None:
    """Return the cached vectors, or None if they are missing or damaged."""
    try:
        vectors = np.load(file, allow_pickle=False)
    except (OSError, ValueError):
        return None
    return vectors if vectors.dtype == np.float32 and vectors.ndim == 2 and len(vectors) == count else None


def compute(file: Path, model: SentenceTransformer, texts: list[str], prompt: str) -> Vectors:
    """Embed with sentence-transformers' own `encode`, one text at a time so that nothing is padded, and cache the vectors in `file`."""
    vectors = model.encode(texts, prompt=prompt, batch_size=1, normalize_embeddings=True, show_progress_bar=False)
    found = np.asarray(vectors, dtype=np.float32)
    with NamedTemporaryFile(dir=file.parent, delete=False) as fresh:
        np.save(fresh, found)
    os.replace(fresh.name, file)  # noqa: PTH105 - another process may have written the same vectors concurrently
    return found


def agreement(vectors: Vectors, expected: Vectors) -> float:
    """The minimum cosine of a vector with the expected one, both of unit length. A vector that is not finite counts as opposite."""
    cosines = (vectors * expected).sum(axis=1)
    return float(np.nan_to_num(cosines, nan=-1.0).min(initial=1.0))
