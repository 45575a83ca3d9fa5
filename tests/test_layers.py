"""The project's conventions that neither ruff, mypy nor import-linter holds: what an import costs, SQL by name, names, places."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path

import pytest

from core.sql import statements

ROOT = Path(__file__).parent.parent
STAGES = ["parsers", "privacy", "chunkers", "embedders", "index", "retrieval", "graph", "quality", "events", "core", "services"]
PACKAGES = [*STAGES, "headrace", "assets", "pipelines", "samples", "benchmarks"]
HEAVY = {
    "dagster",
    "torch",
    "docling",
    "docling_core",
    "presidio_analyzer",
    "spacy",
    "great_expectations",
    "sentence_transformers",
    "neo4j",
}


@pytest.mark.parametrize("package", [*STAGES, "headrace"])
def test_importing_a_package_loads_nothing_heavy(package: str) -> None:
    code = f"import json, sys, {package}; print(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert HEAVY & set(json.loads(done.stdout)) == set()


# --- import circles


def _modules() -> dict[str, Path]:
    files = {path.relative_to(ROOT): path for package in PACKAGES for path in (ROOT / package).rglob("*.py")}
    return {".".join(name.with_suffix("").parts).removesuffix(".__init__"): path for name, path in files.items()}


def _imports(path: Path, modules: Collection[str]) -> Iterator[str]:
    """Every module of ours that a module imports: at the top, in a function, or for the type checker alone."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in modules else node.module for name in whole)


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Modules that import only what is known to be free of circles are free of them; whatever is left is in one, or leads into one."""
    modules = _modules()
    imported = {name: {other for other in _imports(path, modules) if other in modules and other != name} for name, path in modules.items()}
    while free := {name for name, others in imported.items() if not others}:
        imported = {name: others - free for name, others in imported.items() if name not in free}
    assert sorted(imported) == []


# --- statements

_NAME = re.compile(r"^(?:--|//) name: (.*)$", re.MULTILINE)
NAMED = sorted(
    path.relative_to(ROOT)
    for p in PACKAGES
    for path in (ROOT / p).rglob("*")
    if path.suffix in {".sql", ".cypher"} and "migrations" not in path.parts
)
WHOLE = {"services/sql/bootstrap.sql", "services/sql/bootstrap_headrace.sql", "graph/cypher/schema.cypher", "graph/cypher/drop.cypher"}
"""Files all of whose statements are run, in order, without being named."""


def _inside(path: Path) -> tuple[str, str]:
    folders = 2 if path.parent.name in {"sql", "cypher"} else 1
    return ".".join(path.parts[:-folders]), "/".join(path.parts[-folders:])


@pytest.mark.parametrize("path", NAMED, ids=str)
def test_a_file_is_statements_each_under_a_name_of_its_own(path: Path) -> None:
    before, *parts = _NAME.split((ROOT / path).read_text(encoding="utf-8"))
    found = statements(*_inside(path))
    assert list(found) == parts[::2], "a name that is there twice, or cannot be read"
    assert all(_code(text) for text in found.values())
    assert _code(before) == "", "a statement without a name"


def _code(text: str) -> str:
    return "".join(line for line in text.splitlines() if not line.strip().startswith(("--", "//"))).strip()


@pytest.mark.parametrize("path", NAMED, ids=str)
def test_every_statement_is_used_by_its_package(path: Path) -> None:
    package, file = _inside(path)
    assert f'"{file}"' in _python(package)
    unused = [name for name in statements(package, file) if f'"{name}"' not in _python(package)]
    assert path.as_posix() in WHOLE or unused == []


@cache
def _python(package: str) -> str:
    return "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / package.replace(".", "/")).rglob("*.py"))


# --- names and places


def _files() -> Iterator[Path]:
    """What the project holds: nothing hidden, nothing built."""
    for top in sorted(ROOT.iterdir()):
        if top.is_file() and top.name not in {".env", "headrace.toml"}:
            yield top
        elif top.name in {*PACKAGES, "tests", "docs", "docker", ".ci"}:
            yield from (path for path in top.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def test_no_module_is_named_for_what_did_not_find_a_place() -> None:
    nowhere = {"util", "utils", "helper", "helpers", "common", "manager", "misc", "shared"}
    assert [path for path in _files() if nowhere & {part.removesuffix(".py").strip("_") for part in path.relative_to(ROOT).parts}] == []


def test_no_file_names_a_place_on_one_machine() -> None:
    machine = re.compile("/(?:root|work|Users)/|/ho[m]e/(?!headrace\\b)")
    assert [path for path in _files() if machine.search(_text(path))] == []


def test_only_benchmarks_name_the_data_folder() -> None:
    data = re.compile(r"\bshared/(?:data|design|facts|style)|\.\./shared")
    mine = {Path(__file__)}
    assert [
        path for path in _files() if data.search(_text(path)) and path.relative_to(ROOT).parts[0] != "benchmarks" and path not in mine
    ] == []


def _text(path: Path) -> str:
    """Its text; nothing, where it is not text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""
