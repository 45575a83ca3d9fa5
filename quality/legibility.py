"""The check of parse quality: aggregates the parsers' signals, which contain no text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from quality.check import Check, Measure, conclude, expect

if TYPE_CHECKING:
    from core.policy import Reading
    from core.records import Signals


def parse_quality(signals: Sequence[Signals], languages: Sequence[str], reading: Reading) -> Check:
    """Is the text of parsed documents legible? One item for each parsed document, with its language (ISO 639-1, empty if uncertain).

    Only warns: the parse stage quarantines documents beyond the tenant's thresholds, so one that is counted here was released, or was
    parsed under other thresholds. An empty document is beyond none.
    """
    beyond = Counter(name for one in signals for name in reading.beyond(one))
    bounds = {
        "replaced": f"most {reading.most_replaced:g}",
        "wordlike": f"least {reading.least_wordlike:g}",
        "empty_pages": f"most {reading.most_empty_pages:g}",
        "ocr_confidence": f"least {reading.least_ocr_confidence:g}",
    }
    reason = "a document that was released, or passed under another threshold"
    findings = [expect(name, f"is at {bound} ({reason})", beyond[name], severity="warn") for name, bound in bounds.items()]
    return conclude(
        "parse_quality", findings, _measured(signals, languages), f"The text of all {len(signals):,} parsed documents is legible."
    )


def _measured(signals: Sequence[Signals], languages: Sequence[str]) -> dict[str, Measure]:
    summed = ("characters", "replaced", "pages", "empty_pages", "empty_tables")
    totals = {name: sum(getattr(one, name) for one in signals) for name in summed}
    least = {f"{name}_least": min(values) for name in ("wordlike", "ocr_confidence") if (values := _values(signals, name))}
    empty = sum(not one.characters for one in signals)
    return {
        "documents": len(signals),
        "empty": empty,
        **totals,
        **least,
        **counted(signals),
        **_by("language", Counter(filter(None, languages))),
    }


def _values(signals: Sequence[Signals], name: str) -> list[float]:
    return [value for one in signals if (value := getattr(one, name)) is not None]


def counted(signals: Sequence[Signals]) -> dict[str, int]:
    """Pages by reading grade, and omitted parts by kind."""
    grades, dropped = Counter[str](), Counter[str]()
    for one in signals:
        grades.update(one.grades)
        dropped.update(one.dropped)
    return {**_by("pages", grades), **_by("dropped", dropped)}


def _by(what: str, counts: Counter[str]) -> dict[str, int]:
    return {f"{what}/{kind}": count for kind, count in sorted(counts.items())}
