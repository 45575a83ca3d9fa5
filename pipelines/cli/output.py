"""What every command prints with: a table for people, one JSON document with `--json`, progress on standard error where a person looks."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, cast

import typer

if TYPE_CHECKING:
    from rich.console import Console

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Tenant = Annotated[str, typer.Option("--tenant", "-t", help="The tenant's name.")]

INTERRUPTED = 130
_WIDTH = 140
"""Columns where no terminal says otherwise."""
_SHORT = 24
"""A cell of at most so many characters is kept on one line."""


@cache
def out() -> Console:
    return _console(stderr=False)


@cache
def err() -> Console:
    return _console(stderr=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    class Quiet(Console):
        def on_broken_pipe(self) -> NoReturn:
            end_quietly()

    watched = (sys.stderr if stderr else sys.stdout).isatty()
    return Quiet(stderr=stderr, highlight=False, width=None if watched else int(os.environ.get("COLUMNS", _WIDTH)))


def end_quietly() -> NoReturn:
    """Nobody reads any more (`headrace … | head`): end without a word, at the interpreter's own flush too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(INTERRUPTED)


def line(text: str) -> None:
    """One line on standard output, at once."""
    try:
        typer.echo(text)
    except BrokenPipeError:
        end_quietly()


def builtins(record: Any) -> dict[str, Any]:
    """A record as the mapping that `--json` prints; times stay `datetime`, for tables."""
    import msgspec

    return cast("dict[str, Any]", msgspec.to_builtins(record, builtin_types=(datetime,)))


def print_json(data: object) -> None:
    line(json.dumps(data, default=_plain, ensure_ascii=False))


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
        drawn = _drawn(title, show_header=False)
        for name, value in record.items():
            drawn.add_row(_heading(name), _cell(value))
        out().print(drawn)


def table(rows: Iterable[Mapping[str, Any]], title: str = "") -> Any:
    """A rich table of rows of equal keys; a column that says nothing in any row is left out."""
    found = list(rows)
    drawn = _drawn(title)
    told = [name for name in found[0] if any(_cell(row[name]) for row in found)]
    for name in told:
        short = all(len(_cell(row[name])) <= _SHORT for row in found)
        number = all(isinstance(row[name], int | float | None) for row in found)
        drawn.add_column(_heading(name), overflow="fold", no_wrap=short, justify="right" if number else "left")
    for row in found:
        drawn.add_row(*(_cell(row[name]) for name in told))
    return drawn


def without(record: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """A record without what people need not see; `--json` has it."""
    return {name: value for name, value in record.items() if name not in names}


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """A line on standard error that says what is going on; nothing where nobody is looking."""
    if quiet or not err().is_terminal:
        yield lambda _: None
        return
    with err().status("…") as status:
        yield lambda text: status.update(_cell(text))


def _drawn(title: str, *, show_header: bool = True) -> Any:
    from rich import box
    from rich.table import Table

    return Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_header=show_header)


def _heading(name: str) -> str:
    return name.replace("_", " ")


def _cell(value: Any) -> str:
    from rich.markup import escape

    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.3f}"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, Mapping):
        return ", ".join(f"{escape(str(k))} {_cell(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return "\n".join(_cell(item) for item in value)
    return escape(str(value))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, tuple | set):
        return list(value)
    return str(value)
