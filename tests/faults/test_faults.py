"""Faults injected into running streams under load, on this module's own real servers. After each, `Load.faults` checks the result.

Crashes at every commit and at random instants are in `test_chaos`. Clocks: the workload's records have timestamps from publishers whose
clocks are hours behind or ahead. Waiting times depend only on Postgres' clock. A stream's own clock cannot be changed here without changing
the machine's.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from typing import Any

import psycopg
import pytest
from confluent_kafka import OFFSET_END, TopicPartition
from confluent_kafka.admin import AdminClient

from benchmarks._forkserver import ProcessSpec
from core.config import Settings
from events.contract import topic_of
from events.kafka.client import ClientErrors
from events.kafka.topics import ensure_topics
from graph import Projection
from graph.connection import Connection
from services.kafka import EmbeddedKafka
from services.neo4j import EmbeddedNeo4j
from services.postgres import EmbeddedPostgres
from tests.faults.harness import Harness, eventually, filled, is_paused, open_harness, pause, resume
from tests.faults.proxy import Proxy

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def harness(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Harness]:
    with open_harness(settings, tmp_path_factory.mktemp("faults")) as opened:
        yield opened


# servers


@pytest.mark.parametrize("server", [EmbeddedPostgres.name, EmbeddedKafka.name, EmbeddedNeo4j.name])
def test_a_server_that_is_killed_and_restarted_under_load_leaves_no_trace(harness: Harness, server: str) -> None:
    harness.stream()
    load = harness.load()
    load.publish()
    load.wait_until_landing()
    harness.kill_server(server)
    if server != EmbeddedKafka.name:
        load.publish()
    harness.restart_servers()
    load.publish()
    assert load.faults() == {}


@pytest.mark.parametrize(("fault", "repair"), [("cut", "mend"), ("freeze", "thaw")])
def test_connections_that_are_cut_or_frozen_in_the_middle_of_a_query_leave_no_trace(harness: Harness, fault: str, repair: str) -> None:
    with Proxy(harness.port(EmbeddedPostgres.name)) as postgres, Proxy(harness.port(EmbeddedNeo4j.name)) as neo4j:
        harness.start_alone(ProcessSpec(ports={proxy.target: proxy.port for proxy in (postgres, neo4j)}))
        load = harness.load()
        for proxy in (postgres, neo4j, postgres, neo4j):
            load.publish(4)
            load.wait_until_landing()
            getattr(proxy, fault)()
            load.publish(2)
            getattr(proxy, repair)()
        assert load.faults() == {}
        harness.stop(*harness.running())


def test_a_connection_without_packets_is_closed_within_half_a_minute(harness: Harness) -> None:
    """Checks the settings of both ends; dropping packets would need another kernel in between."""
    query = "SELECT name, setting FROM pg_settings WHERE name LIKE 'tcp%%' OR name LIKE 'idle_in%%'"
    with harness.app.database.control() as connection:
        theirs = {row["name"]: int(row["setting"]) for row in connection.execute(query)}
        with socket.socket(fileno=os.dup(connection.fileno())) as sock:
            ours = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert ours == theirs["tcp_user_timeout"] == 25_000
    assert theirs["tcp_keepalives_idle"] + theirs["tcp_keepalives_interval"] * theirs["tcp_keepalives_count"] == 25
    assert theirs["idle_in_transaction_session_timeout"] == 60_000


def test_processes_that_prepare_an_empty_graph_at_the_same_time_all_succeed(harness: Harness) -> None:
    harness.stop(*harness.running())
    with closing(Connection(harness.app.endpoints)) as connection:
        for row in connection.read("nobody", lambda run: run("SHOW CONSTRAINTS YIELD name")):
            connection.run(f"DROP CONSTRAINT {row['name']}")
    with ExitStack() as closing_all, ThreadPoolExecutor(6) as pool:
        projections = [closing_all.enter_context(Projection(harness.app.endpoints)) for _ in range(6)]
        list(pool.map(Projection.prepare, projections))


# processes


def test_several_processes_that_read_the_same_partitions_do_each_work_once(harness: Harness) -> None:
    """One is a member of the consumer group; the others ingest without joining it."""
    harness.stream()
    load = harness.load()
    others = [harness.ingesting(load) for _ in range(2)]
    for _ in range(3):
        load.publish(4)
        load.wait_until_landing()
    eventually(lambda: load.done, "the records are never processed")
    harness.stop(*others)
    assert load.faults() == {}


@pytest.mark.parametrize("point", ["index:before-commit", "outcome:published"])
def test_a_stream_that_is_paused_and_resumes_after_losing_its_partitions_changes_nothing(harness: Harness, point: str) -> None:
    paused = harness.start_alone(ProcessSpec(point=point, stops=True))
    load = harness.load()
    load.publish()
    eventually(lambda: is_paused(paused), "the stream does not reach the point")
    harness.start(ProcessSpec())
    load.publish()
    eventually(lambda: load.done, "the paused stream blocks the new one")
    resume(paused)
    load.publish()
    assert load.faults() == {}


def test_a_stream_that_is_paused_again_and_again_changes_nothing(harness: Harness) -> None:
    """Each pause is too short for the broker to notice, but long enough for everything it waits for to arrive at once."""
    stream, load = harness.stream(), harness.load()
    for _ in range(5):
        load.publish(4)
        load.wait_until_landing()
        pause(stream)
        load.publish(2)
        resume(stream)
    assert load.faults() == {}


# events


def test_all_records_again_in_another_order_and_hours_late_change_nothing(harness: Harness) -> None:
    harness.stream()
    load = harness.load()
    load.publish(20)
    repeated = list(load.workload.records)
    random.Random(1).shuffle(repeated)
    load.workload.records += repeated
    load.send(repeated)
    assert load.faults() == {}


def test_a_topic_that_is_deleted_and_recreated_under_the_stream_is_read_from_its_beginning(harness: Harness) -> None:
    harness.stream()
    load = harness.load()
    load.publish()
    eventually(lambda: load.done, "the first topic is never processed")
    kafka = harness.app.settings.kafka
    with administrator(harness) as admin:
        wait(admin.delete_topics([topic_of(load.tenant)], operation_timeout=10))
    ensure_topics(harness.app.endpoints.kafka_client(), load.tenant, kafka.partitions, kafka.replication)
    load.publish()
    # outcomes identify events by offset, and both topics have the same offsets
    assert load.faults(check_outcomes=False) == {}


def test_events_that_retention_removed_before_they_were_read_are_a_dead_letter_and_later_ones_are_read(harness: Harness) -> None:
    harness.stream()
    load = harness.load()
    load.publish()
    eventually(lambda: load.done, "the first events are never processed")
    harness.stop(*harness.running())
    before = len(load.workload.records)
    load.publish()
    lost = load.workload.records[before:]
    with administrator(harness) as admin:
        everything = [
            TopicPartition(topic_of(load.tenant), partition, OFFSET_END) for partition in range(harness.app.settings.kafka.partitions)
        ]
        wait(admin.delete_records(everything))
    harness.stream()
    eventually(lambda: load.dead_letter_reasons() == {"events-lost-to-retention"}, "the lost events are not reported")
    # the source publishes them again
    load.send(lost)
    found = load.faults()
    # the dead letters for lost events stay open, as an alarm
    assert [line for line in found.pop("differs_from_scratch") if " dead letters : " not in line] == []
    assert found == {}


# disks


def test_a_full_disk_under_postgres_blocks_the_stream_and_leaves_no_trace(harness: Harness) -> None:
    if harness.disk is None:
        pytest.skip("this user may not mount a file system")
    harness.stream()
    load, owner_url = harness.load(), harness.app.endpoints.postgres_owner.get_secret_value()
    load.publish()
    eventually(lambda: load.done, "the first events are never processed")
    with filled(harness.disk):
        load.publish(30)
        # either the statement or the connection fails
        with pytest.raises(psycopg.OperationalError, match="No space left"), psycopg.connect(owner_url) as owner:
            owner.execute("CREATE TABLE public.too_large AS SELECT repeat('x', 1000) FROM generate_series(1, 100000)")
    harness.restart_servers()
    load.publish()
    assert load.faults() == {}


@contextmanager
def administrator(harness: Harness) -> Iterator[AdminClient]:
    yield AdminClient(ClientErrors().configuration(harness.app.endpoints.kafka_client()))


def wait(answers: Mapping[Any, Future[Any]]) -> None:
    for answer in answers.values():
        answer.result()
