"""Commands over every tenant: one attempt for each, what became of those in trouble, and the exit code that says so."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from pipelines.cli.exit_codes import BUG, IN_PART, UNAVAILABLE, exit_code
from pipelines.cli.output import builtins, visible

if TYPE_CHECKING:
    from core.errors import HeadraceError
    from pipelines.each_tenant import Attempt
    from pipelines.resources import Resources

T = TypeVar("T")

NO_TENANTS = "no tenants yet: `headrace tenant add NAME`"


def attempts(resources: Resources, tenant: str | None, do: Callable[[str], T]) -> Iterator[Attempt[T]]:
    """Run `do` for the one tenant, raising its error, or for every tenant, each by itself."""
    from pipelines.each_tenant import Attempt, each_tenant

    if tenant is not None:
        yield Attempt(tenant, do(tenant))
    else:
        yield from each_tenant(resources, lambda found: do(found.tenant))


def end(made: Sequence[Attempt[Any]], *, as_json: bool) -> None:
    """Report the tenants in trouble on standard error, unless the JSON document has them, and exit as `code` says if there are any."""
    from pipelines.each_tenant import by_error

    raise_bug_if_debugging(made)
    if not as_json:
        for error, tenants in by_error(made):
            sys.stderr.write(error_line(error, f"{tenants}: ") + "\n")
    if found := code(made):
        raise typer.Exit(found)


def row_in_trouble(attempt: Attempt[Any], columns: Iterable[str] = ()) -> dict[str, Any]:
    """The row of a tenant whose attempt failed: its name and its error. The other tenants' `columns` are None in it."""
    return {**dict.fromkeys(("tenant", *columns)), "tenant": attempt.tenant, "error": builtins(attempt.trouble)}


def code(made: Sequence[Attempt[Any]]) -> int:
    """0 without errors; 70 if one was a bug; 4 if a server is unavailable and no tenant succeeded; else 7."""
    errors = [attempt.error for attempt in made if attempt.error]
    codes = {exit_code(error) for error in errors}
    if BUG in codes:
        return BUG
    if codes == {UNAVAILABLE} and len(errors) == len(made):
        return UNAVAILABLE
    return IN_PART if errors else 0


def error_line(error: HeadraceError, before: str = "") -> str:
    """An error as one line: what happened, its reason code, what to do."""
    return visible(f"headrace: {before}{error.detail.rstrip('.')} ({error.reason}). {error.next_step}")


def debugging() -> bool:
    """Whether tracebacks are shown."""
    return bool(os.environ.get("HEADRACE_DEBUG"))


def raise_bug_if_debugging(made: Sequence[Attempt[Any]]) -> None:
    """With `--debug`, raise the first unexpected exception, for its traceback."""
    for attempt in made if debugging() else ():
        if attempt.error and attempt.error.reason == "bug":
            raise attempt.error
