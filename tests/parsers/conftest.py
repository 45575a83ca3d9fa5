"""Fixtures of several parsers' tests."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from parsers.pdf import recognition


@pytest.fixture
def without_ocr(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As if the extra `ocr` were not installed."""
    monkeypatch.setitem(sys.modules, "rapidocr", None)
    recognition.available.cache_clear()
    yield
    recognition.available.cache_clear()
