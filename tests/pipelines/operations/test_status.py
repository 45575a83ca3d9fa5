"""Status: lag in events and seconds, rates, failures, freshness against the tenant's own target, due maintenance, slots."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from confluent_kafka import Producer

from core.config import Settings
from core.errors import ConfigurationError, HeadraceError, PolicyError, TenantError, Unavailable
from core.freshness import target_s
from events.contract import topic_of
from events.kafka.ages import published_at
from events.positions import dismiss
from pipelines import cli
from pipelines.app import Headrace
from pipelines.governance import surrogate_keys, tenants
from pipelines.operations import explain, status
from pipelines.operations.checks import check
from pipelines.operations.lag import Lag, lag, unlanded
from pipelines.stream import slots
from tests.tenant_fixture import keep_publishers_timestamps, publish

PAGE = "# Seals\n\nThe shaft seal of the {} is inspected once a year.\n"
CORRUPT = b"PK\x03\x04 cut off"


@pytest.fixture
def kafkaless(settings: Settings, app: Headrace) -> Iterator[Headrace]:
    """Headrace whose login Kafka refuses."""
    wrong = app.endpoints.model_copy(update={"kafka_username": "nobody"})
    with Headrace(settings, wrong) as headrace:
        yield headrace


def publish_as_of(app: Headrace, tenant: str, ago_s: float, partition: int = 0, name: str = "old") -> None:
    """A delete of a document, with a timestamp of that long ago."""
    keep_publishers_timestamps(app, tenant)
    then_ms = int((datetime.now(UTC) - timedelta(seconds=ago_s)).timestamp() * 1000)
    producer = Producer(app.endpoints.kafka_client())
    producer.produce(topic_of(tenant), None, name.encode(), partition=partition, timestamp=then_ms)
    assert producer.flush(10) == 0


def row(app: Headrace, tenant: str) -> status.TenantStatus:
    return next(attempt.done for attempt in status.tenants(app) if attempt.tenant == tenant)


def reason(app: Headrace, tenant: str) -> str | None:
    error = row(app, tenant).error
    return error.reason if error else None


def dead_letter(app: Headrace, tenant: str, reason: str, offset: int = 7) -> None:
    with app.session(tenant).transaction() as connection:
        connection.execute(
            "INSERT INTO dead_letter (kafka_partition, kafka_offset, stage, reason, detail) VALUES (0, %(at)s, 'land', %(reason)s, '')",
            {"at": offset, "reason": reason},
        )


def test_a_tenant_without_events_is_fresh(app: Headrace, acme: str) -> None:
    found = row(app, acme)
    assert (found.not_landed, found.not_indexed, found.lag_s, found.oldest_unprocessed) == (0, 0, 0.0, None)
    assert (found.fresh, found.freshness_seconds, found.failures, found.outcomes_waiting) == (True, 300.0, {}, 0)


def test_status_follows_an_event_from_kafka_to_the_index(app: Headrace, acme: str) -> None:
    publish(app, acme, None, page=PAGE.format("pump"), other=PAGE.format("turbine"), torn=CORRUPT)
    unread = row(app, acme)
    assert (unread.not_landed, unread.not_indexed, unread.documents) == (3, 0, 0)
    assert unread.lag_s is not None
    assert 0 < unread.lag_s < 60
    app.land(acme)
    landed = row(app, acme)
    assert (landed.not_landed, landed.not_indexed, landed.landed_per_min, landed.indexed_per_min) == (0, 3, 0.6, 0.0)
    assert landed.oldest_unprocessed == unread.oldest_unprocessed
    app.ingest(acme)
    done = row(app, acme)
    assert (done.not_landed, done.not_indexed, done.lag_s, done.indexed_per_min) == (0, 0, 0.0, 0.4)
    assert (done.failures, done.outcomes_waiting, done.fresh) == ({"corrupt-document": 1}, 0, True)


def test_the_oldest_unread_event_counts_over_all_partitions(app: Headrace, acme: str) -> None:
    for partition, ago_s in enumerate((50, 500, 5)):
        publish_as_of(app, acme, ago_s, partition)
        publish_as_of(app, acme, 1, partition, name="young")
    found = lag(app, acme)
    assert (found.events, found.documents) == (6, 0)
    assert found.seconds == pytest.approx(500, abs=20)


def test_what_landed_and_waits_counts_beside_what_has_not(app: Headrace, acme: str) -> None:
    publish_as_of(app, acme, 5)
    app.land(acme)
    with app.session(acme).transaction() as connection:
        connection.execute("UPDATE document SET received_at = now() - interval '1 hour'")
    publish(app, acme, None, page=PAGE.format("pump"))
    found = lag(app, acme)
    assert (found.events, found.documents) == (1, 1)
    assert found.seconds == pytest.approx(3600, abs=20)


def test_a_tenant_whose_topic_is_gone_is_not_called_fresh_and_its_neighbours_are(app: Headrace, acme: str, globex: str) -> None:
    from events.kafka.topics import delete_topics

    delete_topics(app.endpoints.kafka_client(), acme)
    assert (row(app, acme).not_landed, row(app, acme).lag_s, row(app, acme).fresh) == (None, None, None)
    assert reason(app, acme) == "unknown-topic"
    assert (row(app, globex).not_landed, row(app, globex).fresh, row(app, globex).error) == (0, True, None)
    with pytest.raises(HeadraceError, match="unknown-topic"):
        lag(app, acme)


def test_without_kafka_status_says_what_postgres_knows(kafkaless: Headrace, app: Headrace, acme: str) -> None:
    publish(app, acme, None, page=PAGE.format("pump"))
    app.land(acme)
    found = row(kafkaless, acme)
    assert (found.not_landed, found.not_indexed, found.fresh) == (None, 1, None)
    assert found.lag_s is not None
    assert found.lag_s < 60


def test_all_tenants_are_asked_of_kafka_at_once(app: Headrace, new_tenant: Callable[[], str]) -> None:
    names = [new_tenant() for _ in range(3)]
    publish(app, names[0], None, page=PAGE.format("pump"))
    found = unlanded(app, names)
    assert [found[name].events for name in names] == [1, 0, 0]
    assert unlanded(app, []) == {}


def test_a_topic_that_is_deleted_meanwhile_hides_its_own_tenant_alone(app: Headrace, new_tenant: Callable[[], str]) -> None:
    from events.kafka.topics import delete_topics

    topics = sorted(topic_of(new_tenant()) for _ in range(5))
    delete_topics(app.endpoints.kafka_client(), topics[1].removeprefix("documents."))
    assert {topic for topic, _ in app.reader.answered_high_watermarks(topics)} == {*topics[:1], *topics[2:]}


def test_a_timestamp_from_the_future_is_now(app: Headrace, acme: str) -> None:
    publish_as_of(app, acme, -1800)
    (at,) = published_at(app.endpoints.kafka_client(), {(topic_of(acme), 0): 0}).values()
    assert at <= datetime.now(UTC)


def test_a_partition_without_a_record_has_no_age(app: Headrace, acme: str) -> None:
    publish_as_of(app, acme, 30, partition=1)
    places = {(topic_of(acme), partition): 0 for partition in range(3)}
    assert published_at(app.endpoints.kafka_client(), places).keys() == {(topic_of(acme), 1)}


@pytest.mark.parametrize(
    ("oldest_s", "events", "fresh"), [(None, 0, True), (9, 1, True), (99, 1, False), (99, None, False), (9, None, None), (None, 3, None)]
)
def test_an_unknown_lag_is_not_called_fresh(oldest_s: float | None, events: int | None, fresh: bool | None) -> None:
    oldest = None if oldest_s is None else datetime.now(UTC) - timedelta(seconds=oldest_s)
    assert Lag(events, 0, oldest).fresh(60) is fresh


# --- maintenance


def test_maintenance_that_is_due_is_named_until_it_is_done(call: Callable[..., Any], app: Headrace, acme: str) -> None:
    publish(app, acme, None, page=PAGE.format("pump"))
    app.ingest(acme)
    assert row(app, acme).maintenance == ()
    surrogate_keys.rotate(app, acme)
    assert "end-of-rotation" in row(app, acme).maintenance
    assert re.search(rf"Maintenance due.*{acme} +[a-z, -]*end-of-rotation", call("status")[1], re.DOTALL)
    app.ingest(acme)
    assert row(app, acme).maintenance == ()


def test_a_tenant_whose_settings_are_invalid_has_no_known_maintenance_and_hides_nobody(app: Headrace, acme: str, globex: str) -> None:
    from core.schema.migrate import configure_tenant

    surrogate_keys.rotate(app, globex)
    configure_tenant(app.endpoints.postgres_owner.get_secret_value(), acme, {"reading": {"pdf": "best"}})
    with pytest.raises(PolicyError):
        app.session(acme)
    assert (row(app, acme).maintenance, row(app, acme).fresh) == ((), True)
    assert reason(app, acme) == "bad-policy"
    assert row(app, globex).maintenance == ("end-of-rotation",)


# --- the target


def test_freshness_is_red_once_the_tenants_own_target_is_passed_and_green_again(app: Headrace, acme: str, globex: str) -> None:
    tenants.configure(app, acme, freshness_seconds=60)
    for name in (acme, globex):
        publish_as_of(app, name, 100)
    red = check(app, acme, "freshness")
    assert (red.passed, red.severity, red.measured["lag_events"], red.measured["target_s"]) == (False, "error", 1, 60.0)
    assert "at most 60 s" in red.explanation
    assert row(app, acme).fresh is False
    assert check(app, globex, "freshness").passed, "its target is the default, five minutes"
    app.land(acme)
    assert not check(app, acme, "freshness").passed, "landed is not searchable"
    app.ingest(acme)
    green = check(app, acme, "freshness")
    assert (green.passed, green.measured["lag_s"]) == (True, 0.0)
    assert row(app, acme).fresh is True


def test_a_target_is_set_with_the_tenant_and_changed_without_touching_anything_else(app: Headrace, tenant: str) -> None:
    tenants.add(app, tenant, {"owner": "team-a", "freshness_seconds": 5})
    assert target_s(app.database.get(tenant).configuration) == 5.0
    tenants.configure(app, tenant, freshness_seconds=0.5)
    assert app.database.get(tenant).configuration == {"owner": "team-a", "freshness_seconds": 0.5}
    with pytest.raises(TenantError):
        tenants.configure(app, "nobody-here", freshness_seconds=5)


@pytest.mark.parametrize("value", [0, -1, float("nan"), float("inf"), 1e9, "soon", None, True])
def test_an_invalid_target_is_refused_with_its_value(app: Headrace, tenant: str, value: Any) -> None:
    attempts: tuple[Callable[[], None], ...] = (
        lambda: tenants.add(app, tenant, {"freshness_seconds": value}),
        lambda: tenants.configure(app, tenant, freshness_seconds=value),
    )
    for attempt in attempts:
        with pytest.raises(ConfigurationError) as refused:
            attempt()
        assert (refused.value.reason, repr(value) in refused.value.detail) == ("bad-freshness", True)
    assert tenant not in {found.tenant for found in app.tenants()}


def test_an_invalid_target_written_by_hand_fails_only_its_own_check(app: Headrace, acme: str, globex: str) -> None:
    from core.schema.migrate import configure_tenant

    configure_tenant(app.endpoints.postgres_owner.get_secret_value(), acme, {"freshness_seconds": "soon"})
    with pytest.raises(ConfigurationError, match="soon"):
        check(app, acme, "freshness")
    assert (row(app, acme).freshness_seconds, row(app, acme).fresh) == (None, None)
    assert reason(app, acme) == "bad-freshness"
    assert row(app, globex).fresh is True


# --- losses


def test_events_that_were_lost_are_an_error_until_somebody_dismisses_them(app: Headrace, acme: str) -> None:
    assert check(app, acme, "nothing_lost").passed
    dead_letter(app, acme, "source-mismatch", 6)
    assert check(app, acme, "nothing_lost").passed, "refused is not lost"
    dead_letter(app, acme, "events-lost-to-retention", 7)
    red = check(app, acme, "nothing_lost")
    assert (red.passed, red.severity, red.measured["losses"]) == (False, "error", 1)
    assert row(app, acme).failures == {"events-lost-to-retention": 1, "source-mismatch": 1}
    with app.session(acme).transaction() as connection:
        assert dismiss(connection, 0, 7) == 1
    assert check(app, acme, "nothing_lost").passed


def test_without_kafka_freshness_is_not_judged(kafkaless: Headrace, acme: str) -> None:
    with pytest.raises(HeadraceError, match="kafka-refused"):
        check(kafkaless, acme, "freshness")


# --- the command


@pytest.fixture
def call(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """Run a command on this session's servers; returns its exit code and its output, read as JSON with `--json`."""
    config = tmp_path / "headrace.toml"
    config.write_text(f'data_dir = "{settings.data_dir}"\n', encoding="utf-8")
    monkeypatch.setenv("HEADRACE_CONFIG", str(config))

    def run(*arguments: str) -> tuple[int, Any]:
        code, captured = cli.run(arguments), capsys.readouterr()
        return code, json.loads(captured.out) if "--json" in arguments and captured.out else captured.out + captured.err

    return run


