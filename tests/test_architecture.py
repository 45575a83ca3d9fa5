"""docs/invariants.md names a test for every invariant, and ARCHITECTURE.md files and functions; each exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROWS = [line for line in (ROOT / "docs/invariants.md").read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
INVARIANTS = [row for row in ROWS if row != "| invariant | test |"]
NAMED = sorted({match for row in INVARIANTS for match in re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", row)})

PATH = sorted(set(re.findall(r"`([\w/]+\.py)` `([\w.]+)`", (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8"))))


def test_the_page_lists_the_invariants() -> None:
    assert len(INVARIANTS) >= 71


def test_every_invariant_names_a_test() -> None:
    assert [row for row in INVARIANTS if "`tests/" not in row] == []


def test_every_test_is_named_by_its_path() -> None:
    # a misspelt path would not be read by the expression above, and its test not looked for
    assert sum(row.count("`tests/") for row in INVARIANTS) == sum(row.count("::test_") for row in INVARIANTS) == len(NAMED)


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_every_test_that_the_page_names_exists(path: str, name: str) -> None:
    assert name in functions(ROOT / path)


def test_the_map_follows_a_document_through_the_code() -> None:
    stages = {path for path, _ in PATH if path.startswith("pipelines/stages/")}
    assert len(PATH) >= 25
    assert {f"pipelines/stages/{name}.py" for name in ("parse", "redact", "chunk", "embed", "index", "graph", "project")} <= stages


@pytest.mark.parametrize(("path", "name"), PATH)
def test_every_function_that_the_map_names_exists(path: str, name: str) -> None:
    assert set(name.split(".")) <= functions(ROOT / path)


@cache
def functions(path: Path) -> frozenset[str]:
    """The names of a module's functions, methods and classes."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef))
