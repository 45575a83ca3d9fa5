"""Language identification by py3langid (naive Bayes over byte n-grams: Lui and Baldwin 2012). The model is loaded on first use."""

from __future__ import annotations

import io
import lzma
from array import array
from functools import cache
from typing import Any

_CODES = {2: "H", 4: "I"}


def identify(text: str) -> tuple[str, float]:
    """ISO 639-1 code and confidence, 0–1. Deterministic, however short the text."""
    language, confidence = _identifier().classify(text)
    return str(language), float(confidence)


@cache
def _identifier() -> Any:
    """The model, limited to languages with a two-letter code."""
    from py3langid.langid import LanguageIdentifier  # type: ignore[import-untyped]

    weights, priors, languages, moves, rows, features = _model()
    identifier = LanguageIdentifier(weights, priors, languages, moves, features, norm_probs=True, tk_row=rows)
    identifier.set_languages([label for label in identifier.labels if len(label) == 2])
    return identifier


def _model() -> tuple[Any, ...]:
    """As `py3langid.modelio.load_model`, which unpacks into a temporary file: a worker process must not write files."""
    import numpy as np
    from py3langid.langid import MODEL_DIR, MODEL_FILE

    with lzma.open(MODEL_DIR / MODEL_FILE) as file, np.load(io.BytesIO(file.read()), allow_pickle=False) as parts:
        moves, rows = (array(_CODES[parts[name].itemsize], parts[name].tobytes()) for name in ("nextmove", "nextmove_row"))
        return parts["ptc"], parts["pc"], parts["classes"].tolist(), moves, rows, parts["out_feat"].tolist()