def test_status_prints_tenants_and_slots_not_wider_than_120_columns(
    call: Callable[..., Any], app: Headrace, acme: str, columns: Callable[[int], None]
) -> None:
    publish(app, acme, None, page=PAGE.format("pump"), torn=CORRUPT)
    publish_as_of(app, acme, 4000)
    app.ingest(acme)
    publish_as_of(app, acme, 7200, name="older")
    slot = slots.enrol(app, f"status-{os.getpid()}")
    columns(120)
    code, printed = call("status")
    # 7: another test's tenant is in trouble
    assert code in (0, 7)
    assert max(map(len, printed.splitlines())) <= 120
    (row,) = [line for line in printed.splitlines() if acme in line]
    # a column's width depends on every tenant: a longer cell continues in the next line
    for cell in ("2 h", "corrupt-", "NO, 5 min"):
        assert cell in row
    assert slot in printed
    slots.leave(app, slot)


def test_status_counts_empty_documents(call: Callable[..., Any], app: Headrace, acme: str, columns: Callable[[int], None]) -> None:
    publish(app, acme, None, page=PAGE.format("pump"), cleared="", comment_md="<!-- cleared -->")
    app.ingest(acme)
    _, found = call("status", "--json")
    (row,) = [row for row in found["tenants"] if row["tenant"] == acme]
    assert (row["documents"], row["indexed"], row["empty"], row["failures"]) == (3, 3, 2, {})
    columns(200)
    _, printed = call("status")
    assert "empty" in printed


