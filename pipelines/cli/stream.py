"""`headrace stream`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pipelines.cli.installation import opened
from pipelines.cli.options import AsJson
from pipelines.cli.output import line, print_json, print_record


def stream(
    seconds: Annotated[float | None, typer.Option(min=0, help="Stop after this time. Default: run until SIGTERM.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run the stages continuously for every tenant. SIGTERM and Ctrl-C finish the current batch."""
    from pipelines.stream import engine
    from pipelines.stream.observer import Observer

    class Terminal(Observer):
        def noted(self, event: dict[str, Any]) -> None:
            if as_json:
                print_json(event)
            else:
                line("  ".join(f"{key} {value}" for key, value in event.items()))

    with opened() as headrace:
        totals = engine.run(headrace, seconds, Terminal())
    if as_json:
        print_json({"totals": totals})
    else:
        print_record(totals, as_json=False, title="Streamed")
