"""The metadata of a materialization: a picture, counts, timings, reasons. Never a document's text or id."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

import dagster as dg

from assets.picture import stacked
from assets.runtime import Landed, StageCounts
from core.fates import FATES

if TYPE_CHECKING:
    from core.ledger.stage import Report

_RUN = {
    "done": "done",
    "deleted": "deleted",
    "unchanged": "revalidated",
    "overtaken": "superseded",
    "waiting": "waiting",
    "failed": "failed",
}
_INTERMEDIATE = ("padded_tokens", "milliseconds")
"""Counts of the tally that only serve to compute other figures."""


def of_landing(landed: Landed, now: StageCounts, seconds: float) -> dict[str, Any]:
    """Events by fate, the tenant's documents, and why events were refused."""
    fates = {fate: landed.fates.get(fate, 0) for fate in dict.fromkeys([*FATES, *landed.fates])}
    return {
        "overview": dg.MetadataValue.md(stacked({"this run": fates, "now": now.documents})),
        "reasons": dg.MetadataValue.md(reasons(landed.reasons, now.reasons)),
        "events": landed.events,
        **{f"events/{fate}": count for fate, count in fates.items()},
        **{f"now/{state}": count for state, count in now.documents.items()},
        **_timings("events", landed.events, seconds),
    }


def of_stage(report: Report, now: StageCounts) -> dict[str, Any]:
    """Documents by outcome, the tenant's documents by state, the stage's own counts and settings, timings, and reasons for failures."""
    counts = {name: getattr(report, attribute) for name, attribute in _RUN.items()}
    return {
        "overview": dg.MetadataValue.md(stacked({"this run": counts, "now": now.documents})),
        "reasons": dg.MetadataValue.md(reasons(report.reasons, now.reasons)),
        **{f"documents/{name}": count for name, count in counts.items()},
        **{f"now/{state}": count for state, count in now.documents.items()},
        **{f"{report.stage}/{name}": count for name, count in sorted(report.tally.items()) if name not in _INTERMEDIATE},
        **{f"{report.stage}/{name}": value for name, value in (*_computing(report.tally).items(), *report.about.items())},
        **_timings("documents", report.moved, report.seconds),
        **latency(report.latencies),
        **({"waits for": report.unavailable} if report.unavailable else {}),
    }


def _computing(tally: Mapping[str, int]) -> dict[str, float]:
    """Tokens per second of the model's own time, and the share of padding in what it computed; empty if it computed nothing."""
    tokens, padded, milliseconds = (tally.get(name, 0) for name in ("tokens", *_INTERMEDIATE))
    if not (padded and milliseconds):
        return {}
    return {"tokens_per_second": round(1000 * tokens / milliseconds, 1), "padding_share": round(1 - tokens / padded, 4)}


def latency(seconds: Sequence[float]) -> dict[str, float]:
    """Percentiles, by nearest rank, of the seconds from a document's event to this stage's commit; empty without documents."""
    ordered = sorted(seconds)
    return {f"latency/p{share}_s": round(ordered[ceil(len(ordered) * share / 100) - 1], 3) for share in (50, 95, 99) if ordered}


def reasons(run: Mapping[str, int], now: Mapping[str, int]) -> str:
    """Reason codes with their counts in this run and now, the most frequent first, as Markdown."""
    codes = sorted(set(run) | set(now), key=lambda code: (-now.get(code, 0), -run.get(code, 0), code))
    if not codes:
        return "Nothing is left out."
    rows = [f"| `{code}` | {run.get(code, 0)} | {now.get(code, 0)} |" for code in codes]
    return "\n".join(["| reason | this run | now |", "|---|---:|---:|", *rows])


def _timings(what: str, count: int, seconds: float) -> dict[str, float]:
    return {"time/seconds": round(seconds, 3), f"time/{what}_per_second": round(count / seconds, 2) if seconds else 0.0}