def test_sizes_are_those_of_the_tenants_tables_and_per_passage(call: Callable[..., Any], app: Headrace, acme: str, globex: str) -> None:
    publish(app, acme, None, page=PAGE.format("pump"))
    app.ingest(acme)
    found = {row["tenant"]: row for row in call("status", "--sizes", "--json")[1]["sizes"]}
    assert (found[globex]["chunks"], found[globex]["bytes_per_chunk"], found[acme]["vector_index"]) == (0, None, None)
    tables = {row["table"]: row for row in found[acme]["tables"]}
    assert {"chunk", "lexical", "embedding", "artifact", "indexed"} <= tables.keys()
    assert found[acme]["bytes"] == sum(row["table_bytes"] + row["index_bytes"] for row in tables.values())
    assert min(tables["chunk"]["table_bytes"], tables["chunk"]["index_bytes"]) >= 8192
    assert found[acme]["bytes_per_chunk"] == pytest.approx(found[acme]["bytes"] / found[acme]["chunks"], abs=0.1)
    assert call("status", "--json")[1]["sizes"] is None


def test_sizes_are_printed_with_the_state_of_the_vector_index(
    call: Callable[..., Any], app: Headrace, acme: str, columns: Callable[[int], None]
) -> None:
    publish(app, acme, None, page=PAGE.format("pump"))
    app.ingest(acme)
    columns(160)
    _, printed = call("status", "--sizes")
    assert f"Sizes of {acme}" in printed
    assert "searched exactly" in printed
    with app.session(acme).transaction() as connection:
        connection.execute("UPDATE generation SET vector_index = jsonb_build_object('state', 'building', 'done', 0.42)")
    assert "HNSW index building, 42%" in call("status", "--sizes")[1]


