"""Arguments that are not UTF-8, for every command: refused or taken, never a bug."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from core.config import Settings
from pipelines import cli
from pipelines.app import Headrace
from pipelines.cli import exit_codes, root
from pipelines.operations import explain
from retrieval.request import MOST_PASSAGES

LATIN_1 = os.fsdecode(b"caf\xe9.txt")
GIVEN = {"text": "x", "path": str(Path(__file__)), "integer": "1", "integer range": "1", "float": "1", "float range": "1"}

Run = Callable[..., tuple[int, str, str]]


def leaves(command: Any, *words: str) -> Iterator[tuple[tuple[str, ...], Any]]:
    below = getattr(command, "commands", None)
    for word, inner in (below or {}).items():
        yield from leaves(inner, *words, word)
    if not below:
        yield words, command


COMMANDS = list(leaves(typer.main.get_command(root.app)))
CASES = [
    (words, command, parameter) for words, command in COMMANDS for parameter in command.params if parameter.type.name in ("text", "path")
]


def call_of(words: tuple[str, ...], command: Any, parameter: Any, value: str) -> list[str]:
    """A call with what is required, and this value for the parameter."""
    call = list(words)
    for one in command.params:
        if one is parameter or one.required:
            given = value if one is parameter else GIVEN[one.type.name]
            call += [one.opts[0], given] if one.opts[0].startswith("-") else [given]
    return call


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def called(*arguments: str) -> tuple[int, str, str]:
        code = cli.run(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return called


@pytest.mark.parametrize(
    ("words", "command", "parameter"), CASES, ids=[f"{' '.join(words)} {parameter.name}" for words, _, parameter in CASES]
)
def test_text_that_is_not_utf_8_is_a_wrong_call_of_every_command(run: Run, words: tuple[str, ...], command: Any, parameter: Any) -> None:
    """A path may be of any bytes; one that has to exist does not."""
    if parameter.type.name == "text" or parameter.type.exists:
        code, printed, stderr = run(*call_of(words, command, parameter, LATIN_1))
        assert (code, printed) == (2, "")
        assert "not UTF-8" in stderr or parameter.type.name == "path"


def test_there_are_such_arguments() -> None:
    assert len(CASES) > 30
    assert {words[0] for words, _, _ in CASES} >= {
        "tenant",
        "publish",
        "search",
        "explain",
        "erase",
        "dead-letters",
        "replay",
        "export",
        "audit",
    }


def test_options_before_the_command_are_refused_too(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "(bad-actor)" in run("--as", LATIN_1, "status")[2]
    monkeypatch.setenv("HEADRACE_CONFIG", "")
    monkeypatch.chdir(tmp_path)
    for more in ((), ("--json",)):
        code, printed, stderr = run("--config", LATIN_1, "status", *more)
        assert (code, printed, "bad-configuration" in stderr) == (3, "", True)


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
def test_a_value_on_standard_input_is_utf_8(run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, errors: str) -> None:
    """Python reads it in either way, as the locale has it."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"Jos\xe9\n"), encoding="utf-8", errors=errors))
    code, _, stderr = run("erase", "--tenant", "acme", "--subject", "--receipt", str(tmp_path / "receipt.json"))
    assert (code, "not UTF-8" in stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_the_greatest_top_is_that_of_a_search() -> None:
    (top,) = [parameter for words, command in COMMANDS if words == ("search",) for parameter in command.params if parameter.name == "top"]
    assert (top.type.min, top.type.max) == (1, MOST_PASSAGES)


@pytest.fixture
def config(settings: Settings, app: Headrace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The configuration of the session's servers, in force."""
    path = tmp_path / "headrace.toml"
    path.write_text(f'data_dir = "{settings.data_dir}"\n', encoding="utf-8")
    monkeypatch.setenv("HEADRACE_CONFIG", str(path))


@pytest.mark.usefixtures("config")
def test_an_access_list_lands_as_it_was_typed_or_nothing_is_published(run: Run, app: Headrace, acme: str, tmp_path: Path) -> None:
    name = "CN=HR,OU=Groups,DC=corp"
    lists = {
        "everyone.md": ([], ["*"]),
        "nobody.md": ([""], []),
        "quoted.md": ([f'"{name}"', "group:a"], [name, "group:a"]),
        "json.md": ([json.dumps([name])], [name]),
        "refused.md": ([name], None),
    }
    for document, (typed, _) in lists.items():
        (tmp_path / document).write_text("A page about sardines.", encoding="utf-8")
        options = [word for principal in typed for word in ("--acl", principal)]
        code, _, stderr = run("publish", "--tenant", acme, *options, str(tmp_path / document))
        assert (code, "(bad-principals)" in stderr) == ((2, True) if document == "refused.md" else (0, False))
    assert app.land(acme).fates == {"landed": 4}
    for document, (_, expected) in lists.items():
        if expected is not None:
            (found,) = explain.explain(app, acme, document)
            assert found.state is not None
            assert found.state.acl == expected


@pytest.fixture
def latin_1(config: None, tmp_path: Path) -> Path:
    """A folder whose name is not UTF-8."""
    folder = tmp_path / os.fsdecode(b"Gr\xfc\xdfe")
    folder.mkdir()
    return folder


def test_a_file_whose_name_is_not_utf_8_is_not_published_and_stops_no_other(run: Run, app: Headrace, acme: str, latin_1: Path) -> None:
    for name in (LATIN_1, "plain.txt"):
        (latin_1 / name).write_text("A page about sardines.", encoding="utf-8")
    code, printed, stderr = run("publish", "--tenant", acme, str(latin_1))
    assert (code, printed) == (exit_codes.IN_PART, "plain.txt\n")
    assert stderr == "not published: caf\\udce9.txt: the file's name is not UTF-8. Rename the file (bad-file-name)\n"
    code, printed, _ = run("publish", "--tenant", acme, str(latin_1 / LATIN_1), "--json")
    (row,) = json.loads(printed)
    assert (code, row["document"], row["reason"]) == (exit_codes.IN_PART, LATIN_1, "bad-file-name")
    assert app.land(acme).fates == {"landed": 1}


def test_paths_of_any_bytes_are_written_and_read(run: Run, app: Headrace, acme: str, latin_1: Path) -> None:
    (latin_1 / "page.md").write_text("A page about sardines.", encoding="utf-8")
    receipt = latin_1 / os.fsdecode(b"re\xe7u.json")
    assert run("publish", "--tenant", acme, str(latin_1 / "page.md"))[0] == 0
    app.ingest(acme)
    assert run("export", acme, "--to", str(latin_1 / os.fsdecode(b"donn\xe9es")))[0] == 0
    assert run("erase", "--tenant", acme, "page.md", "--receipt", str(receipt))[0] == 0
    assert run("erase", "--verify", str(receipt))[0] == 0
    assert run("erase", "--tenant", acme, "--again", str(receipt), "--receipt", str(latin_1 / "second.json"))[0] == 0
