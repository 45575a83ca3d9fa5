"""The audit log: append-only, tamper-evident, and it records who did what without a value."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors

from core.config import Settings
from core.errors import HeadraceError, LostRace
from pipelines import cli
from pipelines.app import Headrace
from pipelines.governance import actor, audit, tenants
from services import passwords
from services.files import layout

Superuser = psycopg.Connection[tuple[Any, ...]]


@pytest.fixture
def superuser(app: Headrace) -> Iterator[Superuser]:
    password = passwords.read(layout(app.settings))["postgres_superuser"].get_secret_value()
    where = app.endpoints.postgres_owner.get_secret_value().split("@")[1]
    with psycopg.connect(f"postgresql://postgres:{password}@{where}", autocommit=True) as connection:
        yield connection


def entries(app: Headrace, tenant: str) -> list[tuple[str, str, dict[str, Any]]]:
    """(action, state, details), oldest first."""
    return [(entry["action"], entry["state"], entry["details"]) for entry in reversed(audit.entries(app, tenant))]


# --- entries


def test_an_act_is_recorded_before_it_begins_and_when_it_is_over(app: Headrace, tenant: str) -> None:
    with audit.recorded(app, "replay", tenant, of="topic") as act:
        assert entries(app, tenant) == [("replay", "begun", {"of": "topic"})]
        act.details.update(events=3)
    assert entries(app, tenant)[1:] == [("replay", "done", {"of": "topic", "events": 3})]


def test_a_failed_act_is_recorded_with_its_reason_and_without_its_message(app: Headrace, tenant: str) -> None:
    with suppress(HeadraceError), audit.recorded(app, "erase", tenant):
        raise HeadraceError("it says Ottilie Vanderbeek", reason="unknown-document")
    with suppress(ValueError), audit.recorded(app, "erase", tenant):
        raise ValueError("Ottilie Vanderbeek")
    assert [state for _, state, _ in entries(app, tenant)] == ["begun", "failed"] * 2
    assert [details for _, state, details in entries(app, tenant) if state == "failed"] == [
        {"reason": "unknown-document"},
        {"reason": "ValueError"},
    ]


def test_an_act_that_cannot_be_recorded_does_not_begin(app: Headrace, tenant: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "ATTEMPTS", 0)
    with pytest.raises(LostRace), audit.recorded(app, "erase", tenant):
        pytest.fail("it began")


def test_an_entry_has_the_login_and_the_claimed_name(app: Headrace, tenant: str) -> None:
    actor.claim("Alma")
    try:
        audit.note(app, "dismiss", tenant, "done", {})
    finally:
        actor.claim(None)
    audit.note(app, "dismiss", tenant, "done", {})
    second, first = (entry["actor"] for entry in audit.entries(app, tenant))
    assert first == second | {"as": "Alma"}
    assert second["login"]


@pytest.mark.parametrize("name", ["", " ", "a\nb", "a" * 201, "a\0"])
def test_an_empty_or_unprintable_name_is_refused(name: str) -> None:
    with pytest.raises(HeadraceError) as refused:
        actor.claim(name)
    assert refused.value.reason == "bad-actor"


# --- the chain


def test_concurrent_writers_lose_no_entry_and_keep_the_chain_whole(app: Headrace, tenant: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        marks = list(pool.map(lambda number: audit.note(app, "replay", tenant, "done", {"number": number}), range(40)))
    assert len({mark.number for mark in marks}) == 40
    assert sorted(details["number"] for _, _, details in entries(app, tenant)) == list(range(40))
    verdict = audit.verify(app, marks[0])
    assert (verdict.whole, verdict.why) == (True, None)
    assert verdict.last == str(max(marks, key=lambda mark: mark.number))


@contextmanager
def tampered(superuser: Superuser, change: str, undo: str, *values: Any) -> Iterator[None]:
    """A change that only a superuser can make, undone when the block ends."""
    superuser.execute("SET session_replication_role = replica")
    superuser.execute(change, values)
    try:
        yield
    finally:
        superuser.execute(undo, values)


def test_an_entry_that_was_changed_or_taken_out_is_named(app: Headrace, superuser: Superuser, tenant: str) -> None:
    mark = audit.note(app, "erase", tenant, "done", {"documents": 3})
    last = audit.note(app, "erase", tenant, "done", {"documents": 4})
    superuser.execute("CREATE TEMP TABLE kept AS SELECT number, entry, hash, seal FROM headrace.audit")
    put_back = "INSERT INTO headrace.audit (number, entry, hash, seal) SELECT * FROM kept WHERE number = %s ON CONFLICT DO NOTHING"
    entry = "UPDATE headrace.audit a SET entry = {} FROM kept k WHERE k.number = a.number AND a.number = %s"
    with tampered(superuser, entry.format("replace(a.entry, ':3}', ':2}')"), entry.format("k.entry"), mark.number):
        assert (audit.verify(app).broken_at, audit.verify(app).whole) == (mark.number, False)
    with tampered(superuser, "DELETE FROM headrace.audit WHERE number = %s", put_back, mark.number):
        assert audit.verify(app).broken_at == mark.number
    with tampered(superuser, "DELETE FROM headrace.audit WHERE number = %s", put_back, last.number):
        assert audit.verify(app).whole, "the chain itself does not show that its end was cut off"
        assert (audit.verify(app, last).whole, audit.verify(app, mark).whole) == (False, True)
    assert audit.verify(app, last).whole


def test_an_entry_that_this_installation_did_not_write_is_named(app: Headrace, superuser: Superuser, tenant: str) -> None:
    last = audit.note(app, "erase", tenant, "done", {})
    add = "SELECT headrace.add_audit(%s, '{}', 'no seal')"
    with app.database.control() as connection:
        connection.execute(add, (last.number + 1,))
    with tampered(superuser, "SELECT %s", "DELETE FROM headrace.audit WHERE number > %s", last.number):
        verdict = audit.verify(app)
        assert (verdict.broken_at, verdict.why) == (last.number + 1, "the seal was not made with this installation's master key")
    assert audit.verify(app).whole


def test_a_mark_is_written_as_it_is_read(app: Headrace, tenant: str) -> None:
    mark = audit.note(app, "erase", tenant, "done", {})
    assert audit.parse_mark(str(mark)) == mark
    for bad in ("", "1", "x:00", "1:00", "1:" + "g" * 64):
        with pytest.raises(HeadraceError) as refused:
            audit.parse_mark(bad)
        assert refused.value.reason == "bad-mark"


# --- privileges

CHANGES = ("UPDATE headrace.audit SET entry = '{}'", "DELETE FROM headrace.audit", "TRUNCATE headrace.audit")
WRITE = "INSERT INTO headrace.audit (number, entry, hash, seal) VALUES (1000000, '{}', '', '')"


def test_nobody_changes_or_removes_an_entry_not_even_the_owner(app: Headrace, superuser: Superuser, acme: str) -> None:
    audit.note(app, "erase", acme, "done", {})
    for pooled in (app.database.control(), app.database.tenant(acme), app.readers.control(), app.readers.tenant(acme)):
        with pooled as connection:
            for statement in (*CHANGES, WRITE):
                with pytest.raises(errors.InsufficientPrivilege), connection.transaction():
                    connection.execute(statement)
    with psycopg.connect(app.endpoints.postgres_owner.get_secret_value()) as owner:
        for statement in CHANGES:
            with pytest.raises(errors.InsufficientPrivilege), owner.transaction():
                owner.execute(statement)
    for statement in CHANGES:
        with pytest.raises(errors.InsufficientPrivilege, match="added to"):
            superuser.execute(statement)


def test_only_the_pipelines_own_login_adds_and_only_behind_the_last_entry(app: Headrace, acme: str) -> None:
    last = audit.note(app, "erase", acme, "done", {})
    add = "SELECT headrace.add_audit(%s, '{}', '')"
    for pooled in (app.database.tenant(acme), app.readers.control(), app.readers.tenant(acme)):
        with pooled as connection, pytest.raises(errors.InsufficientPrivilege), connection.transaction():
            connection.execute(add, (last.number + 1,))
    with app.database.control() as connection:
        for place in (last.number + 2, 0):
            with pytest.raises(psycopg.Error), connection.transaction():
                connection.execute(add, (place,))
        assert connection.execute(add, (last.number,)).fetchall() == [{"add_audit": None}], "the place is taken"


def test_a_tenants_role_reads_its_own_entries_and_no_others(app: Headrace, acme: str, globex: str) -> None:
    for tenant in (acme, globex):
        audit.note(app, "erase", tenant, "done", {"of": tenant})
    audit.note(app, "erase", None, "done", {})
    with app.database.tenant(acme) as connection:
        rows = connection.execute("SELECT entry FROM headrace.own_audit()").fetchall()
        with pytest.raises(errors.InsufficientPrivilege), connection.transaction():
            connection.execute("TABLE headrace.audit")
    assert {json.loads(row["entry"])["tenant"] for row in rows} == {acme}
    for pooled in (app.readers.tenant(acme), app.database.control(), app.readers.control()):
        with pooled as connection:
            assert connection.execute("SELECT FROM headrace.own_audit()").fetchall() == []


def test_the_log_outlives_its_tenant_and_one_of_the_same_name_does_not_read_it(app: Headrace, acme: str) -> None:
    audit.note(app, "erase", acme, "done", {"documents": 7})
    tenants.remove(app, acme)
    assert ("erase", "done", {"documents": 7}) in entries(app, acme)
    tenants.add(app, acme)
    with app.database.tenant(acme) as connection:
        assert connection.execute("SELECT FROM headrace.own_audit()").fetchall() == []
    assert audit.verify(app).whole


# --- on the command line

Run = Callable[..., tuple[int, Any]]


@pytest.fixture
def call(settings: Settings, app: Headrace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command on this session's servers; returns its exit code and its JSON output."""
    path = tmp_path / "headrace.toml"
    path.write_text(f'data_dir = "{settings.data_dir}"\n', encoding="utf-8")
    monkeypatch.setenv("HEADRACE_CONFIG", str(path))

    def run(*arguments: str) -> tuple[int, Any]:
        code, captured = cli.run([*arguments, "--json"]), capsys.readouterr()
        return code, json.loads(captured.out or captured.err)

    return run


