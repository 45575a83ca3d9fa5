"""The command line: its output, its exit codes, and that its documentation matches it."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import stat
import subprocess
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from threading import Event as Flag
from typing import Any
from uuid import UUID

import pytest
import typer.main
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient
from pydantic import BaseModel

from core.config import Settings
from core.errors import ConfigurationError, HeadraceError, TenantError, Unavailable
from events.fencing import REFUSALS
from parsers.reasons import REASONS
from pipelines import cli, documents
from pipelines.app import Headrace
from pipelines.cli import exit_codes, root
from pipelines.operations import explain
from pipelines.operations.search import ask
from retrieval.rerank import TIMED_OUT
from tests.test_layers import HEAVY

HEADRACE = Path(sys.executable).with_name("headrace")
ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
PAGE = "# Seals\n\nThe shaft seal of the pump is inspected once a year.\n"

Run = Callable[..., Any]


@pytest.fixture
def config(settings: Settings, app: Headrace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration file for this session's servers, in force in this process and its children."""
    path = tmp_path / "headrace.toml"
    path.write_text(f'data_dir = "{settings.data_dir}"\n', encoding="utf-8")
    monkeypatch.setenv("HEADRACE_CONFIG", str(path))
    return path


@pytest.fixture
def call(config: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process; returns its exit code, standard output (read as JSON with `--json`) and standard error."""

    def run(*arguments: str) -> tuple[int, Any, str]:
        code = cli.run(arguments)
        captured = capsys.readouterr()
        return code, json.loads(captured.out) if "--json" in arguments and captured.out else captured.out, captured.err

    return run


@pytest.fixture
def page(tmp_path: Path) -> Path:
    path = tmp_path / "page.md"
    path.write_text(PAGE, encoding="utf-8")
    return path


def _state(app: Headrace, tenant: str) -> explain.DocumentState:
    (found,) = explain.explain(app, tenant, "page.md")
    assert found.state
    return found.state


def process(*arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([HEADRACE, *arguments], capture_output=True, text=True, timeout=120, check=False, **more)


# as its own process


def test_help_loads_no_library_but_those_that_print_it() -> None:
    """So it answers within a fraction of a second, whatever the machine."""
    done = process("--help", env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"})
    assert "erase" in done.stdout
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert imported & {"pydantic", "msgspec", "psycopg", "confluent_kafka", "polars", "numpy", "pyarrow", *HEAVY} == set()


def test_publish_ingest_and_search_print_json_and_nothing_else(call: Run, acme: str, tmp_path: Path) -> None:
    folder = tmp_path / "handbook"
    (folder / "pumps").mkdir(parents=True)
    (folder / "pumps" / "seals.md").write_text(PAGE, encoding="utf-8")
    (folder / ".hidden.md").write_text("hidden", encoding="utf-8")
    result = []
    # these two load models: no output of their libraries reaches the terminal
    for arguments in (["publish", str(folder), "--acl", "group:a"], ["ingest"]):
        done = process(arguments[0], "--tenant", acme, *arguments[1:], "--json")
        assert (done.returncode, done.stderr) == (0, "")
        result.append(json.loads(done.stdout))
    published, ingested = result
    assert UUID(published[0].pop("event"))
    assert published == [{"document": "pumps/seals.md", "published": True, "reason": None, "detail": None}]
    assert ingested[acme]["landed"] == {"events": 1, "fates": {"landed": 1}, "reasons": {}}
    assert [stage["done"] for stage in ingested[acme]["stages"]] == [1] * 7
    code, found, stderr = call("search", "--tenant", acme, "shaft seal", "--json")
    assert (code, found["passages"], found["cursor"], found["mode"], stderr) == (0, [], "", "hybrid", "")
    read = ("search", "--tenant", acme, "shaft seal", "--as", "user:b, group:a")
    code, found, stderr = call(*read, "--json")
    [cited] = found["passages"][0]["citations"]
    assert (code, stderr, cited["document"], cited["media_type"]) == (0, "", "pumps/seals.md", "text/markdown")


def test_every_kind_of_option_reaches_a_search(call: Run, app: Headrace, acme: str, page: Path) -> None:
    call("publish", "--tenant", acme, str(page))
    app.ingest(acme)
    read = ("search", "--tenant", acme, "shaft seal")
    for filters, found in (
        (["--media-type", "text/markdown"], True),
        (["--media-type", "application/pdf"], False),
        (["--source", "/none"], False),
        (["--metadata", "team=x"], False),
        (["--until", "1999-01-01"], False),
        (["--least", "9"], False),
        (["--mode", "lexical", "--fusion", "rrf", "--weight", "0.3", "--diversity", "0.2", "--rerank"], True),
    ):
        assert bool(call(*read, *filters, "--json")[1]["passages"]) == found, filters
    code, printed, _ = call(*read, "--explain", "--top", "1", "--expand", "section")
    assert (code, "calibrated" in printed, "terms: seal, shaft" in printed) == (0, True, True)
    code, printed, stderr = call(*read, "--cursor", "x")
    assert (code, "bad-cursor" in stderr) == (2, True)
    assert call(*read, "--metadata", "team")[0] == 2


def test_a_closed_pipe_ends_it_silently(config: Path, acme: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    for arguments in (["tenant", "list"], ["tenant", "list", "--json"]):
        done = subprocess.run([HEADRACE, *arguments], stdout=writing, stderr=subprocess.PIPE, text=True, check=False)
        assert (done.returncode, done.stderr) == (130, "")
    os.close(writing)


def test_ctrl_c_ends_a_command_silently(config: Path, acme: str) -> None:
    with subprocess.Popen([HEADRACE, "doctor"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as looking:
        assert looking.stdout
        assert "configuration" in looking.stdout.readline()
        looking.send_signal(signal.SIGINT)
        _, stderr = looking.communicate(timeout=120)
    assert (looking.returncode, stderr) == (130, "")


# in this process


@pytest.mark.parametrize(
    ("arguments", "code", "reason"),
    [
        ("search --tenant nobody-here question", 5, "unknown-tenant"),
        ("tenant add Not-Allowed", 2, "bad-tenant-name"),
        ("tenant remove nobody-here --yes", 5, "unknown-tenant"),
        ("unpublish --tenant nobody-here page", 5, "unknown-tenant"),
        ("explain --tenant ACME page", 5, "unknown-document"),
        ("erase --tenant ACME page --receipt RECEIPT", 5, "unknown-document"),
        ("search --tenant ACME EMPTY", 2, "bad-query"),
        ("dead-letters show --tenant ACME 0:0", 5, "unknown-dead-letter"),
        ("replay dead-letters --tenant ACME 00", 2, "bad-position"),
        ("replay topic --tenant ACME --from-offset 0 --partition 99", 2, "bad-position"),
        ("publish --tenant ACME FOLDER", 2, "no-files"),
        ("tenant add ACME", 5, "tenant-exists"),
    ],
)
def test_an_error_is_one_line_with_a_reason_code_and_a_next_step(
    call: Run, acme: str, tmp_path: Path, arguments: str, code: int, reason: str
) -> None:
    (tmp_path / "empty").mkdir()
    given = {"ACME": acme, "EMPTY": " ", "RECEIPT": str(tmp_path / "receipt.json"), "FOLDER": str(tmp_path / "empty")}
    words = [given.get(word, word) for word in arguments.split()]
    ended, printed, stderr = call(*words)
    assert (ended, printed) == (code, "")
    assert re.fullmatch(rf"headrace: .+ \({reason}\)\. .+\.\n", stderr)
    ended, printed, stderr = call(*words, "--json")
    assert (ended, printed) == (code, "")
    result = json.loads(stderr)
    assert result["reason"] == reason
    assert all(result.values())
    assert not (tmp_path / "receipt.json").exists()


def test_a_wrong_call_and_a_wrong_configuration_have_exit_codes_of_their_own(
    call: Run, config: Path, acme: str, page: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("nonsense")[0] == 2
    assert call("publish", "--tenant", acme, "/there/is/no/such/file")[0] == 2
    assert call("search", "--tenant", acme, "question", "--top", "0")[0] == 2
    config.write_text('colour = "blue"\n', encoding="utf-8")
    code, _, stderr = call("status")
    assert (code, "colour: there is no such setting" in stderr) == (3, True)


def test_a_bug_is_one_line_without_its_message_and_a_traceback_with_debug(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ValueError("jane.roe@example.com")

    monkeypatch.setattr(cli, "app", broken)
    assert cli.run(["status"]) == exit_codes.BUG
    stderr = capsys.readouterr().err
    assert stderr == "headrace: unexpected ValueError (bug). Run it again with --debug, before the command, and report it.\n"
    monkeypatch.setenv("HEADRACE_DEBUG", "1")
    with pytest.raises(ValueError, match="jane"):
        cli.run(["status"])


def test_a_system_error_is_no_bug(call: Run, config: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    config.write_text(f'data_dir = "{tmp_path / "file"}"\n', encoding="utf-8")
    code, _, stderr = call("up")
    assert (code, "(system-error)" in stderr) == (1, True)


def test_every_kind_of_error_has_its_exit_code() -> None:
    kinds = {HeadraceError: 1, ConfigurationError: 3, Unavailable: 4, TenantError: 5}
    assert {kind: exit_codes.exit_code(kind("detail")) for kind in kinds} == kinds
    assert exit_codes.exit_code(ConfigurationError("detail", reason="model-not-found")) == 3


def test_without_servers_status_says_so_and_commands_exit_with_4(call: Run, config: Path, tmp_path: Path) -> None:
    config.write_text(f'data_dir = "{tmp_path / "elsewhere"}"\n', encoding="utf-8")
    code, result, _ = call("status", "--json")
    assert (code, result["tenants"], [server["state"] for server in result["servers"]]) == (0, None, ["down"] * 3)
    assert "Run `headrace up`." in result["unavailable"]
    assert call("tenant", "list")[0] == 4
    code, findings, _ = call("doctor", "--json")
    assert (code, [finding["well"] for finding in findings]) == (6, [True, False])


def test_up_where_everything_runs_changes_nothing(call: Run) -> None:
    before = call("status", "--json")[1]["servers"]
    code, result, stderr = call("up", "--json")
    assert (code, stderr, result["migrations"]) == (0, "", [])
    assert [server["pid"] for server in result["servers"]] == [server["pid"] for server in before]
    assert call("migrate", "--json")[:2] == (0, {"applied": [], "troubles": []})


def test_a_tenant_comes_and_goes_with_its_publisher(
    call: Run, app: Headrace, tenant: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    secrets = settings.data_dir / "secrets.json"
    code, result, _ = call("tenant", "add", tenant, "--json")
    name = f"kafka_publisher.{tenant}"
    assert (code, result["publisher"], result["topic"]) == (0, f"publisher.{tenant}", f"documents.{tenant}")
    assert result["password"] == f"{name} in {secrets}"
    assert json.loads(secrets.read_text(encoding="utf-8"))[name] not in json.dumps(result)
    assert tenant in {row["tenant"] for row in call("tenant", "list", "--json")[1]}
    monkeypatch.setattr(sys, "stdin", io.StringIO("no\n"))
    assert call("tenant", "remove", tenant)[0] == 1
    assert call("tenant", "remove", tenant, "--yes", "--json")[:2] == (0, {"removed": tenant})
    assert name not in json.loads(secrets.read_text(encoding="utf-8"))
    assert tenant not in {row["tenant"] for row in call("tenant", "list", "--json")[1]}


def test_publish_prints_ids_and_one_refused_file_stops_no_other(call: Run, app: Headrace, acme: str, page: Path, tmp_path: Path) -> None:
    (tmp_path / "large.bin").write_bytes(b"\0" * 7_000_000)
    code, printed, stderr = call("publish", "--tenant", acme, str(tmp_path / "large.bin"), str(page), "--acl", " group:a , group:b ")
    assert (code, printed) == (7, "page.md\n")
    assert re.fullmatch(r"not published: large.bin: .+ \(event-too-large\)\n", stderr)
    assert app.land(acme).fates == {"landed": 1}
    assert _state(app, acme).acl == ["group:a", "group:b"]
    assert call("unpublish", "--tenant", acme, "page.md") == (0, "page.md\n", "")
    assert app.land(acme).fates == {"landed": 1}
    code, printed, stderr = call("unpublish", "--tenant", acme, "page.md", "pagee.md")
    assert (code, printed) == (0, "page.md\npagee.md\n")
    assert stderr.startswith("pagee.md: nothing of this id has landed")
    assert app.land(acme).fates == {"landed": 1, "unknown-document": 1}


def test_publish_waits_for_outcomes_and_prints_them(call: Run, app: Headrace, acme: str, page: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.docx").write_bytes(b"PK\x03\x04 cut off")
    files = ("--tenant", acme, str(page), str(tmp_path / "broken.docx"))
    code, rows, _ = call("publish", *files, "--wait", "0", "--json")
    assert (code, [row["outcome"] for row in rows]) == (7, [None, None])
    with ingesting(app, acme):
        code, rows, _ = call("publish", *files, "--wait", "60", "--json")
        assert (code, [(row["document"], row["outcome"], row["reason"]) for row in rows]) == (
            7,
            [("page.md", "indexed", None), ("broken.docx", "dead-lettered", "corrupt-document")],
        )
        assert all(row["latency_s"] > 0 for row in rows)
        code, printed, _ = call("unpublish", "--tenant", acme, "page.md", "--wait", "60")
        assert (code, "page.md" in printed, "deleted" in printed) == (0, True, True)
        code, rows, _ = call("unpublish", "--tenant", acme, "pagee.md", "--wait", "60", "--json")
    assert (code, [row["outcome"] for row in rows]) == (7, ["unknown-document"])


@contextmanager
def ingesting(app: Headrace, tenant: str) -> Iterator[None]:
    """Ingest until the block ends, as a stream does."""
    over = Flag()

    def ingest() -> None:
        while not over.wait(0.1):
            app.ingest(tenant)

    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(ingest)
        try:
            yield
        finally:
            over.set()
        running.result(60)


def test_an_empty_acl_is_nobody(call: Run, app: Headrace, acme: str, page: Path) -> None:
    assert call("publish", "--tenant", acme, str(page), "--acl", "", "--sequence", "3")[0] == 0
    app.land(acme)
    state = _state(app, acme)
    assert (state.acl, state.sequence) == ([], 3)


def test_two_files_that_would_be_one_document_are_refused_before_anything_is_sent(
    call: Run, app: Headrace, acme: str, page: Path, tmp_path: Path
) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "page.md").write_text("another", encoding="utf-8")
    code, _, stderr = call("publish", "--tenant", acme, str(page), str(tmp_path / "below"))
    assert (code, "(duplicate-id)" in stderr) == (2, True)
    assert app.land(acme).events == 0


def test_explain_takes_an_id_a_key_and_a_chunk(call: Run, app: Headrace, acme: str, page: Path) -> None:
    call("publish", "--tenant", acme, str(page))
    app.ingest(acme)
    key = documents.find_document(app, acme, "page.md")
    chunk = ask(app, acme, "shaft seal")[0].chunk
    result = [call("explain", "--tenant", acme, name, "--json")[1] for name in ("page.md", key, chunk)]
    assert [[document["document"] for document in documents] for documents in result] == [[key]] * 3
    assert result[0] == result[1] == result[2]
    code, printed, _ = call("explain", "--tenant", acme, "page.md")
    assert (code, printed.splitlines()[0]) == (0, f"{key}: searchable")
    assert all(stage in printed for stage in ("parse", "project"))


def test_dead_letters_are_listed_shown_and_replayed(call: Run, app: Headrace, acme: str, tmp_path: Path) -> None:
    assert call("dead-letters", "list", "--tenant", acme)[1] == "no open dead letters\n"
    (tmp_path / "broken.docx").write_bytes(b"PK\x03\x04 cut off")
    call("publish", "--tenant", acme, str(tmp_path / "broken.docx"))
    app.ingest(acme)
    (letter,) = call("dead-letters", "list", "--tenant", acme, "--json")[1]
    assert (letter["stage"], letter["reason"]) == ("parse", "corrupt-document")
    (shown,) = call("dead-letters", "show", "--tenant", acme, letter["position"], "--json")[1]
    assert (shown["fate"], shown["resolved_at"]) == ("landed", None)
    chosen = ("--reason", "corrupt-document", "--document", "broken.docx", "--since", "2001-01-01")
    asked = ("replay", "dead-letters", "--tenant", acme, *chosen)
    result = {"tenant": acme, "position": letter["position"], "stage": "parse", "reason": "corrupt-document", "outcome": "stale"}
    assert call(*asked, "--json")[:2] == (0, [result | {"error": None}])
    assert "headrace ingest" in call(*asked)[1]
    assert call(*asked, "--until", "2001-01-02")[:2] == (0, "no such open dead letters\n")
    assert "corrupt-document" in call("dead-letters", "list", "--tenant", acme)[1]


def test_a_topic_is_replayed_and_its_fates_are_printed(call: Run, app: Headrace, acme: str, page: Path) -> None:
    call("publish", "--tenant", acme, str(page))
    app.land(acme)
    code, rows, _ = call("replay", "topic", "--tenant", acme, "--from-offset", "0", "--json")
    (result,) = [row for row in rows if row["events"]]
    assert (code, result["removed"], result["fates"], result["reasons"]) == (0, 0, {"unchanged": 1}, {})
    assert "ingest" not in call("replay", "topic", "--tenant", acme, "--since", "2001-01-01")[1]
    admin = AdminClient(app.endpoints.kafka_client())
    for answer in admin.delete_records([TopicPartition(f"documents.{acme}", result["partition"], 1)]).values():
        answer.result(10)
    code, printed, _ = call("replay", "topic", "--tenant", acme, "--since", "2001-01-01T00:00Z")
    assert (code, "removed by retention, not replayed: 1." in printed) == (7, True)


@pytest.mark.parametrize(
    "arguments",
    [
        "topic --tenant acme",
        "topic --tenant acme --from-offset 0 --since 2001-01-01",
        "topic --tenant acme --since yesterday",
        "topic --tenant acme --from-offset -1",
        "dead-letters 0:0",
        "dead-letters --document page.md",
    ],
)
def test_an_ambiguous_replay_is_a_wrong_call(call: Run, arguments: str) -> None:
    assert call("replay", *arguments.split())[0] == 2


def test_a_receipt_is_for_its_owner_alone_and_never_over_another(call: Run, app: Headrace, acme: str, page: Path, tmp_path: Path) -> None:
    call("publish", "--tenant", acme, str(page))
    app.ingest(acme)
    receipt = tmp_path / "receipt.json"
    receipt.write_text("another one", encoding="utf-8")
    assert "(receipt-exists)" in call("erase", "--tenant", acme, "page.md", "--receipt", str(receipt))[2]
    assert "(receipt-not-writable)" in call("erase", "--tenant", acme, "page.md", "--receipt", str(tmp_path / "no" / "r"))[2]
    assert receipt.read_text(encoding="utf-8") == "another one"
    assert ask(app, acme, "shaft seal")
    receipt.unlink()
    code, result, _ = call("erase", "--tenant", acme, "page.md", "--receipt", str(receipt), "--json")
    assert (code, result["complete"]) == (0, True)
    assert json.loads(receipt.read_text(encoding="utf-8")) == result
    assert stat.S_IMODE(receipt.stat().st_mode) == 0o600
    assert not ask(app, acme, "shaft seal")


@pytest.fixture
def wide(columns: Callable[[int], None]) -> None:
    """A terminal wide enough for a folder's long name beside a title."""
    columns(400)


@pytest.mark.usefixtures("wide")
def test_markup_in_what_people_wrote_is_text(call: Run, app: Headrace, acme: str, tmp_path: Path) -> None:
    (tmp_path / "note.md").write_text("# [bold]Seals[/nonsense]\n\nThe [red]seal[/blue] is inspected.\n", encoding="utf-8")
    call("publish", "--tenant", acme, str(tmp_path / "note.md"))
    app.ingest(acme)
    for arguments in (["explain", "--tenant", acme, "note.md"], ["search", "--tenant", acme, "seal"]):
        code, printed, _ = call(*arguments)
        assert (code, "[bold]Seals[/nonsense]" in printed) == (0, True)


# its documentation


@pytest.fixture(scope="module")
def commands() -> dict[str, set[str]]:
    """Command → its options, as typer knows them."""
    return dict(_walked(typer.main.get_command(root.app), "headrace"))


def _walked(command: Any, name: str) -> Iterator[tuple[str, set[str]]]:
    below = getattr(command, "commands", None)
    for word, inner in (below or {}).items():
        yield from _walked(inner, f"{name} {word}")
    if not below:
        yield name, {option for parameter in command.params for option in parameter.opts if option.startswith("-")}


def test_evaluate_measures_compares_keeps_and_drafts(app: Headrace, acme: str, call: Run, page: Path, tmp_path: Path) -> None:
    call("publish", "--tenant", acme, str(page))
    call("ingest", "--tenant", acme)
    queries, judgements, before = tmp_path / "queries.jsonl", tmp_path / "judgements.tsv", tmp_path / "before.json"
    queries.write_text('{"_id": "q1", "text": "when is the seal inspected"}\n{"_id": "q2", "text": "nothing"}\n', encoding="utf-8")
    judgements.write_text("query-id\tcorpus-id\tscore\nq1\tpage.md\t1\n", encoding="utf-8")
    files = ["--queries", str(queries), "--judgements", str(judgements)]
    code, shown, _ = call("evaluate", "--tenant", acme, *files, "--against", "lexical", "--keep", "--json")
    assert (code, shown["queries"], shown["unjudged"]) == (0, 1, 1)
    assert shown["means"]["lexical"]["ndcg_at_10"] == {"mean": 1.0, "low": None, "high": None}
    assert [one["against"] for one in shown["compared"]] == ["lexical"] * (len(shown["means"]) - 1)
    before.write_text(json.dumps(shown), encoding="utf-8")
    printed = call("evaluate", "--tenant", acme, *files, "--against", str(before))[1]
    assert "1 judged queries" in printed
    assert "lexical less lexical earlier" in printed
    assert call("evaluate", "--tenant", acme, "--mode", "lexical", "--json")[1]["values"]["lexical"]["map"] == {
        "when is the seal inspected": 1.0
    }
    assert call("evaluate", "--tenant", acme, "--queries", str(queries))[0] == 2
    assert call("evaluate", "--tenant", acme, *files, "--against", str(queries))[0] == 2
    assert call("evaluate", "--tenant", acme, "--suggest", "3")[0] == 2
    assert call("evaluate", "--tenant", acme, "--suggest", "3", *files)[0] == 2
    drafts = ["--queries", str(tmp_path / "new.jsonl"), "--judgements", str(tmp_path / "new.tsv")]
    assert call("evaluate", "--tenant", acme, "--suggest", "3", *drafts, "--json")[:2] == (0, {"tenant": acme, "drafts": 0})
    assert (tmp_path / "new.tsv").read_text(encoding="utf-8") == "query-id\tcorpus-id\tscore\n"


def test_reindex_switches_shows_the_comparison_and_goes_back(app: Headrace, acme: str, call: Run, page: Path, tmp_path: Path) -> None:
    call("publish", "--tenant", acme, str(page))
    call("ingest", "--tenant", acme)
    assert call("reindex", "--tenant", acme, "--status", "--json")[:2] == (0, None)
    queries = tmp_path / "queries.jsonl"
    queries.write_text('{"query": "when is the seal inspected", "judgements": {"page.md": 1}}\n', encoding="utf-8")
    assert call("reindex", "--tenant", acme, "--queries", str(queries), "--json")[:2] == (0, None)
    code, shown, _ = call("reindex", "--tenant", acme, "--chunker", "fixed", "--json")
    assert (code, shown["state"], shown["reason"], shown["documents"], shown["of"]) == (0, "standby", "switched", 1, 1)
    assert [measure["name"] for measure in shown["comparison"]["measures"]] == ["recall@10", "overlap@10", "nDCG@10"]
    assert (shown["comparison"]["queries"], shown["comparison"]["judged"]) == (1, 1)
    printed = call("reindex", "--tenant", acme, "--status")[1]
    assert "Compared on 1 canary queries, 1 of them judged" in printed
    assert call("reindex", "--tenant", acme, "--rollback", "--json")[1]["reason"] == "rolled-back"
    assert app.session(acme).policy.chunking.strategy == "structure"
    assert call("reindex", "--tenant", acme, "--chunker", "structure")[0] == 1
    assert call("reindex", "--tenant", acme, "--chunker", "magic")[0] == 2
    assert call("reindex", "--tenant", acme, "--rollback", "--chunker", "fixed")[0] == 2
    queries.write_text("nothing", encoding="utf-8")
    assert call("reindex", "--tenant", acme, "--queries", str(queries))[0] == 2


def test_every_command_takes_json(commands: Mapping[str, set[str]]) -> None:
    assert [name for name, options in commands.items() if "--json" not in options] == []


def test_the_page_has_every_command_with_exactly_its_options(commands: Mapping[str, set[str]]) -> None:
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^### (headrace [a-z -]+)\n(.*?)(?=^##|\Z)", text, re.MULTILINE | re.DOTALL))
    assert sections.keys() == commands.keys()
    result = {name: set(re.findall(r"`(--?[a-z-]+)`", _options(section))) for name, section in sections.items()}
    # options of every command are documented once
    assert result == {name: options - {"--json", "--help", "-h"} for name, options in commands.items()}


def _options(section: str) -> str:
    """The first column of the section's table of options."""
    return "\n".join(row.split("|")[1] for row in section.splitlines() if row.startswith("| `-"))


def test_the_page_has_exactly_the_exit_codes_of_the_code() -> None:
    text = (DOCS / "cli.md").read_text(encoding="utf-8")
    table = text.split("## Exit codes")[1].split("\n## ")[0]
    result = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    kinds = {exit_codes.exit_code(kind("detail")) for kind in (HeadraceError, ConfigurationError, Unavailable, TenantError)}
    assert result == {
        0,
        exit_codes.ANSWER_IS_NO,
        exit_codes.BUG,
        exit_codes.INTERRUPTED,
        exit_codes.IN_PART,
        exit_codes.NOT_WELL,
        *kinds,
        *exit_codes.BY_REASON.values(),
    }


def test_the_page_has_exactly_the_reason_codes_of_the_code() -> None:
    text = (DOCS / "cli.md").read_text(encoding="utf-8").split("## Reason codes")[1]
    result = [code for row in re.findall(r"^\| (`.+?) \|", text, re.MULTILINE) for code in re.findall(r"`([a-z-]+)`", row)]
    assert sorted(result) == sorted(set(result))
    assert set(result) == _reasons()


def _reasons() -> set[str]:
    """Every reason code of an error, a dead letter or a row in our source."""
    found: set[str] = set()
    for package in ("core", "events", "parsers", "privacy", "chunkers", "embedders", "index", "retrieval", "graph", "quality", "services"):
        found |= _literal_reasons(ROOT / package)
    found |= _literal_reasons(ROOT / "pipelines")
    constants = [import_module(name) for name in ("events.contract", "events.fetch.limits", "events.kafka.client")]
    found |= {value for module in constants for value in _codes(module)}
    return found | set(REASONS) | set(REFUSALS) | {TIMED_OUT, "bug", "system-error"}


def _literal_reasons(folder: Path) -> set[str]:
    source = "\n".join(path.read_text(encoding="utf-8") for path in folder.rglob("*.py"))
    return set(re.findall(r'(?:reason"?(?:: str)? ?[=:] ?|Refusal\(\s*)"([a-z-]+)"', source))


def _codes(module: types.ModuleType) -> set[str]:
    named = {name: value for name, value in vars(module).items() if name.isupper() and isinstance(value, str) and "HEADER" not in name}
    return {value for value in named.values() if re.fullmatch(r"[a-z]+(-[a-z]+)+", value)}


def test_the_configuration_page_has_exactly_the_keys_and_defaults() -> None:
    rows = re.findall(r"^\| `([a-z0-9_.]+)` \| .+? \| (.+?) \|", (DOCS / "configuration.md").read_text(encoding="utf-8"), re.MULTILINE)
    defaults = dict(_defaults(Settings, ""))
    defaults["parsing.workers"] = "the cores there are"
    assert dict(rows) == defaults


def _defaults(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _defaults(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, _default(field.get_default(call_default_factory=True))


def _default(value: Any) -> str:
    if value is None:
        return "none"
    return f"`{[] if value == () else f'{value:g}' if isinstance(value, float) else value}`"


def test_links_between_pages_have_targets() -> None:
    for page in DOCS.glob("*.md"):
        for target in re.findall(r"\]\((?!https?:)([^)#]*)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert not target or (page.parent / target).exists(), (page.name, target)
