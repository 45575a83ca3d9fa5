"""Commands over every tenant, some of whom are in trouble: the others are done, and the output and the exit code say so."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest
from pydantic import SecretStr

from core.errors import HeadraceError
from core.ledger.stage import Report
from core.schema.migrate import configure_tenant, owner
from events.kafka.topics import delete_topics
from pipelines import cli
from pipelines.cli import attempts, exit_codes
from pipelines.dagster.freshness_sensor import freshness_sensor
from pipelines.dagster.reporter import Reporter
from pipelines.dagster.runtime import Runtime
from pipelines.dagster.schedules import retention_schedule
from pipelines.dagster.sensors import lag_sensor
from pipelines.each_tenant import Attempt
from pipelines.governance import master_key
from pipelines.governance.tenants import add, configure
from pipelines.operations.search import ask
from tests.tenant_fixture import own_postgres, publish, servers_of

PAGE = "# Seals\n\nThe shaft seal of the pump is inspected once a year.\n"
TROUBLES = {"a-model": "bad-policy", "b-topic": "unknown-topic", "c-key": "cannot-decrypt", "d-bug": "bug"}
"""Each tenant in trouble, before the one that is well, and the reason of what needs what it lacks."""
WELL = "e-well"

Run = Callable[..., Any]


@pytest.fixture(scope="module")
def own(app: Runtime, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Runtime]:
    """A Postgres of this module's own: no other test's tenant is in trouble here. The session's models."""
    given = {"data_dir": tmp_path_factory.mktemp("trouble"), **servers_of(app)}
    (given["data_dir"] / "headrace.toml").write_text(_toml(given), encoding="utf-8")
    with own_postgres(app, given) as headrace:
        _make(headrace)
        yield headrace


def _toml(given: dict[str, Any]) -> str:
    sections = {name: section for name, section in given.items() if isinstance(section, dict)}
    lines = [f"[{name}]\n" + "".join(f'{key} = "{value}"\n' for key, value in section.items()) for name, section in sections.items()]
    return "\n".join([f'data_dir = "{given["data_dir"]}"', *lines])


def _make(headrace: Runtime) -> None:
    for tenant in (*TROUBLES, WELL):
        add(headrace, tenant)
        publish(headrace, tenant, page_md=PAGE)
        configure(headrace, tenant, retention={"events_days": 1})
    url = headrace.owner_url
    configure_tenant(url, "a-model", {"privacy": {"profile": "names", "names_model": "/there/is/no/such/model"}})
    delete_topics(headrace.endpoints.kafka_client(), "b-topic")
    with owner(url) as connection:
        connection.execute("UPDATE headrace.tenant SET wrapped_key = decode(repeat('00', 60), 'hex') WHERE tenant = 'c-key'")
    # sealed by nobody: what opens it foresees no such thing
    configure_tenant(url, "d-bug", {"privacy": {"deny": {"sealed": "not base64", "values": 1}}})