def test_commands_are_recorded_without_values(call: Run, app: Headrace, tenant: str) -> None:
    call("--as", "Alma", "tenant", "add", tenant, "reading.pdf=text")
    call("tenant", "set", tenant, "retention.landed_days=90", "reading.pdf=text")
    call("tenant", "set", tenant, "retention.legal_hold=true")
    assert call("tenant", "remove", tenant, "--yes")[0] == 1
    call("tenant", "set", tenant, "retention.legal_hold=false")
    call("dead-letters", "dismiss", "--tenant", tenant, "0:0")
    call("replay", "dead-letters", "--tenant", tenant)
    call("replay", "topic", "--tenant", tenant, "--from-offset", "0")
    call("tenant", "remove", tenant, "--yes")
    code, listed = call("audit", "list", "--tenant", tenant)
    assert (code, len(listed)) == (0, 18)
    listed.reverse()
    assert [(entry["action"], entry["state"]) for entry in listed[1::2]] == [
        ("tenant-add", "done"),
        ("tenant-set", "done"),
        ("legal-hold", "done"),
        ("tenant-remove", "failed"),
        ("legal-hold", "done"),
        ("dismiss", "failed"),
        ("replay", "done"),
        ("replay", "done"),
        ("tenant-remove", "done"),
    ]
    assert [entry["actor"].get("as") for entry in listed] == ["Alma"] * 2 + [None] * 16
    assert listed[3]["details"] == {"settings": ["retention.landed_days"]}
    assert [entry["details"]["held"] for entry in listed if entry["action"] == "legal-hold" and entry["state"] == "done"] == [True, False]
    assert listed[7]["details"]["reason"] == "legal-hold"
    assert call("--as", " ", "audit", "list")[0] == 2


