"""How well the documents could be read that passed: the parsers' signals, added up. Signals hold no text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from quality.check import Check, Measure, conclude, expect

if TYPE_CHECKING:
    from core.policy import Reading
    from core.records import Signals


def parse_quality(measured: Sequence[Signals], languages: Sequence[str], reading: Reading) -> Check:
    """Did parsing find text? One row per parsed document, and its language (ISO 639-1, empty where it is in doubt).

    Warns and never more: what is beyond the tenant's thresholds was put aside by the parse stage, and is here only because somebody
    released it, or the thresholds were others then.
    """
    kept = list(measured)
    beyond = Counter(name for one in kept for name in reading.beyond(one))
    bounds = {
        "replaced": f"most {reading.most_replaced:g}",
        "wordlike": f"least {reading.least_wordlike:g}",
        "empty_pages": f"most {reading.most_empty_pages:g}",
        "ocr_confidence": f"least {reading.least_ocr_confidence:g}",
    }
    passed = "a document that was released, or passed under another threshold"
    findings = [
        expect("characters", "is at least 1 (a document without text)", sum(one.characters < 1 for one in kept), severity="warn"),
        *(expect(name, f"is at {bound} ({passed})", beyond[name], severity="warn") for name, bound in bounds.items()),
    ]
    return conclude("parse_quality", findings, _measured(kept, languages), f"All {len(kept):,} parsed documents have legible text.")


def _measured(kept: Sequence[Signals], languages: Sequence[str]) -> dict[str, Measure]:
    totals = {name: sum(getattr(one, name) for one in kept) for name in ("characters", "replaced", "pages", "empty_pages", "empty_tables")}
    least = {f"{name}_least": min(known) for name in ("wordlike", "ocr_confidence") if (known := _known(kept, name))}
    return {"documents": len(kept), **totals, **least, **counted(kept), **_by("language", Counter(filter(None, languages)))}


def _known(kept: Sequence[Signals], name: str) -> list[float]:
    return [value for one in kept if (value := getattr(one, name)) is not None]


def counted(kept: Sequence[Signals]) -> dict[str, int]:
    """Pages by the way they were read, and what was left out by kind."""
    grades, dropped = Counter[str](), Counter[str]()
    for one in kept:
        grades.update(one.grades)
        dropped.update(one.dropped)
    return {**_by("pages", grades), **_by("dropped", dropped)}


def _by(what: str, counts: Counter[str]) -> dict[str, int]:
    return {f"{what}/{kind}": count for kind, count in sorted(counts.items())}
