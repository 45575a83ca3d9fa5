"""Errors at a step's edge. Dagster stores an exception with its causes, and a library's message may quote a document."""

from __future__ import annotations

import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import dagster as dg

from core.errors import HeadraceError, Unavailable


@contextmanager
def plain_failures() -> Iterator[None]:
    """Turn errors into `dg.Failure` without a cause: ours keep their message, any other is reduced to its type and place.

    The step is retried only if a server was unavailable: everything else would fail again.
    """
    try:
        yield
    except dg.Failure:
        raise
    except HeadraceError as error:
        raise dg.Failure(str(error), metadata={"reason": error.reason}, allow_retries=isinstance(error, Unavailable)) from None
    except Exception as error:  # noqa: BLE001 the edge of the process: Dagster keeps what passes it for years
        raise dg.Failure(_unexpected(error), metadata={"reason": "unforeseen", "where": _where(error)}, allow_retries=False) from None


def _unexpected(error: Exception) -> str:
    return f"{type(error).__module__}.{type(error).__qualname__}. Its message is omitted: it may quote a document."


def _where(error: Exception) -> dg.MarkdownMetadataValue:
    """The traceback, outermost call first: files, lines and functions, no values."""
    frames = traceback.extract_tb(error.__traceback__)
    return dg.MetadataValue.md("\n".join(f"- `{frame.filename}:{frame.lineno}` {frame.name}" for frame in frames))
