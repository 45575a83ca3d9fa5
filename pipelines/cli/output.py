"""What every command prints with: a table for people, one JSON document with `--json`, progress on standard error."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from rich.console import Console

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
Tenant = Annotated[str, typer.Option("--tenant", "-t", help="The tenant's name.")]


@cache
def out() -> Console:
    from rich.console import Console

    return Console()


@cache
def err() -> Console:
    from rich.console import Console

    return Console(stderr=True)


def print_json(data: object) -> None:
    typer.echo(json.dumps(data, default=_plain, ensure_ascii=False))


def print_rows(rows: Sequence[Mapping[str, Any]], *, as_json: bool, title: str = "", empty: str = "nothing") -> None:
    """Rows of equal keys, as a table or as a JSON list."""
    if as_json:
        print_json(rows)
    elif rows:
        out().print(table(rows, title))
    else:
        out().print(f"[dim]{empty}[/dim]")


def print_record(record: Mapping[str, Any], *, as_json: bool, title: str = "") -> None:
    """One record, as a table of two columns or as a JSON object."""
    if as_json:
        print_json(record)
    else:
        out().print(table([{"": key, " ": value} for key, value in record.items()], title))


def table(rows: Iterable[Mapping[str, Any]], title: str = "") -> Any:
    """A rich table of rows of equal keys."""
    from rich import box
    from rich.table import Table

    found = list(rows)
    drawn = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in found[0]:
        drawn.add_column(name, overflow="fold")
    for row in found:
        drawn.add_row(*(_cell(value) for value in row.values()))
    return drawn


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """A line on standard error that says what is going on; nothing where nobody is looking."""
    if quiet or not err().is_terminal:
        yield (lambda _: None) if quiet else (lambda text: typer.echo(text, err=True))
        return
    with err().status("…") as status:
        yield status.update


def _cell(value: Any) -> str:
    from rich.markup import escape

    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.3f}"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, Mapping):
        return escape(", ".join(f"{k} {_cell(v)}" for k, v in value.items()))
    if isinstance(value, list | tuple):
        return escape("\n".join(_cell(item) for item in value))
    return escape(str(value))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, tuple | set):
        return list(value)
    return str(value)
