"""Points in time as people write them on the command line."""

from __future__ import annotations

from datetime import datetime

import typer


def when(text: str) -> datetime:
    """An ISO 8601 date or time; local time, as the tables show it, where it names no zone. Raises BadParameter."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"not a date or time of ISO 8601, such as 2026-03-01 or 2026-03-01T09:30Z: {text!r}") from None
