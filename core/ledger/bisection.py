"""Halving a batch over which a stage crashes, until the document that it crashes over stands alone and its neighbours have passed.

A crash is what nobody foresaw: a bug, a library's exception. What is known to go wrong is a `HeadraceError` and none of this.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from traceback import walk_tb
from typing import Any, Generic, TypeVar

from core.errors import DocumentError, HeadraceError

T = TypeVar("T")
Row = dict[str, Any]
Attempt = Callable[[Sequence[T]], list[Row]]


class StageCrashed(HeadraceError):
    """A stage that crashes whatever document it is given: nothing is dead-lettered for it."""

    reason = "stage-crashed"
    remedy = "Every document crashes it alike: it is a bug, or something that it needs is not there. Report it with this line."


@dataclass(frozen=True)
class Culprit(Generic[T]):
    """What stood alone when it failed, and why; `detail` says where in the code, and nothing of the document."""

    row: T
    reason: str
    detail: str


def halved(attempt: Attempt[T], rows: Sequence[T]) -> tuple[list[Row], list[Culprit[T]]]:
    """The results of what passes, and the culprits. Raises every HeadraceError but a DocumentError."""
    try:
        return attempt(rows), []
    except BaseException as error:
        failure = _failure(error)
        if failure is None:
            raise
    if len(rows) == 1:
        return [], [Culprit(rows[0], *failure)]
    middle = len(rows) // 2
    halves = halved(attempt, rows[:middle]), halved(attempt, rows[middle:])
    return [row for results, _ in halves for row in results], [culprit for _, culprits in halves for culprit in culprits]


def crashed_alike(culprits: Sequence[Culprit[T]], rows: Sequence[T]) -> bool:
    """Whether every one of these rows crashed, and in the same place."""
    return len(culprits) == len(rows) and {(c.reason, c.detail) for c in culprits} == {(StageCrashed.reason, culprits[0].detail)}


def place(error: BaseException) -> str:
    """Of what type an exception is and where it was raised; never what it says."""
    frame, line = list(walk_tb(error.__traceback__))[-1]
    return f"{type(error).__name__} at {PurePath(frame.f_code.co_filename).name}:{frame.f_code.co_name}:{line}"


def _failure(error: BaseException) -> tuple[str, str] | None:
    """The reason and detail of what may be a document's fault. A panic of a library in Rust is, though it is no Exception."""
    if isinstance(error, DocumentError):
        return error.reason, error.detail
    if isinstance(error, HeadraceError) or not (isinstance(error, Exception) or type(error).__name__ == "PanicException"):
        return None
    return StageCrashed.reason, place(error)
