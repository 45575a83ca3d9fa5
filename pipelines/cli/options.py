"""Options and arguments that several commands share, confirmation, and values that people type: times and secrets."""

from __future__ import annotations

import sys
from datetime import datetime
from typing import Annotated

import typer

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
        typer.confirm(question, abort=True, err=True)


def point_in_time(text: str) -> datetime:
    """An ISO 8601 date or time; local time, as the tables show it, if it names no zone. Raises BadParameter."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"not a date or time of ISO 8601, such as 2026-03-01 or 2026-03-01T09:30Z: {text!r}") from None


def secret_line(prompt: str) -> str:
    """One line of standard input; on a terminal it is asked for, without echo."""
    if sys.stdin.isatty():
        return str(typer.prompt(prompt, hide_input=True, err=True))
    return sys.stdin.readline().rstrip("\r\n")


def comma_separated(text: str) -> list[str]:
    """The values of a list that is typed with commas; `''` is an empty list."""
    return [value.strip() for value in text.split(",") if value.strip()]
