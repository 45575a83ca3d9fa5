"""What leaves a step when it fails. Dagster stores an exception with its causes, and a library's message may quote a document."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from core.errors import HeadraceError, Unavailable


@contextmanager
def plain_failures() -> Iterator[None]:
    """Errors leave as `dg.Failure`: ours with their message, any other as its type and place alone, neither with a cause.

    Only where a server is away is the step tried again: everything else would fail again.
    """
    try:
        yield
    except dg.Failure:
        raise
    except HeadraceError as error:
        raise dg.Failure(str(error), metadata={"reason": error.reason}, allow_retries=isinstance(error, Unavailable)) from None
    except Exception as error:  # noqa: BLE001 the process's edge: what is behind it is kept for years and read by many
        raise dg.Failure(_unforeseen(error), metadata={"reason": "unforeseen", "where": _where(error)}, allow_retries=False) from None


def _unforeseen(error: Exception) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}. Its message is left out: it may quote a document."


def _where(error: Exception) -> dg.MarkdownMetadataValue:
    """The calls that led there, outermost first: files, lines and functions, no values."""
    frames = traceback.extract_tb(error.__traceback__)
    return dg.MetadataValue.md("\n".join(f"- `{frame.filename}:{frame.lineno}` {frame.name}" for frame in frames))
