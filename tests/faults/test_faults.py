"""Harm done to running streams under load, on real servers of this module's own. After each, `Load.faults` looks for what it left.

Crash points at every commit, and SIGKILL at random instants, are in `test_chaos`. Of clocks: the workload's records carry the timestamps of
publishers that are hours behind or ahead, and what waits until when is asked of Postgres alone; a stream's own clock cannot be stepped here
without the machine's.
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

from benchmarks._victims import Order
from core.config import Settings
from events.contract import topic_of
from events.kafka.client import Line
from events.kafka.reader import ensure_topics
from graph import Projection
from graph.connection import Connection
from services.kafka import EmbeddedKafka
from services.neo4j import EmbeddedNeo4j
from services.postgres import EmbeddedPostgres
from tests.faults.field import Field, eventually, field_of, filled, freeze, stopped, wake
from tests.faults.proxy import Proxy


@pytest.fixture(scope="module")
def field(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Field]:
    with field_of(settings, tmp_path_factory.mktemp("faults")) as made:
        yield made


# servers


@pytest.mark.parametrize("server", [EmbeddedPostgres.name, EmbeddedKafka.name, EmbeddedNeo4j.name])
def test_a_server_that_is_killed_and_restarted_under_load_leaves_no_trace(field: Field, server: str) -> None:
    field.running()
    load = field.load()
    load.publish()
    load.at_work()
    field.kill_server(server)
    if server != EmbeddedKafka.name:
        load.publish()
    field.restart_servers()
    load.publish()
    assert load.faults() == {}


@pytest.mark.parametrize(("harm", "heal"), [("cut", "mend"), ("freeze", "thaw")])
def test_lines_that_are_cut_or_stand_still_in_the_middle_of_a_query_leave_no_trace(field: Field, harm: str, heal: str) -> None:
    with Proxy(field.port(EmbeddedPostgres.name)) as postgres, Proxy(field.port(EmbeddedNeo4j.name)) as neo4j:
        field.only(Order(ports={proxy.target: proxy.port for proxy in (postgres, neo4j)}))
        load = field.load()
        for proxy in (postgres, neo4j, postgres, neo4j):
            load.publish(4)
            load.at_work()
            getattr(proxy, harm)()
            load.publish(2)
            getattr(proxy, heal)()
        assert load.faults() == {}
        field.end(*field.living())


def test_a_server_whose_packets_stop_is_given_up_within_half_a_minute(field: Field) -> None:
    """As far as that can be seen without another kernel between: what both ends have been told."""
    query = "SELECT name, setting FROM pg_settings WHERE name LIKE 'tcp%%' OR name LIKE 'idle_in%%'"
    with field.app.database.control() as connection:
        theirs = {row["name"]: int(row["setting"]) for row in connection.execute(query)}
        with socket.socket(fileno=os.dup(connection.fileno())) as line:
            ours = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
    assert ours == theirs["tcp_user_timeout"] == 25_000
    assert theirs["tcp_keepalives_idle"] + theirs["tcp_keepalives_interval"] * theirs["tcp_keepalives_count"] == 25
    assert theirs["idle_in_transaction_session_timeout"] == 60_000


def test_processes_that_meet_an_empty_graph_at_the_same_time_all_find_it_prepared(field: Field) -> None:
    field.end(*field.living())
    with closing(Connection(field.app.endpoints)) as connection:
        for row in connection.read("nobody", lambda run: run("SHOW CONSTRAINTS YIELD name")):
            connection.run(f"DROP CONSTRAINT {row['name']}")
    with ExitStack() as closing_all, ThreadPoolExecutor(6) as pool:
        projections = [closing_all.enter_context(Projection(field.app.endpoints)) for _ in range(6)]
        list(pool.map(Projection.prepare, projections))


# processes


def test_several_that_believe_they_own_a_partition_do_each_work_once(field: Field) -> None:
    """One is a member of the group, the others asked nobody."""
    field.running()
    load = field.load()
    others = [field.ingesting(load) for _ in range(2)]
    for _ in range(3):
        load.publish(4)
        load.at_work()
    eventually(lambda: load.settled, "what several do is never done")
    field.end(*others)
    assert load.faults() == {}


@pytest.mark.parametrize("point", ["index:before-commit", "outcome:published"])
def test_a_stream_that_stands_still_and_wakes_when_its_partitions_are_anothers_changes_nothing(field: Field, point: str) -> None:
    sleeper = field.only(Order(point=point, stops=True))
    load = field.load()
    load.publish()
    eventually(lambda: stopped(sleeper), "it does not come to where it stops")
    field.start(Order())
    load.publish()
    eventually(lambda: load.settled, "what the sleeper has in hand holds up its heir")
    wake(sleeper)
    load.publish()
    assert load.faults() == {}


def test_a_stream_that_is_stopped_again_and_again_at_any_instant_changes_nothing(field: Field) -> None:
    """Too short for the broker to notice, and long enough for what it waits for to come all at once."""
    stream, load = field.running(), field.load()
    for _ in range(5):
        load.publish(4)
        load.at_work()
        freeze(stream)
        load.publish(2)
        wake(stream)
    assert load.faults() == {}


# events


def test_everything_twice_in_another_order_and_hours_late_changes_nothing(field: Field) -> None:
    field.running()
    load = field.load()
    load.publish(20)
    again = list(load.workload.records)
    random.Random(1).shuffle(again)
    load.workload.records += again
    load.send(again)
    assert load.faults() == {}


def test_a_topic_that_is_deleted_and_made_anew_under_the_stream_is_read_from_its_beginning(field: Field) -> None:
    field.running()
    load = field.load()
    load.publish()
    eventually(lambda: load.settled, "the first topic is never done")
    kafka = field.app.settings.kafka
    with administrator(field) as admin:
        wait(admin.delete_topics([topic_of(load.tenant)], operation_timeout=10))
    ensure_topics(field.app.endpoints.kafka_client(), load.tenant, kafka.partitions, kafka.replication)
    load.publish()
    # an outcome names its event's offset, and both topics have the same ones
    assert load.faults(heard=False) == {}


def test_what_retention_removed_before_it_was_read_is_a_dead_letter_and_what_follows_is_read(field: Field) -> None:
    field.running()
    load = field.load()
    load.publish()
    eventually(lambda: load.settled, "the first events are never done")
    field.end(*field.living())
    before = len(load.workload.records)
    load.publish()
    lost = load.workload.records[before:]
    with administrator(field) as admin:
        everything = [
            TopicPartition(topic_of(load.tenant), partition, OFFSET_END) for partition in range(field.app.settings.kafka.partitions)
        ]
        wait(admin.delete_records(everything))
    field.running()
    eventually(lambda: load.letters() == {"events-lost-to-retention"}, "nobody is told of what was lost")
    # what its source does then
    load.send(lost)
    found = load.faults()
    # the letters of what was lost stay open: that is the alarm
    assert [line for line in found.pop("differs_from_scratch") if " letters : " not in line] == []
    assert found == {}


# disks


def test_a_full_disk_under_postgres_holds_the_stream_up_and_leaves_no_trace(field: Field) -> None:
    if field.disk is None:
        pytest.skip("no disk can be mounted here")
    field.running()
    load, owner_url = field.load(), field.app.endpoints.postgres_owner.get_secret_value()
    load.publish()
    eventually(lambda: load.settled, "the first events are never done")
    with filled(field.disk):
        load.publish(30)
        # the statement, or the connection itself
        with pytest.raises(psycopg.OperationalError, match="No space left"), psycopg.connect(owner_url) as owner:
            owner.execute("CREATE TABLE public.too_much AS SELECT repeat('x', 1000) FROM generate_series(1, 100000)")
    field.restart_servers()
    load.publish()
    assert load.faults() == {}


@contextmanager
def administrator(field: Field) -> Iterator[AdminClient]:
    yield AdminClient(Line().configuration(field.app.endpoints.kafka_client()))


def wait(answers: Mapping[Any, Future[Any]]) -> None:
    for answer in answers.values():
        answer.result()
