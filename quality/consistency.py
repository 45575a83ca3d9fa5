"""Is everything where it should be, and soon enough: freshness, the index's completeness, the graph against the ledger.

Numbers and keys come in, read by the caller; keys are compared and counted, and never given out.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from datetime import datetime
from typing import TypeVar

from quality.check import Check, CheckError, Measure, conclude, expect

Document = TypeVar("Document", bound=Hashable)

COUNTS = ("live", "indexed", "failed", "waiting")


def freshness(oldest_unprocessed_at: datetime | None, now: datetime, target_s: float, lag_events: int) -> Check:
    """Are events processed within `target_s` seconds? `lag_events` wait, the oldest since `oldest_unprocessed_at`.

    Events that wait while the age of none is known are a warning: a dead consumer must not look fresh.
    """
    lag_s = max(0.0, (now - oldest_unprocessed_at).total_seconds()) if oldest_unprocessed_at else 0.0
    breached, unknown = lag_s > target_s, lag_events > 0 and oldest_unprocessed_at is None
    findings = [
        expect("oldest unprocessed event", f"waits at most {target_s:g} s (waits {lag_s:.0f} s)", int(breached)),
        expect("unprocessed events", "wait since a known time", lag_events if unknown else 0, severity="warn"),
    ]
    measured: dict[str, Measure] = {"lag_events": lag_events, "lag_s": round(lag_s, 3), "target_s": target_s}
    measured["breached"] = "yes" if breached else "no"
    return conclude("freshness", findings, measured, f"{lag_events:,} events wait, the oldest for {lag_s:.0f} s of {target_s:g} s allowed.")


def completeness(counts: Mapping[str, int]) -> Check:
    """Is every live document in the index, or known to be on its way or to have failed?

    `counts` are numbers of documents: `live`, and of these `indexed`, `failed` and `waiting`, each counted once; `surplus` (0 where
    absent) are in the index without being live. Raises CheckError where a number is missing.
    """
    missing = [name for name in COUNTS if name not in counts]
    if missing:
        raise CheckError(f"counts missing: {', '.join(missing)}")
    live, indexed, failed, waiting = (counts[name] for name in COUNTS)
    surplus = counts.get("surplus", 0)
    findings = [
        expect("live documents", "are indexed, waiting or failed", abs(live - indexed - failed - waiting)),
        expect("indexed documents", "are live", surplus),
        expect("live documents", "have not failed", failed, severity="warn"),
        expect("live documents", "do not wait", waiting, severity="warn"),
    ]
    measured = {"live": live, "indexed": indexed, "failed": failed, "waiting": waiting, "surplus": surplus}
    return conclude("completeness", findings, measured, f"All {live:,} live documents are indexed.")


def graph_consistency(expected: Mapping[Document, Hashable], found: Mapping[Document, Hashable]) -> Check:
    """Does the graph hold what the ledger says was projected? Both map a document to the version of its contribution.

    A document that still waits to be projected belongs in neither: the graph may lag, but must not be wrong.
    """
    missing, surplus = expected.keys() - found.keys(), found.keys() - expected.keys()
    behind = sum(found[document] != expected[document] for document in expected.keys() & found.keys())
    findings = [
        expect("projected documents", "are in the graph", len(missing)),
        expect("graph documents", "are in the ledger", len(surplus)),
        expect("graph documents", "are at the ledger's version", behind),
    ]
    measured = {"expected": len(expected), "found": len(found), "missing": len(missing), "surplus": len(surplus), "behind": behind}
    return conclude("graph_consistency", findings, measured, f"The graph holds all {len(expected):,} documents at the ledger's version.")
