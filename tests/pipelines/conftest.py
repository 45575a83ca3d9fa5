"""Fixtures of the commands' tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest


@pytest.fixture
def columns(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Sets the width of what commands print: a console keeps the one that it began with."""
    from pipelines.cli import output

    def set_width(count: int) -> None:
        monkeypatch.setenv("COLUMNS", str(count))
        output.out.cache_clear()

    yield set_width
    output.out.cache_clear()
