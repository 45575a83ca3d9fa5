"""`replay`: dead letters, and a topic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import typer

from pipelines.cli.control import IN_PART, opened
from pipelines.cli.output import out, print_rows, progress

if TYPE_CHECKING:
    from pipelines.app import Headrace
    from pipelines.operations.replay import Selection

_NOT_DONE = ("refused", "gone")
_CHANGED = ("landed", "stale")


def dead_letters(
    tenant: str | None,
    *,
    positions: tuple[str, ...],
    reason: str | None,
    document: str | None,
    since: datetime | None,
    until: datetime | None,
    as_json: bool,
) -> None:
    from pipelines.operations.replay import Selection

    if tenant is None and (positions or document is not None):
        raise typer.BadParameter("a POSITION and a document are one tenant's: name it with --tenant")
    selection = Selection(positions, reason, document, since, until)
    with opened() as headrace, progress(quiet=as_json) as tell:
        tell("replaying dead letters")
        names = [tenant] if tenant else [found.tenant for found in headrace.tenants()]
        rows = list(_replayed(headrace, names, selection))
    print_rows(rows, as_json=as_json, title="Replayed", empty="no such open dead letters")
    outcomes = Counter(row["outcome"] for row in rows)
    _say_what_is_next(outcomes, as_json=as_json)
    if any(outcomes[outcome] for outcome in _NOT_DONE):
        raise typer.Exit(IN_PART)


def _replayed(headrace: Headrace, tenants: Sequence[str], selection: Selection) -> Iterator[dict[str, Any]]:
    from pipelines.governance import audit
    from pipelines.operations import replay

    for tenant in tenants:
        headrace.session(tenant)
        with audit.recorded(headrace, "replay", tenant, of="dead-letters") as act:
            rows = replay.dead_letters(headrace, tenant, selection)
            act.details.update(Counter(row["outcome"] for row in rows))
        yield from ({"tenant": tenant} | row for row in rows)


def topic(tenant: str, *, from_offset: int | None, since: datetime | None, partition: int | None, as_json: bool) -> None:
    from pipelines.governance import audit
    from pipelines.operations import replay

    if (from_offset is None) == (since is None):
        raise typer.BadParameter("give one of --from-offset and --since")
    with opened() as headrace, progress(quiet=as_json) as tell:
        headrace.session(tenant)
        with audit.recorded(headrace, "replay", tenant, of="topic") as act:
            rows = replay.topic(
                headrace,
                tenant,
                from_offset=from_offset or 0,
                since=since,
                partition=partition,
                progress=lambda events: tell(f"replaying, {events} events"),
            )
            act.details.update(events=sum(row["events"] for row in rows))
    print_rows(rows, as_json=as_json, title="Replayed")
    fates: Counter[str] = Counter()
    for row in rows:
        fates.update(row["fates"])
    _say_what_is_next(fates, as_json=as_json)
    _end(sum(row["removed"] for row in rows), as_json=as_json)


def _end(removed: int, *, as_json: bool) -> None:
    if removed:
        if not as_json:
            out().print(f"Offsets removed by retention, not replayed: {removed}.")
        raise typer.Exit(IN_PART)


def _say_what_is_next(counts: Mapping[str, int], *, as_json: bool) -> None:
    if not as_json and any(counts.get(name) for name in _CHANGED):
        out().print("`headrace ingest`, or a stream that runs, takes what is stale now.")
