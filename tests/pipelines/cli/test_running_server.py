"""`headrace search` leaves its work to a server of the same installation, if one answers, and to itself if none does."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from mcp import Client, StdioServerParameters

from core.config import Settings, load
from core.configuration_file import configuration_digest, data_dir
from pipelines import cli
from pipelines.app import Headrace
from pipelines.cli import running_server
from pipelines.operations.search import ask
from pipelines.operations.serve import announced, state_file
from retrieval.server.local import RunningServer, read
from tests.pipelines.cli.test_cli import HEADRACE, config, process
from tests.tenant_fixture import publish
from tests.test_layers import HEAVY

__all__ = ["config"]

SEAL = {"seals.md": "# Seals\n\nThe shaft seal of the pump is inspected once a year.\n"}
QUICK = {"pydantic", "psycopg", "polars", "numpy", "fastapi", *HEAVY}


@pytest.fixture(scope="module")
def tenant_with_a_page(app: Headrace) -> str:
    from pipelines.governance.tenants import add

    add(app, "running-a")
    publish(app, "running-a", documents=SEAL, acl=["group:a"])
    app.ingest("running-a")
    return "running-a"


@pytest.fixture
def server(config: Path, settings: Settings) -> Iterator[subprocess.Popen[str]]:
    """`headrace serve` as a process of its own, that listens."""
    with subprocess.Popen([HEADRACE, "serve", "--port", "0", "--json"], stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        assert "address" in json.loads(running.stdout.readline())
        yield running
        running.kill()


def test_a_running_server_answers_the_command_and_ends_on_sigterm(
    server: subprocess.Popen[str], app: Headrace, settings: Settings, tenant_with_a_page: str
) -> None:
    arguments = ("search", "--tenant", tenant_with_a_page, "shaft seal", "--as", "group:a", "--json")
    done = process(*arguments, env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"})
    expected = json.loads(msgspec.json.encode(ask(app, tenant_with_a_page, "shaft seal", ["group:a"])))
    assert json.loads(done.stdout) | {"took_s": 0} == expected | {"took_s": 0}
    assert [cited["document"] for cited in expected["passages"][0]["citations"]] == ["seals.md"]
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert imported & QUICK == set()
    assert json.loads(process(*arguments[:4], "--json").stdout)["passages"] == []
    assert "seals.md" in process(*arguments[:-1]).stdout
    refused = process("search", "--tenant", "nobody-here", "shaft seal", "--json")
    assert (refused.returncode, json.loads(refused.stderr)["reason"]) == (5, "unknown-tenant")
    assert process("search", "--tenant", tenant_with_a_page, " ").returncode == 2
    server.send_signal(signal.SIGTERM)
    assert server.wait(30) == 0
    assert not state_file(settings).exists()


@pytest.mark.usefixtures("config")
def test_a_language_models_program_searches_over_standard_input_and_output(tenant_with_a_page: str) -> None:
    def answered(*arguments: str) -> str:
        async def ask() -> Any:
            command = ["mcp", "--tenant", tenant_with_a_page, *arguments]
            async with Client(StdioServerParameters(command=str(HEADRACE), args=command, env=dict(os.environ))) as client:
                return await client.call_tool("search", {"query": "shaft seal", "mode": "lexical"})

        return str(asyncio.run(ask()).content[0].text)

    assert 'document="seals.md"' in answered("--as", "group:a")
    assert "seals.md" not in answered()


@pytest.fixture
def written(settings: Settings) -> Iterator[Callable[..., None]]:
    """Put something into the file of a running server."""
    path = state_file(settings)

    def write(**changes: Any) -> None:
        whole = {"url": "http://127.0.0.1:1", "key": "a2V5", "configuration": configuration_digest()}
        path.write_text(json.dumps(whole | changes), encoding="utf-8")

    yield write
    path.unlink(missing_ok=True)


@pytest.mark.usefixtures("config")
def test_without_a_server_that_answers_the_command_works_by_itself(
    app: Headrace,
    tenant_with_a_page: str,
    written: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert running_server.searched(tenant_with_a_page, (), {"query": "seal"}) is None
    for changes in ({}, {"configuration": "another"}, {"url": "nonsense"}, {"key": 5}):
        written(**changes)
        assert running_server.searched(tenant_with_a_page, (), {"query": "seal"}) is None
    assert cli.run(["search", "--tenant", tenant_with_a_page, "seal", "--mode", "lexical", "--as", "group:a", "--json"]) == 0
    assert "seals.md" in capsys.readouterr().out


@pytest.mark.usefixtures("config")
def test_a_server_of_another_configuration_is_left_alone(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with announced(settings, "http://127.0.0.1:1", b"key"):
        found = read(state_file(settings))
        assert found == RunningServer("http://127.0.0.1:1", b"key", configuration_digest())
        assert running_server._announced() == found
        monkeypatch.setenv("HEADRACE_EMBEDDING__MODEL", "another")
        assert running_server._announced() is None


@pytest.mark.usefixtures("config")
def test_the_data_folder_is_found_as_the_settings_find_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert data_dir() == load().data_dir.absolute()
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path / "other"))
    assert data_dir() == load().data_dir.absolute() == tmp_path / "other"
    monkeypatch.delenv("HEADRACE_DATA_DIR")
    monkeypatch.delenv("HEADRACE_CONFIG")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "headrace.toml").unlink()
    assert data_dir() == load().data_dir.absolute() == tmp_path / ".headrace"
