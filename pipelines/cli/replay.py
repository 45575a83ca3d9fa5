"""`headrace replay`: dead letters, or a topic."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.attempts import attempts, end, row_in_trouble
from pipelines.cli.exit_codes import IN_PART
from pipelines.cli.installation import opened
from pipelines.cli.options import AsJson, OneTenant, Tenant, point_in_time
from pipelines.cli.output import out, print_rows, progress, without

if TYPE_CHECKING:
    from pipelines.app import Headrace
    from pipelines.each_tenant import Attempt
    from pipelines.operations.replay import Selection

app = typer.Typer(name="replay", help="Process again: dead letters, or a topic. Safe to repeat.", no_args_is_help=True)

_NOT_DONE = ("refused", "gone")
_CHANGED = ("landed", "stale")


@app.command("dead-letters")
def dead_letters(
    positions: Annotated[list[str] | None, typer.Argument(help="PARTITION:OFFSET … Default: every open one.")] = None,
    tenant: OneTenant = None,
    reason: Annotated[str | None, typer.Option(help="Only those with this reason code.")] = None,
    document: Annotated[str | None, typer.Option(metavar="ID", help="Only those of this document, by its id or key.")] = None,
    since: Annotated[
        datetime | None, typer.Option(parser=point_in_time, metavar="WHEN", help="Only those that last failed at this time or later.")
    ] = None,
    until: Annotated[
        datetime | None, typer.Option(parser=point_in_time, metavar="WHEN", help="Only those that last failed before this time.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Retry open dead letters, from where they failed."""
    from pipelines.operations.replay import Selection

    if tenant is None and (positions or document is not None):
        raise typer.BadParameter("a POSITION and a document belong to one tenant: name it with --tenant")
    selection = Selection(tuple(positions or ()), reason, document, since, until)
    with opened() as headrace, progress(quiet=as_json) as report:
        report("replaying dead letters")
        made = list(attempts(headrace, tenant, lambda name: _replayed(headrace, name, selection)))
    rows = [row for attempt in made for row in _rows(attempt)]
    shown = rows if as_json else [without(row, ("error",)) for row in rows if not row["error"]]
    print_rows(shown, as_json=as_json, title="Replayed", empty="no such open dead letters")
    outcomes = Counter(row["outcome"] for row in rows)
    _print_next_step(outcomes, as_json=as_json)
    end(made, as_json=as_json)
    if any(outcomes[outcome] for outcome in _NOT_DONE):
        raise typer.Exit(IN_PART)


def _replayed(headrace: Headrace, tenant: str, selection: Selection) -> Sequence[dict[str, Any]]:
    from pipelines.governance import audit
    from pipelines.operations import replay

    headrace.session(tenant)
    with audit.recorded(headrace, "replay", tenant, of="dead-letters") as act:
        rows = replay.dead_letters(headrace, tenant, selection)
        act.details.update(Counter(row["outcome"] for row in rows))
    return rows


def _rows(attempt: Attempt[Sequence[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """A row for each dead letter, or one with the error."""
    if attempt.result is None:
        yield row_in_trouble(attempt, ("position", "stage", "reason", "outcome"))
        return
    yield from ({"tenant": attempt.tenant, **row, "error": None} for row in attempt.result)


@app.command("topic")
def topic(
    tenant: Tenant,
    from_offset: Annotated[int | None, typer.Option(min=0, help="The first offset, in each partition.")] = None,
    since: Annotated[
        datetime | None, typer.Option(parser=point_in_time, metavar="WHEN", help="Events published at this time or later.")
    ] = None,
    partition: Annotated[int | None, typer.Option(min=0, help="One partition. Default: every partition.")] = None,
    as_json: AsJson = False,
) -> None:
    """Land again what has landed and Kafka still has. Unchanged documents stay as they are."""
    from pipelines.governance import audit
    from pipelines.operations import replay

    if (from_offset is None) == (since is None):
        raise typer.BadParameter("give one of --from-offset and --since")
    with opened() as headrace, progress(quiet=as_json) as report:
        headrace.session(tenant)
        with audit.recorded(headrace, "replay", tenant, of="topic") as act:
            rows = replay.topic(
                headrace,
                tenant,
                from_offset=from_offset or 0,
                since=since,
                partition=partition,
                progress=lambda events: report(f"replaying, {events} events"),
            )
            act.details.update(events=sum(row["events"] for row in rows))
    print_rows(rows, as_json=as_json, title="Replayed")
    fates: Counter[str] = Counter()
    for row in rows:
        fates.update(row["fates"])
    _print_next_step(fates, as_json=as_json)
    _exit_if_removed(sum(row["removed"] for row in rows), as_json=as_json)


def _exit_if_removed(removed: int, *, as_json: bool) -> None:
    if removed:
        if not as_json:
            out().print(f"Offsets removed by retention, not replayed: {removed}.")
        raise typer.Exit(IN_PART)


def _print_next_step(counts: Mapping[str, int], *, as_json: bool) -> None:
    if not as_json and any(counts.get(name) for name in _CHANGED):
        out().print("`headrace ingest`, or a running stream, processes what is stale now.")
