"""Dagster reports a tenant that is not fresh, or that lost events, without any run; and that it has recovered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from confluent_kafka import Producer

from events.contract import topic_of
from pipelines.app import Headrace
from pipelines.dagster import freshness_sensor
from pipelines.dagster.runtime import Runtime
from tests.tenant_fixture import keep_publishers_timestamps


class Ticks:
    """The sensor with its cursor, tick after tick, on an instance that knows some tenants."""

    def __init__(self, app: Headrace, instance: dg.DagsterInstance) -> None:
        self.app, self.instance = app, instance
        self.cursor: str | None = None

    def know(self, *tenants: str) -> None:
        self.instance.add_dynamic_partitions("tenants", tenants)

    def tick(self, app: Headrace | None = None) -> list[tuple[str | None, str, bool]]:
        """What it reports: tenant, check, passed."""
        context = dg.build_sensor_context(instance=self.instance, cursor=self.cursor)
        result = freshness_sensor.freshness_sensor(context, headrace=app or self.app)
        assert isinstance(result, dg.SensorResult)
        self.cursor = result.cursor
        return [
            (reported.partition, reported.check_name, reported.passed)
            for reported in result.asset_events or ()
            if isinstance(reported, dg.AssetCheckEvaluation)
        ]


@pytest.fixture
def ticks(app: Headrace) -> Iterator[Ticks]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Ticks(app, instance)


def leave_unread(app: Headrace, tenant: str, ago_s: float) -> None:
    keep_publishers_timestamps(app, tenant)
    then_ms = int((datetime.now(UTC) - timedelta(seconds=ago_s)).timestamp() * 1000)
    producer = Producer(app.endpoints.kafka_client())
    producer.produce(topic_of(tenant), None, b"page", partition=0, timestamp=then_ms)
    assert producer.flush(10) == 0


def lose(app: Headrace, tenant: str) -> None:
    with app.session(tenant).transaction() as connection:
        connection.execute(
            "INSERT INTO dead_letter (kafka_partition, kafka_offset, stage, reason, detail)"
            " VALUES (0, 7, 'land', 'events-lost-to-retention', '')"
        )


def test_a_breach_is_reported_once_and_its_end_once_without_any_run(ticks: Ticks, app: Headrace, acme: str, globex: str) -> None:
    ticks.know(acme, globex)
    assert ticks.tick() == []
    leave_unread(app, acme, 1000)
    assert ticks.tick() == [(acme, "freshness", False)]
    assert ticks.tick() == []
    app.ingest(acme)
    assert ticks.tick() == [(acme, "freshness", True)]
    assert ticks.tick() == []


def test_a_loss_is_reported_until_it_is_dismissed(ticks: Ticks, app: Headrace, acme: str) -> None:
    ticks.know(acme)
    lose(app, acme)
    assert ticks.tick() == [(acme, "nothing_lost", False)]
    with app.session(acme).transaction() as connection:
        connection.execute("UPDATE dead_letter SET resolved_at = now()")
    assert ticks.tick() == [(acme, "nothing_lost", True)]


def test_a_check_that_keeps_failing_is_reported_again(ticks: Ticks, app: Headrace, acme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ticks.know(acme)
    lose(app, acme)
    ticks.tick()
    monkeypatch.setattr(freshness_sensor, "AGAIN_S", 0.0)
    assert ticks.tick() == [(acme, "nothing_lost", False)]


def test_if_many_checks_fail_at_once_the_next_tick_reports_the_rest(
    ticks: Ticks, app: Headrace, acme: str, globex: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks.know(acme, globex)
    for tenant in (acme, globex):
        lose(app, tenant)
    monkeypatch.setattr(freshness_sensor, "MOST", 1)
    reported = [ticks.tick(), ticks.tick(), ticks.tick()]
    assert sorted(reported) == sorted([[(acme, "nothing_lost", False)], [(globex, "nothing_lost", False)], []])


def test_without_postgres_nothing_is_forgotten(ticks: Ticks, app: Headrace, acme: str) -> None:
    ticks.know(acme)
    lose(app, acme)
    ticks.tick()
    with Runtime(app.settings, app.endpoints) as ended:
        ended.tenants()
    # its connections are closed: Postgres is as far away as it can be, without the seconds that a connection takes to give up
    assert ticks.tick(ended) == []
    assert list(json.loads(ticks.cursor or "")) == [f"{acme}/nothing_lost"]


def test_a_tenant_that_dagster_does_not_know_yet_is_left_out(ticks: Ticks, app: Headrace, acme: str) -> None:
    lose(app, acme)
    assert ticks.tick() == []
