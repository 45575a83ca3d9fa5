"""The check of embedding vectors. Knows no model and no text; drift between two sets of vectors does not belong here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quality.check import Check, Finding, conclude, expect

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# halfvec has 11 significant bits, so a stored unit vector's norm is within 2^-11 of 1: a hundredth is far outside of rounding
NORM_TOLERANCE = 1e-2
# texts are distinct, but a model that lower-cases or truncates may map two of them to one vector
REPEATED_SHARE = 0.01


def embedding_health(vectors: NDArray[np.floating[Any]], dimension: int) -> Check:
    """Are the vectors of distinct texts, `(n, dim)`, of `dimension` dimensions, finite and of unit length?

    Also measures the mean cosine over all pairs, for information: it approaches 1 if a model maps all texts to one point. Raises
    ValueError unless `vectors` has two axes.
    """
    import numpy as np

    rows, width = vectors.shape
    values = vectors.astype(np.float32, copy=False)
    finite = np.isfinite(values).all(axis=1)
    norms = np.linalg.norm(values[finite].astype(np.float64), axis=1)
    sound = values[finite][norms > 0]
    findings = [
        expect("embedding", f"has {dimension} dimensions", 0 if width == dimension else rows),
        expect("embedding", "is finite", rows - int(finite.sum())),
        expect("embedding", "is not all zeros", int((norms == 0).sum())),
        expect("embedding", f"has a norm within {NORM_TOLERANCE} of 1", int((np.abs(norms[norms > 0] - 1) > NORM_TOLERANCE).sum())),
        _repeats(sound),
    ]
    measured = {"vectors": rows, "dimension": width, **_mean_cosine(sound)}
    return conclude("embedding_health", findings, measured, f"All {rows:,} vectors are finite and of unit length.")


def _repeats(vectors: NDArray[np.float32]) -> Finding:
    """Repeated vectors. One is tolerated for any number of vectors: two texts may differ only in case."""
    repeated = len(vectors) - len({row.tobytes() for row in vectors})
    tolerated = max(1, int(REPEATED_SHARE * len(vectors)))
    return expect("embedding", f"repeats another in at most {REPEATED_SHARE:.0%} of vectors, or once", repeated, tolerated=tolerated)


def _mean_cosine(vectors: NDArray[np.float32]) -> dict[str, float]:
    """The mean over all pairs of distinct rows, as (|Σ v|² − n) / (n (n − 1)) for unit vectors v, without forming pairs."""
    import numpy as np

    n = len(vectors)
    if n < 2:
        return {}
    exact = vectors.astype(np.float64)
    total = (exact / np.linalg.norm(exact, axis=1, keepdims=True)).sum(axis=0)
    return {"mean_cosine": round(float((total @ total - n) / (n * (n - 1))), 4) + 0.0}
