"""Near-duplicate texts: shingles, their exact similarity, and the MinHash bands that alike texts share.

Everything here is a function of texts alone. `index.near_duplicates` stores bands and what was verified by them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

SHINGLE = 5
"""Characters of a shingle for similarity: of the usual shingles, the one that finds most edits of short passages."""
CONTAINED_SHINGLE = 9
"""Of a shingle for containment: by shorter ones, much of any short text stands in any long one."""
BANDS, ROWS = 25, 5
"""Texts with similarity s share a band with the probability 1 - (1 - s^5)^25: .99 at .7, .55 at .5, .06 at .3."""

Codes = npt.NDArray[np.uint64]

_SEED = 1
# odd constants of 64 bits: the golden ratio, and those of MurmurHash3's finalizer
_GOLDEN, _FIRST, _SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)


def normalised(text: str) -> str:
    """The text as it is compared: case-folded, each run of white space one space."""
    return " ".join(text.casefold().split())


def shingles(text: str, size: int = SHINGLE) -> frozenset[str]:
    """Every run of `size` characters of a normalised text; the text itself if it is shorter."""
    return frozenset([text[at : at + size] for at in range(max(1, len(text) - size + 1))])


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Shared shingles over all, 0 to 1."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)


def similarity(one: str, other: str) -> float:
    """The Jaccard similarity of two texts, 0 to 1; 1 if they are the same but for case and white space."""
    return jaccard(shingles(normalised(one)), shingles(normalised(other)))


def containment(short: str, long: str) -> float:
    """The share of the first text's shingles that the second has, 0 to 1 (Broder, On the resemblance and containment, 1997)."""
    wanted = shingles(normalised(short), CONTAINED_SHINGLE)
    return len(wanted & shingles(normalised(long), CONTAINED_SHINGLE)) / len(wanted)


@cache
def scheme() -> str:
    """Names everything that decides bands: those of two schemes must never be compared."""
    from rensa import RMinHash

    return f"rensa-r{RMinHash.ALGORITHM_VERSION}-seed{_SEED}-char{SHINGLE}-{BANDS}x{ROWS}-1"


def bands(texts: Sequence[str]) -> npt.NDArray[np.int64]:
    """`(n, BANDS)` keys of normalised texts. Two texts share a key if their signatures agree in that band."""
    from rensa import RMinHash

    if not texts:
        return np.empty((0, BANDS), dtype=np.int64)
    hashed = [_hashed(text) for text in texts]
    ends = np.cumsum([0, *map(len, hashed)], dtype=np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(np.concatenate(hashed), ends, num_perm=BANDS * ROWS, seed=_SEED)
    return _keys(np.array(matrix.to_rows(), dtype=np.uint64).reshape(len(texts), BANDS, ROWS))


def _hashed(text: str) -> Codes:
    """The distinct hashes of a text's shingles."""
    padded = text.ljust(SHINGLE, "\0")
    points = np.frombuffer(padded.encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    count = len(points) - SHINGLE + 1
    codes = points[:count].copy()
    for at in range(1, SHINGLE):
        codes *= _GOLDEN
        codes += points[at : count + at]
    codes = _mixed(codes)
    codes.sort()
    return codes[np.concatenate(([True], codes[1:] != codes[:-1]))]


def _keys(signatures: Codes) -> npt.NDArray[np.int64]:
    """`(n, BANDS)` from `(n, BANDS, ROWS)`; equal rows of different bands have different keys."""
    keys = np.arange(1, BANDS + 1, dtype=np.uint64) * _GOLDEN
    keys = np.broadcast_to(keys, signatures.shape[:2])
    for row in range(ROWS):
        keys = _mixed(keys ^ signatures[:, :, row]) + _GOLDEN
    return keys.astype(np.int64)


def _mixed(codes: Codes) -> Codes:
    """MurmurHash3's finalizer: each bit of the result depends on every bit."""
    codes = (codes ^ (codes >> np.uint64(33))) * _FIRST
    codes = (codes ^ (codes >> np.uint64(33))) * _SECOND
    return codes ^ (codes >> np.uint64(33))