def test_the_answers_of_status_and_explain_have_a_schema() -> None:
    for record in (status.Status, explain.Explanation):
        records = msgspec.json.schema(record)["$defs"]
        assert set(records[record.__name__]["properties"]) == set(record.__struct_fields__)
        fields = {f"{name}.{field}": of for name, one in records.items() for field, of in one["properties"].items()}
        assert [field for field, of in fields.items() if not of.keys() - {"default"}] == []


def test_status_as_json_has_every_tenant_and_slot(call: Callable[..., Any], app: Headrace, acme: str) -> None:
    slot = slots.enrol(app, f"json-{os.getpid()}")
    slots.leave(app, slot, Unavailable("x"))
    code, output = call("status", "--json")
    (found,) = [found for found in output["slots"] if found["slot"] == slot]
    assert code in (0, 7)
    assert (found["state"], found["trouble"], found["crashes"], output["unavailable"]) == ("failed", "unavailable", 1, None)
    (tenant,) = [tenant for tenant in output["tenants"] if tenant["tenant"] == acme]
    assert (tenant["fresh"], tenant["not_landed"], tenant["failures"], tenant["maintenance"]) == (True, 0, {}, [])


def test_a_freshness_target_is_set_by_command_and_a_bad_one_is_refused_with_its_value(
    call: Callable[..., Any], app: Headrace, acme: str, tenant: str
) -> None:
    result = call("tenant", "set", acme, "--freshness", "7.5", "--json")
    assert result == (0, {"tenant": acme, "configuration": {"freshness_seconds": 7.5}})
    for value, shown in (("0", "0.0"), ("-3", "-3.0"), ("nan", "nan"), ("3e6", "3000000.0")):
        for command in (("set", acme), ("add", tenant)):
            code, printed = call("tenant", *command, "--freshness", value)
            assert (code, f"was: {shown} (bad-freshness)" in printed) == (2, True)
    assert app.database.get(acme).configuration == {"freshness_seconds": 7.5}
    assert call("tenant", "add", tenant, "--freshness", "30")[0] == 0
    assert app.database.get(tenant).configuration == {"freshness_seconds": 30.0}
    assert call("tenant", "remove", tenant, "--yes")[0] == 0


def test_a_tenant_is_given_settings_of_its_own_by_command(call: Callable[..., Any], app: Headrace, acme: str, globex: str) -> None:
    result = call("tenant", "set", acme, "reading.pdf=text", "--json")
    assert result == (0, {"tenant": acme, "configuration": {"reading": {"pdf": "text"}}})
    assert (app.session(acme).policy.reading.pdf, app.session(globex).policy.reading.pdf) == ("text", "layout")
    for override in ("reading.pdf=best", "reading.page=1", "reading", "pdf=text", "privacy.profile=names"):
        code, printed = call("tenant", "set", acme, override)
        assert (code, "(bad-policy)" in printed) == (2, True), override
    assert app.database.get(acme).configuration == {"reading": {"pdf": "text"}}


def test_a_loss_is_dismissed_by_command(call: Callable[..., Any], app: Headrace, acme: str) -> None:
    dead_letter(app, acme, "events-lost-to-retention", 7)
    result = call("dead-letters", "dismiss", "--tenant", acme, "0:7", "--json")
    assert result == (0, {"tenant": acme, "dismissed": "0:7"})
    assert check(app, acme, "nothing_lost").passed
    assert call("dead-letters", "dismiss", "--tenant", acme, "0:7")[0] == 5
