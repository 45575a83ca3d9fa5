"""ARCHITECTURE.md names a test for every invariant; each is there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

NAMED = sorted(
    set(re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", (Path(__file__).parent.parent / "ARCHITECTURE.md").read_text(encoding="utf-8")))
)


def test_the_page_names_tests() -> None:
    assert len(NAMED) > 20


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_every_test_that_the_page_names_is_there(here: Path, path: str, name: str) -> None:
    tree = ast.parse((here / path).read_text(encoding="utf-8"))
    assert name in {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}


def test_every_file_that_the_pages_link_to_is_there(here: Path) -> None:
    pages = [*here.glob("*.md"), *(here / "docs").glob("*.md")]
    links = {(page, link) for page in pages for link in re.findall(r"\]\(([\w./-]+)(?:#[\w-]+)?\)", page.read_text(encoding="utf-8"))}
    assert {f"{page.name}: {link}" for page, link in links if not (page.parent / link).exists()} == set()
