"""What a person sees of a materialization: counts, a table of reasons, a picture. Never a document's text or id."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import dagster as dg

from assets.runtime import Landed
from core.stage import Report

_COUNTS = ("done", "deleted", "reaffirmed", "failed", "waiting", "superseded")


def of_landing(landed: Landed, seconds: float) -> dict[str, Any]:
    """Events by fate, and why some were refused."""
    return {
        "events": landed.events,
        **{f"fate/{fate}": count for fate, count in sorted(landed.fates.items())},
        "seconds": round(seconds, 3),
        "events_per_second": round(landed.events / seconds, 1) if seconds else 0.0,
        "fates": dg.MetadataValue.md(bars(landed.fates)),
        "reasons": dg.MetadataValue.md(table(landed.reasons)),
    }


def of_stage(report: Report) -> dict[str, Any]:
    """Documents by outcome, the stage's own counts, timings, and why some were left out."""
    counts = {name: getattr(report, name) for name in _COUNTS}
    return {
        **counts,
        **{f"counted/{name}": count for name, count in sorted(report.tally.items())},
        "seconds": round(report.seconds, 3),
        "documents_per_second": round(report.moved / report.seconds, 2) if report.seconds else 0.0,
        "outcome": dg.MetadataValue.md(bars(counts)),
        "reasons": dg.MetadataValue.md(table(report.reasons)),
        **({"waits_for": report.unavailable} if report.unavailable else {}),
    }


def table(reasons: Mapping[str, int]) -> str:
    """Reason codes by how often, as Markdown."""
    if not reasons:
        return "Nothing was left out."
    rows = [f"| `{reason}` | {count} |" for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))]
    return "\n".join(["| reason | documents |", "|---|---:|", *rows])


def bars(counts: Mapping[str, int], width: int = 24) -> str:
    """Counts as bars in a Markdown table: they show in the UI without a plotting library or a browser's leave to load one."""
    shown = {name: count for name, count in counts.items() if count}
    if not shown:
        return "Nothing to do: everything was fresh."
    longest = max(shown.values())
    rows = [f"| {name} | {count} | {'█' * max(1, round(count / longest * width))} |" for name, count in shown.items()]
    return "\n".join(["| | | |", "|---|---:|:---|", *rows])
