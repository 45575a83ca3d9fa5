"""Options and arguments that several commands share, confirmation, and values that people type: times and secrets."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.output import visible

if TYPE_CHECKING:
    from core.errors import HeadraceError

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Tenant = Annotated[str, typer.Option("--tenant", "-t", help="The tenant's name.")]
OneTenant = Annotated[str | None, typer.Option("--tenant", "-t", help="One tenant. Default: every tenant.")]
TenantName = Annotated[str, typer.Argument(metavar="NAME", help="The tenant's name.")]
DocumentId = Annotated[str, typer.Argument(metavar="ID", help="The document's id or key.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")]


def confirm(question: str, yes: bool) -> None:
    """Ask, unless `yes`. Raises typer.Abort if the answer is no."""
    if not yes:
        # on standard error: with --json, standard output has the document alone
        typer.confirm(visible(question), abort=True, err=True)


def point_in_time(text: str) -> datetime:
    """An ISO 8601 date or time; local time, as the tables show it, if it names no zone. Raises BadParameter."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"not a date or time of ISO 8601, such as 2026-03-01 or 2026-03-01T09:30Z: {text!r}") from None


def secret_line(prompt: str) -> str:
    """One line of standard input; on a terminal it is asked for, without echo. Raises BadParameter."""
    try:
        line = str(typer.prompt(prompt, hide_input=True, err=True)) if sys.stdin.isatty() else sys.stdin.readline().rstrip("\r\n")
        line.encode()
    except UnicodeError:
        raise typer.BadParameter("standard input is not UTF-8") from None
    return line


def principals(option: str, values: Sequence[str]) -> list[str]:
    """The principals of an option that may be repeated. Each value is one, or several with commas, as in CSV, or a JSON list; `''` is none.

    Raises HeadraceError `bad-principals` for what may have been meant as another list: a directory's name (`CN=HR,OU=Groups`), whose
    parts are not principals, an escaped comma, a quote inside a principal.
    """
    from core.principals import principals as checked

    return checked([principal for value in values for principal in _principals(option, value.strip())])


def callers_principals(option: str, values: Sequence[str]) -> list[str]:
    """As `principals`, but a value that is one distinguished name is one principal: it can only be the caller's own."""
    return principals(option, [f'"{value.strip()}"' if _DIRECTORY_NAME.fullmatch(value) else value for value in values])


def _principals(option: str, text: str) -> list[Any]:
    if text.startswith("["):
        return _json_list(option, text)
    found, position, separated = [], 0, False
    while field := _FIELD.match(text, position):
        quoted, plain = field["quoted"], field["plain"]
        separated = separated or field["end"] == ","
        if quoted is not None:
            found.append(quoted.replace('""', '"'))
        elif plain.strip():
            if ("=" in plain and (separated or found)) or plain.rstrip().endswith("\\"):
                raise _ambiguous(option, "a comma-separated list of principals has a part like ATTRIBUTE=value, or an escaped comma")
            found.append(plain.strip())
        if field["end"] != ",":
            return found
        position = field.end()
    raise _ambiguous(option, "a list of principals has a quote that does not enclose a whole principal")


def _json_list(option: str, text: str) -> list[Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, list):
        raise _ambiguous(option, "principals that begin with [ must be a JSON list")
    return found


def _ambiguous(option: str, detail: str) -> HeadraceError:
    from core.errors import HeadraceError

    quoted, as_json = f"""{option} '"CN=HR,OU=Groups,DC=corp"'""", f"""{option} '["CN=HR,OU=Groups,DC=corp", "group:a"]'"""
    remedy = f"Repeat the option and quote a principal that has commas, as in CSV: {quoted} {option} group:a. Or give JSON: {as_json}."
    return HeadraceError(detail, reason="bad-principals", remedy=remedy)


_PART = r"\s*(?:[A-Za-z][A-Za-z0-9-]*|[0-9]+(?:\.[0-9]+)+)\s*=(?:\\.|[^,\\\"])*"
_DIRECTORY_NAME = re.compile(rf"{_PART}(?:,{_PART})+")
"""A distinguished name of two parts or more, with escapes and without quotes (RFC 4514)."""

_FIELD = re.compile(r'(?:\s*"(?P<quoted>(?:[^"]|"")*)"\s*|(?P<plain>[^",]*))(?P<end>,|\Z)')
"""One field of a line of CSV, and the comma after it."""