def test_the_chain_is_verified_by_command(call: Run, app: Headrace, superuser: Superuser, tenant: str) -> None:
    mark = audit.note(app, "erase", tenant, "done", {})
    code, output = call("audit", "verify", "--mark", str(mark))
    assert (code, output["whole"], output["last"]) == (0, True, str(mark))
    assert call("audit", "verify", "--mark", "1:2")[0] == 2
    assert call("audit", "verify", "--mark", f"{mark.number}:{'0' * 64}")[0] == 1


def test_a_subjects_value_comes_by_standard_input_and_its_receipt_is_verified(
    call: Run, app: Headrace, acme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = tmp_path / "receipt.json"
    monkeypatch.setattr(sys, "stdin", io.StringIO("jane.roe@example.com\n"))
    code, output = call("erase", "--tenant", acme, "--subject", "--receipt", str(receipt))
    assert (code, output["documents"]) == (0, 0)
    assert call("erase", "--verify", str(receipt)) == (0, {"verified": True, "signature": True, "audit": True, **_NOTHING})
    receipt.write_text(receipt.read_text(encoding="utf-8").replace('"documents": 0', '"documents": 1'), encoding="utf-8")
    assert call("erase", "--verify", str(receipt))[0] == 1
    receipt.write_text("no receipt", encoding="utf-8")
    assert call("erase", "--verify", str(receipt))[0] == 2
    assert call("erase", "--tenant", acme, "--everything", "--yes", "--receipt", str(tmp_path / "all.json"))[0] == 0
    assert call("erase", "--verify", str(tmp_path / "all.json"))[0] == 0


_TABLES = ("envelopes", "events", "outcomes", "artifacts", "chunk_sources", "chunks", "cached_vectors", "citations")
_NOTHING = {"stores": dict.fromkeys((*_TABLES, "dead_letters", "stage_records", "claims", "graph"), 0), "came_back": 0}


@pytest.mark.parametrize(
    "arguments",
    ["--tenant T page", "--receipt R page", "--tenant T --receipt R", "--tenant T --receipt R page --source s", "--tenant T --verify ME"],
)
def test_an_ambiguous_erasure_is_a_wrong_call(arguments: str) -> None:
    assert cli.run(["erase", *arguments.replace("ME", __file__).split()]) == 2