@pytest.fixture
def call(own: Runtime, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command in this process; returns its exit code, standard output (read as JSON with `--json`) and standard error."""
    monkeypatch.setenv("HEADRACE_CONFIG", str(own.settings.data_dir / "headrace.toml"))

    def run(*arguments: str) -> tuple[int, Any, str]:
        code, captured = cli.run(arguments), capsys.readouterr()
        return code, json.loads(captured.out) if "--json" in arguments and captured.out else captured.out, captured.err

    return run


def reasons(rows: Any) -> dict[str, str | None]:
    """Tenant → the reason of its error."""
    return {row["tenant"]: row["error"] and row["error"]["reason"] for row in rows}


def expected(*in_trouble: str) -> dict[str, str | None]:
    return {**dict.fromkeys([*TROUBLES, WELL]), **{tenant: TROUBLES[tenant] for tenant in in_trouble}}


def test_ingest_does_everybody_else_and_says_who_is_in_trouble(call: Run, own: Runtime) -> None:
    code, found, said = call("ingest", "--json")
    assert (code, said) == (exit_codes.BUG, "")
    assert {tenant: result["error"] and result["error"]["reason"] for tenant, result in found.items()} == expected(*TROUBLES)
    assert ask(own, WELL, "shaft seal")
    assert all(result["error"] is None or (result["error"]["detail"] and result["error"]["next"]) for result in found.values())
    code, printed, said = call("ingest")
    assert code == exit_codes.BUG
    table = {line.split()[0]: line for line in printed.partition("Tenants")[2].splitlines() if line.strip()}
    for tenant, reason in TROUBLES.items():
        assert reason in table[tenant]
        assert f"headrace: {tenant}: " in said
    assert WELL in table


def test_one_tenants_ingest_ends_with_its_own_error(call: Run) -> None:
    for tenant, code in {"a-model": 2, "b-topic": 1, "d-bug": 70}.items():
        ended, printed, said = call("ingest", "--tenant", tenant, "--json")
        assert (ended, printed, json.loads(said)["reason"]) == (code, "", TROUBLES[tenant])


def test_status_shows_everybody_and_what_is_not_known_of_whom(call: Run) -> None:
    code, found, _ = call("status", "--json")
    assert code == exit_codes.BUG
    # nothing is redacted, so no model is missed
    assert reasons(found["tenants"]) == expected("b-topic", "c-key", "d-bug")
    assert all(row["documents"] is not None for row in found["tenants"])
    code, printed, _ = call("status")
    assert "Tenants in trouble" in printed
    assert "unknown-topic" in printed


def test_the_doctor_tries_each_tenants_policy_key_and_topic_and_names_the_tenant(call: Run) -> None:
    code, found, _ = call("doctor", "--json")
    problems = [finding for finding in found if not finding["well"]]
    assert code == exit_codes.NOT_WELL
    assert {(finding["what"], finding["found"].partition(": ")[0]) for finding in problems} == {
        ("master key and tenants' keys", "c-key"),
        ("tenants' settings", "c-key"),
        ("tenants' settings", "d-bug"),
        ("tenants' models", "a-model"),
        ("tenants' topics", "b-topic"),
    }
    assert all(finding["remedy"] for finding in problems)


def test_every_other_command_over_tenants_goes_on(call: Run) -> None:
    for words in (("retention",), ("replay", "dead-letters")):
        code, rows, _ = call(*words, "--json")
        assert (code, {tenant: reason for tenant, reason in reasons(rows).items() if reason}) == (
            exit_codes.BUG,
            {tenant: TROUBLES[tenant] for tenant in ("c-key", "d-bug")},
        )
        assert "headrace: c-key: " in call(*words)[2]
    code, rows, _ = call("tenant", "list", "--json")
    assert (code, reasons(rows)) == (0, expected())
    assert call("migrate", "--json")[:2] == (0, {"applied": [], "troubles": []})


def test_a_change_of_the_master_key_is_of_everybody_or_nobody_and_names_who_prevents_it(own: Runtime) -> None:
    before = [tenant.wrapped_key for tenant in own.tenants()]
    with pytest.raises(HeadraceError, match=r"cannot-decrypt.*'c-key'"):
        master_key.rewrap(own, SecretStr("A" * 43 + "="))
    assert [tenant.wrapped_key for tenant in own.tenants()] == before


def test_with_debug_what_nobody_foresaw_is_raised_once_the_others_are_done(call: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_DEBUG", "1")
    with pytest.raises(HeadraceError, match="bug") as raised:
        call("retention")
    assert isinstance(raised.value.__cause__, ValueError)


@pytest.mark.parametrize(
    ("errors", "code"),
    [
        ([None, None], 0),
        ([None, "bad-policy"], 7),
        (["bad-policy", "bad-policy"], 7),
        ([None, "servers-unavailable"], 7),
        (["servers-unavailable", "servers-unavailable"], 4),
        (["servers-unavailable", "bad-policy"], 7),
        ([None, "bug"], 70),
        (["servers-unavailable", "bug"], 70),
    ],
)
def test_the_exit_code_says_whether_everybody_was_done(errors: list[str | None], code: int) -> None:
    made: list[Attempt[None]] = [Attempt(str(n), error=HeadraceError("", reason=e) if e else None) for n, e in enumerate(errors)]
    assert attempts.code(made) == code


# Dagster


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.local_temp(overrides={"telemetry": {"enabled": False}}) as temporary:
        temporary.add_dynamic_partitions("tenants", [*TROUBLES, WELL])
        yield temporary


def test_sensors_and_the_schedule_ask_for_everybody_else(own: Runtime, instance: dg.DagsterInstance) -> None:
    publish(own, WELL, 2, page_md=PAGE.replace("once", "twice"))
    lag = lag_sensor(dg.build_sensor_context(instance=instance), headrace=own)
    assert isinstance(lag, dg.SensorResult)
    assert [request.partition_key for request in lag.run_requests or []] == ["a-model", WELL]
    freshness = freshness_sensor(dg.build_sensor_context(instance=instance), headrace=own)
    assert isinstance(freshness, dg.SensorResult)
    now = dg.build_schedule_context(instance=instance, scheduled_execution_time=datetime.now(UTC))
    requests: Any = retention_schedule(now, headrace=own)
    assert {request.partition_key for request in requests} == {*TROUBLES, WELL}


def test_a_stream_warms_what_works(own: Runtime) -> None:
    own.warm()


def test_a_tenant_that_cannot_be_reported_delays_no_other(own: Runtime) -> None:
    heard: list[Any] = []
    observer = Reporter(own, heard.append, lambda *_: None)
    for tenant in ("c-key", "d-bug", WELL):
        observer.ran(tenant, Report("parse", tenant, done=1))
    observer.report(0.0)
    assert [event.partition for event in heard] == [WELL]
