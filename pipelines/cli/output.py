"""Output of every command: a table for people, one JSON document with `--json`, progress on standard error if that is a terminal."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date, datetime
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from pipelines.cli.exit_codes import INTERRUPTED

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

_WIDTH = 140
"""Columns if the output is no terminal and COLUMNS is not set."""
_SHORT = 24
"""Columns whose cells have at most this many characters are not wrapped."""


def visible(text: str) -> str:
    """The text on one line, its control characters as escapes: a title or a file name may contain what a terminal would obey."""
    return _CONTROL.sub(_escape, text)


def visible_lines(text: str) -> str:
    """As `visible`, but line feeds and tabs stay."""
    return _CONTROL_IN_LINES.sub(_escape, text)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


_BUT_LINES = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff"
_CONTROL_IN_LINES = re.compile(f"[{_BUT_LINES}]")
"""C0 but line feed and tab, DEL, C1, separators of lines, changes of direction, and lone surrogates, which no terminal can be sent."""
_CONTROL = re.compile(f"[\t\n{_BUT_LINES}]")


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

        def render_str(self, text: str, **how: Any) -> Text:
            """Every text that is printed, a table's cells and titles too, passes here."""
            return super().render_str(visible_lines(text), **how)

    terminal = (sys.stderr if stderr else sys.stdout).isatty()
    width = None if terminal else int(os.environ.get("COLUMNS", _WIDTH))
    return Quiet(stderr=stderr, highlight=False, emoji=False, width=width)


def end_quietly() -> NoReturn:
    """Exit without a message, even when the interpreter flushes: the reader has closed the pipe (`headrace … | head`)."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(INTERRUPTED)


def line(text: str, *, err: bool = False) -> None:
    """Write one line to standard output, or to standard error, flushed."""
    try:
        typer.echo(visible(text), err=err)
    except BrokenPipeError:
        end_quietly()


def builtins(record: Any) -> Any:
    """A record as what `--json` prints, a mapping or None; times stay `datetime`, for tables."""
    import msgspec

    return msgspec.to_builtins(record, builtin_types=(datetime,))


def print_json(data: object) -> None:
    line(as_json_text(data))


def as_json_text(data: object) -> str:
    """One line of JSON. Its control characters and lone surrogates are JSON's own escapes, so that what is read is what was given."""
    return _CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(data, default=_plain, ensure_ascii=False))


def print_rows(rows: Sequence[Mapping[str, Any]], *, as_json: bool, title: str = "", empty: str = "nothing") -> None:
    """Rows with equal keys, as a table or as a JSON list."""
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
    """A rich table of rows with equal keys; columns that are empty in every row are omitted."""
    found = list(rows)
    drawn = _drawn(title)
    shown = [name for name in found[0] if any(_cell(row[name]) for row in found)]
    for name in shown:
        short = all(len(_cell(row[name])) <= _SHORT for row in found)
        number = all(isinstance(row[name], int | float | None) for row in found)
        drawn.add_column(_heading(name), overflow="fold", no_wrap=short, justify="right" if number else "left")
    for row in found:
        drawn.add_row(*(_cell(row[name]) for name in shown))
    return drawn


def without(record: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    """A record without these fields, which only `--json` shows."""
    return {name: value for name, value in record.items() if name not in names}


@contextmanager
def progress(*, quiet: bool = False) -> Iterator[Callable[[str], None]]:
    """Yields a function that shows a line of progress on standard error; it does nothing if that is no terminal."""
    if quiet or not err().is_terminal:
        yield lambda _: None
        return
    with err().status("…") as status:
        yield lambda text: status.update(_cell(text))


def _drawn(title: str, *, show_header: bool = True) -> Any:
    from rich import box
    from rich.table import Table

    return Table(title=_cell(title) or None, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, show_header=show_header)


def _heading(name: str) -> str:
    return _cell(name.replace("_", " "))


def _cell(value: Any) -> str:
    """The value as one text without markup: two harmless parts may be markup together."""
    from rich.markup import escape

    return escape(_text(value))


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.3f}"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, Mapping):
        return ", ".join(f"{_text(str(k))} {_text(v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return "\n".join(_text(item) for item in value)
    return visible(str(value))


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date):
        return value.isoformat()
    if isinstance(value, tuple | set):
        return list(value)
    return str(value)
