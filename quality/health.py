"""Are these vectors what a working model gives? Knows no model and no text; drift between two sets of vectors is not here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quality.check import Check, Finding, conclude, expect

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# halfvec keeps 11 significant bits: a unit vector's norm comes back within 2^-11, so a hundredth is far outside rounding
NORM_TOLERANCE = 1e-2
# texts are distinct, but a model that lower-cases or truncates may see two of them as one
REPEATED_SHARE = 0.01


def embedding_health(vectors: NDArray[np.floating[Any]], dimension: int) -> Check:
    """Check the vectors of distinct texts, `(n, dim)`, of which each should be `(dimension,)` and of unit length.

    Measures the mean cosine over all pairs, as information: it nears 1 where a model maps everything to one place.
    Raises ValueError where `vectors` has not two axes.
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
    """One repeat is tolerated however few the vectors: two texts that differ in case alone are no broken model."""
    repeated = len(vectors) - len({row.tobytes() for row in vectors})
    tolerated = max(1, int(REPEATED_SHARE * len(vectors)))
    return expect("embedding", f"repeats another in at most {REPEATED_SHARE:.0%} of vectors, or once", repeated, tolerated=tolerated)


def _mean_cosine(vectors: NDArray[np.float32]) -> dict[str, float]:
    """Over all pairs of distinct rows: (|Σ v|² − n) / (n (n − 1)) for unit vectors v, so no pair is ever formed."""
    import numpy as np

    n = len(vectors)
    if n < 2:
        return {}
    exact = vectors.astype(np.float64)
    total = (exact / np.linalg.norm(exact, axis=1, keepdims=True)).sum(axis=0)
    return {"mean_cosine": round(float((total @ total - n) / (n * (n - 1))), 4) + 0.0}
