"""Bisection: halve a batch that crashes a stage until the culprit stands alone and every other document has passed.

A crash is what nobody foresaw: a bug, a library's exception. A known failure is a `HeadraceError` and no crash.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from core.errors import DocumentError, HeadraceError, is_crash, place

T = TypeVar("T")
Row = TypeVar("Row")
Attempt = Callable[[Sequence[T]], Sequence[Row]]


class StageCrashed(HeadraceError):
    """A stage that crashes on every document it is given: none is dead-lettered for it."""

    reason = "stage-crashed"
    remedy = "Every document crashes it alike: it is a bug, or something that it needs is missing. Report it with this line."


@dataclass(frozen=True)
class Culprit(Generic[T]):
    """A row that failed alone, and why. `detail` says where in the code, and nothing of the document."""

    row: T
    reason: str
    detail: str


def bisected(attempt: Attempt[T, Row], rows: Sequence[T]) -> tuple[list[Row], list[Culprit[T]]]:
    """The results of the rows that pass, and the culprits. Raises every HeadraceError but a DocumentError."""
    try:
        return list(attempt(rows)), []
    except BaseException as error:
        failure = _failure(error)
        if failure is None:
            raise
    if len(rows) == 1:
        return [], [Culprit(rows[0], *failure)]
    middle = len(rows) // 2
    halves = bisected(attempt, rows[:middle]), bisected(attempt, rows[middle:])
    return [row for results, _ in halves for row in results], [culprit for _, culprits in halves for culprit in culprits]


def crashed_alike(culprits: Sequence[Culprit[T]], rows: Sequence[T]) -> bool:
    """Whether every one of these rows crashed, and in the same place."""
    return len(culprits) == len(rows) and {(c.reason, c.detail) for c in culprits} == {(StageCrashed.reason, culprits[0].detail)}


def _failure(error: BaseException) -> tuple[str, str] | None:
    """Reason and detail if a document may be at fault."""
    if isinstance(error, DocumentError):
        return error.reason, error.detail
    return (StageCrashed.reason, place(error)) if is_crash(error) else None
