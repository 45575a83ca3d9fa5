"""Checks of freshness, lost events, the index's completeness, the graph against the ledger, and stream slots.

The caller reads the numbers and keys. Keys are compared and counted, and never part of a result.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from datetime import datetime
from typing import TypeVar

from quality.check import Check, CheckError, Measure, conclude, expect

Document = TypeVar("Document", bound=Hashable)

COUNTS = ("live", "indexed", "failed", "waiting")


def freshness(oldest_unprocessed_at: datetime | None, now: datetime, target_s: float, lag_events: int, not_indexed: int = 0) -> Check:
    """Are events processed within `target_s` seconds?

    `lag_events` events have not landed, `not_indexed` documents have landed but are not searchable; the oldest of both waits since
    `oldest_unprocessed_at`. Warns if events or documents wait and their age is unknown: a dead consumer must not look fresh.
    """
    lag_s = max(0.0, (now - oldest_unprocessed_at).total_seconds()) if oldest_unprocessed_at else 0.0
    waiting, breached = lag_events + not_indexed, lag_s > target_s
    state = f"waits {lag_s:.0f} s; {lag_events:,} events not landed, {not_indexed:,} documents not searchable"
    findings = [
        expect("oldest unprocessed event", f"waits at most {target_s:g} s ({state})", int(breached)),
        expect("unprocessed events", "wait since a known time", 0 if oldest_unprocessed_at else waiting, severity="warn"),
    ]
    measured: dict[str, Measure] = {"lag_events": lag_events, "not_indexed": not_indexed, "lag_s": round(lag_s, 3), "target_s": target_s}
    measured["oldest"] = oldest_unprocessed_at.isoformat(timespec="seconds") if oldest_unprocessed_at else "none"
    measured["breached"] = "yes" if breached else "no"
    return conclude("freshness", findings, measured, f"The oldest event {state}; {target_s:g} s are allowed.")


def index_completeness(counts: Mapping[str, int]) -> Check:
    """Is every live document indexed, waiting or failed?

    `counts` are numbers of documents: `live`, and of these `indexed`, `failed` and `waiting`, each counted once; `surplus` (default 0) are
    indexed without being live; `empty` (default 0), of the indexed ones, have no passage, which is as it should be. Raises CheckError if
    a number is missing.
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
        expect("live documents", "are not waiting", waiting, severity="warn"),
    ]
    measured = {"live": live, "indexed": indexed, "failed": failed, "waiting": waiting, "surplus": surplus, "empty": counts.get("empty", 0)}
    return conclude("index_completeness", findings, measured, f"All {live:,} live documents are indexed.")


def graph_consistency(expected: Mapping[Document, Hashable], found: Mapping[Document, Hashable]) -> Check:
    """Does the graph contain what the ledger has as projected? Both map a document to the version of its contribution.

    A document that waits for projection belongs in neither: the graph may lag, but must not be wrong.
    """
    missing, surplus = expected.keys() - found.keys(), found.keys() - expected.keys()
    behind = sum(found[document] != expected[document] for document in expected.keys() & found.keys())
    findings = [
        expect("projected documents", "are in the graph", len(missing)),
        expect("graph documents", "are in the ledger", len(surplus)),
        expect("graph documents", "are at the ledger's version", behind),
    ]
    measured = {"expected": len(expected), "found": len(found), "missing": len(missing), "surplus": len(surplus), "behind": behind}
    return conclude("graph_consistency", findings, measured, f"The graph has all {len(expected):,} documents at the ledger's version.")


def nothing_lost(losses: Mapping[str, int]) -> Check:
    """Did Kafka still have every event when it was to be read? `losses`: open dead letters of lost events by reason code."""
    findings = [expect("events", f"are not lost ({reason})", count) for reason, count in sorted(losses.items())]
    measured: dict[str, Measure] = {"losses": sum(losses.values()), **losses}
    return conclude("nothing_lost", findings or [expect("events", "are not lost", 0)], measured, "No event was lost.")


def stream_slots(configured: int, alive: int, crashes: Mapping[str, int]) -> Check:
    """Are as many stream processes alive as configured, and does none crash repeatedly? `crashes`: recent crashes of each that does."""
    findings = [
        expect("slots", f"are alive, {configured} of them", max(0, configured - alive)),
        expect("slots", "do not crash again and again", len(crashes)),
    ]
    measured: dict[str, Measure] = {"wanted": configured, "alive": alive, "crashing": len(crashes)}
    measured |= {f"crashes of {slot}": count for slot, count in crashes.items()}
    return conclude("stream_slots", findings, measured, f"{alive} slots are alive, {configured} are configured.")
