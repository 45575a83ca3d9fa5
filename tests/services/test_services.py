"""The embedded servers, tested with real servers in their own data folders."""

from __future__ import annotations

import gc
import http.server
import json
import os
import random
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AdminClient,
    NewTopic,
)
from neo4j import GraphDatabase
from neo4j.exceptions import AuthError
from pydantic import SecretStr

import services
from core.config import Endpoints, Settings, load
from core.errors import ConfigurationError, HeadraceError, Unavailable
from events.outcomes import Outcomes
from services import passwords, processes
from services.download import provide
from services.files import Layout
from services.kafka import silent_logger
from services.neo4j import EmbeddedNeo4j
from services.pin import ROOTS
from services.pins import PinList, pin_list
from services.postgres import EmbeddedPostgres
from services.server import Progress

pytestmark = pytest.mark.servers

# a secret in the environment, which no server may inherit
CANARY = "canary-7d1f"
ELSEWHERE_KAFKA = {"bootstrap": "kafka.invalid:9092", "protocol": "PLAINTEXT"}
ELSEWHERE_NEO4J = {"url": "bolt://neo4j.invalid:7687", "password": "given"}
ELSEWHERE_POSTGRES = {
    f"{role}_url": f"postgresql://{role}:given@pg.invalid:5433/headrace" for role in ("owner", "pipeline", "reader", "dagster")
}
MASTER_KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """All three servers, in a data folder whose name needs quoting."""
    settings = load(data_dir=tmp_path_factory.mktemp("services") / "dätä $folder")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CANARY", CANARY)
        services.up(settings)
    yield settings
    services.down(settings, purge=True)


@pytest.fixture(scope="module")
def postgres_only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """A data folder whose only embedded server is Postgres, which may be up or down."""
    settings = load(data_dir=tmp_path_factory.mktemp("postgres") / "data", kafka=ELSEWHERE_KAFKA, neo4j=ELSEWHERE_NEO4J)
    yield settings
    services.down(settings, purge=True)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Settings]:
    """Like `postgres_only`, but never started before the test."""
    settings = load(data_dir=tmp_path / "data", kafka=ELSEWHERE_KAFKA, neo4j=ELSEWHERE_NEO4J)
    yield settings
    services.down(settings, purge=True)


@pytest.fixture
def nothing_embedded(tmp_path: Path) -> Settings:
    return load(
        data_dir=tmp_path / "data", kafka=ELSEWHERE_KAFKA, neo4j=ELSEWHERE_NEO4J, postgres=ELSEWHERE_POSTGRES, master_key=MASTER_KEY
    )


# --- up, down, status, endpoints


def _quickest_s(work: Callable[[], object]) -> float:
    """The shortest of five runs, in seconds, because the machine may be busy."""

    def timed() -> float:
        started = time.monotonic()
        work()
        return time.monotonic() - started

    return min(timed() for _ in range(5))


def test_second_up_starts_nothing_and_is_quick(running: Settings) -> None:
    services.up(running)
    pids, before = _pids(running), services.endpoints(running)
    assert _quickest_s(lambda: services.up(running, _must_not_start)) < 2
    assert (_pids(running), services.up(running, _must_not_start)) == (pids, before)


def test_status_says_where_each_server_is_and_is_quick(running: Settings) -> None:
    services.up(running)
    assert _quickest_s(lambda: services.status(running)) < 0.5
    rows = services.status(running)
    assert [(row.name, row.state) for row in rows] == [("postgres", "up"), ("kafka", "up"), ("neo4j", "up")]
    assert [row.version for row in rows] == ["18.4", "4.1.2", "5.26.30"]
    for row in rows:
        assert row.log is not None
        assert row.log.stat().st_size > 0
        assert row.memory_bytes is not None
        assert 20_000_000 < row.memory_bytes < 2_000_000_000


def test_servers_listen_on_loopback_only(running: Settings) -> None:
    services.up(running)
    for pid in _pids(running).values():
        listening = [each.laddr.ip for each in psutil.Process(pid).net_connections("inet") if each.status == psutil.CONN_LISTEN]
        assert listening
        assert {ip.removeprefix("::ffff:") for ip in listening} == {"127.0.0.1"}


def test_no_server_has_a_secret_in_its_environment_or_command_line(running: Settings) -> None:
    services.up(running)
    values = passwords.read(Layout(running.data_dir)).values.values()
    for pid in _pids(running).values():
        process = psutil.Process(pid)
        seen = " ".join([*process.cmdline(), *process.environ().values()])
        assert CANARY not in seen
        assert not any(value in seen for value in values)


def test_killed_servers_restart_with_the_same_ports_and_data(running: Settings) -> None:
    before = services.up(running)
    _write_everywhere(before)
    killed = _pids(running)
    for pid in killed.values():
        psutil.Process(pid).kill()
    after = services.up(running)
    assert after == before
    assert not set(killed.values()) & set(_pids(running).values())
    assert _read_everywhere(after) == ("kept", b"kept", "kept")


def test_servers_outlive_the_process_that_started_them_and_two_ups_at_once_start_one(fresh: Settings) -> None:
    with ThreadPoolExecutor(2) as pool:
        pids = list(pool.map(_up_in_another_process, [fresh, fresh]))
    assert pids[0] == pids[1]
    assert _pids(fresh) == {"postgres": pids[0]}
    assert len(_servers_of(fresh)) == 1
    _select_one(services.endpoints(fresh))


def test_embedded_and_external_servers_mix(postgres_only: Settings) -> None:
    found = services.up(postgres_only)
    assert (found.kafka_bootstrap, found.kafka_username, found.neo4j_url) == ("kafka.invalid:9092", None, "bolt://neo4j.invalid:7687")
    assert found == services.endpoints(postgres_only)
    assert [row.state for row in services.status(postgres_only)] == ["up", "external", "external"]
    _select_one(found)


def test_servers_given_by_url_are_used_and_nothing_is_started(nothing_embedded: Settings) -> None:
    found = services.up(nothing_embedded, _must_not_start)
    assert found.postgres_owner.get_secret_value() == ELSEWHERE_POSTGRES["owner_url"]
    assert found.neo4j_password == SecretStr("given")
    assert found.master_key.get_secret_value() == MASTER_KEY
    rows = services.status(nothing_embedded)
    assert [(row.state, row.address) for row in rows] == [
        ("external", "pg.invalid:5433"),
        ("external", "kafka.invalid:9092"),
        ("external", "neo4j.invalid:7687"),
    ]
    assert not list((nothing_embedded.data_dir / "run").iterdir())


def test_an_external_postgres_without_a_master_key_is_refused(tmp_path: Path) -> None:
    settings = load(data_dir=tmp_path / "data", postgres=ELSEWHERE_POSTGRES)
    with pytest.raises(ConfigurationError, match="HEADRACE_MASTER_KEY"):
        services.up(settings)
    assert not (tmp_path / "data").exists()


def test_a_stopped_server_is_reported_as_down_with_the_remedy(postgres_only: Settings) -> None:
    services.up(postgres_only)
    services.down(postgres_only)
    services.down(postgres_only)
    assert services.status(postgres_only)[0].state == "down"
    with pytest.raises(Unavailable, match=r"Postgres is not running.*headrace up"):
        services.endpoints(postgres_only)


def test_endpoints_has_the_last_port_of_a_server_that_is_temporarily_down(running: Settings) -> None:
    before = services.up(running)
    psutil.Process(_pids(running)["neo4j"]).kill()
    assert services.endpoints(running) == before
    _select_one(services.endpoints(running))
    assert services.up(running) == before


def test_a_restart_keeps_port_and_data_and_a_purge_deletes_only_our_files(fresh: Settings) -> None:
    before = services.up(fresh)
    with _postgres(before) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
    services.down(fresh)
    assert services.up(fresh) == before
    with _postgres(before) as connection:
        assert connection.execute("SELECT one FROM kept").fetchall() == [(1,)]
    theirs = fresh.data_dir / "theirs.txt"
    theirs.write_text("not ours")
    services.down(fresh, purge=True)
    assert {path.name for path in fresh.data_dir.iterdir()} == {"theirs.txt", "services.lock"}


def test_an_open_connection_does_not_delay_down(postgres_only: Settings) -> None:
    with _postgres(services.up(postgres_only)) as connection:
        started = time.monotonic()
        services.down(postgres_only)
        assert time.monotonic() - started < 20
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")


# --- recovery from crashes


def test_a_recorded_pid_that_now_belongs_to_another_program_is_neither_trusted_nor_killed(postgres_only: Settings) -> None:
    layout = Layout(postgres_only.data_dir)
    services.up(postgres_only)
    services.down(postgres_only)
    with _other_program() as other:
        state = processes.read_state(layout.state("postgres"))
        assert state
        processes.write_state(layout.state("postgres"), processes.adopt(state, other))
        (layout.home("postgres") / "data" / "postmaster.pid").write_text(f"{other.pid}\n")
        assert services.status(postgres_only)[0].state == "down"
        services.down(postgres_only)
        _select_one(services.up(postgres_only))
        assert services.status(postgres_only)[0].pid != other.pid
        assert processes.alive(other)


def test_a_recorded_pid_with_a_different_start_time_is_not_trusted(postgres_only: Settings) -> None:
    services.up(postgres_only)
    state_file = Layout(postgres_only.data_dir).state("postgres")
    state = json.loads(state_file.read_text())
    state_file.write_text(json.dumps(state | {"created": state["created"] - 3600}))
    assert services.status(postgres_only)[0].state == "down"


def test_a_server_whose_start_was_interrupted_is_adopted(postgres_only: Settings) -> None:
    before = services.up(postgres_only)
    pids = _pids(postgres_only)
    state_file = Layout(postgres_only.data_dir).state("postgres")
    state = json.loads(state_file.read_text())
    # the state file as it is after the port is chosen and before the process is recorded
    state_file.write_text(json.dumps(state | {"pid": None, "created": None}))
    assert services.up(postgres_only) == before
    assert _pids(postgres_only) == pids


@pytest.mark.parametrize("damage", ["", '{"port": 1', '{"port": "x", "pid": 1, "created": 1}', '{"port": 1, "pid": []}', "[]", "null"])
def test_a_damaged_state_file_is_read_as_no_state(tmp_path: Path, damage: str) -> None:
    (tmp_path / "state.json").write_text(damage)
    assert processes.read_state(tmp_path / "state.json") is None


def test_a_damaged_state_file_leaves_one_server_and_its_data(postgres_only: Settings) -> None:
    with _postgres(services.up(postgres_only)) as connection:
        connection.execute("CREATE TABLE undamaged AS SELECT 1 AS one")
    Layout(postgres_only.data_dir).state("postgres").write_text('{"port": 154')
    with _postgres(services.up(postgres_only)) as connection:
        assert connection.execute("SELECT one FROM undamaged").fetchall() == [(1,)]
    assert len(_servers_of(postgres_only)) == 1


def test_a_first_start_that_was_killed_is_repaired(fresh: Settings) -> None:
    home = Layout(fresh.data_dir).home("postgres")
    (home / "data.new" / "half").mkdir(parents=True)
    _select_one(services.up(fresh))
    assert not (home / "data.new").exists()


def test_partly_created_roles_are_completed(postgres_only: Settings) -> None:
    before = services.up(postgres_only)
    secrets = passwords.read(Layout(postgres_only.data_dir))
    server = EmbeddedPostgres(Layout(postgres_only.data_dir), secrets, postgres_only.jars, 0)
    port = int(before.postgres_owner.get_secret_value().rpartition(":")[2].partition("/")[0])
    with psycopg.connect(server.url("superuser", port), autocommit=True) as connection:
        connection.execute("ALTER ROLE headrace_owner PASSWORD NULL")
        connection.execute("DROP DATABASE dagster")
        connection.execute("DROP ROLE headrace_dagster")
    after = services.up(postgres_only)
    _select_one(after)
    with psycopg.connect(after.postgres_dagster.get_secret_value(), autocommit=True) as connection:
        connection.execute("CREATE TABLE mine (one integer)")


def test_a_server_that_exits_while_starting_is_reported_with_its_log(fresh: Settings) -> None:
    layout = Layout(fresh.data_dir)
    (layout.home("postgres") / "data").mkdir(parents=True)
    with pytest.raises(HeadraceError) as caught:
        services.up(fresh)
    assert caught.value.reason == "server-did-not-start"
    assert str(layout.log("postgres")) in str(caught.value)
    assert layout.log("postgres").stat().st_size > 0
    assert services.status(fresh)[0].state == "down"


def test_a_configured_port_that_is_taken_is_reported(fresh: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings = fresh.model_copy(update={"postgres": fresh.postgres.model_copy(update={"port": other.getsockname()[1]})})
        with pytest.raises(HeadraceError) as caught:
            services.up(settings)
    assert caught.value.reason == "port-taken"
    assert str(settings.postgres.port) in caught.value.detail


# --- permissions


def test_secrets_are_readable_by_their_owner_alone_and_never_shown(running: Settings) -> None:
    services.up(running)
    layout = Layout(running.data_dir)
    assert stat.S_IMODE(layout.secrets.stat().st_mode) == 0o600
    assert stat.S_IMODE(layout.root.stat().st_mode) == 0o700
    secrets = passwords.read(layout)
    assert len(set(secrets.values.values())) == len(secrets.values) >= 9
    assert not any(value in repr(secrets) + repr(services.endpoints(running)) for value in secrets.values.values())


def test_a_damaged_secrets_file_is_refused_and_kept(tmp_path: Path) -> None:
    layout = Layout(tmp_path / "data")
    layout.prepare()
    layout.secrets.write_text('{"neo4j": "abc')
    with pytest.raises(ConfigurationError, match="purge"):
        passwords.ensure(layout)
    assert layout.secrets.read_text() == '{"neo4j": "abc'


def test_wrong_passwords_are_refused_everywhere(running: Settings) -> None:
    found = services.up(running)
    wrong = found.postgres_owner.get_secret_value().replace("headrace_owner:", "headrace_owner:x")
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(wrong)
    with GraphDatabase.driver(found.neo4j_url, auth=("neo4j", "neo4j")) as driver, pytest.raises(AuthError):
        driver.verify_connectivity()
    assert _kafka_login_error(found, "x") == KafkaError._AUTHENTICATION


def test_postgres_roles_may_do_what_they_are_for_and_no_more(running: Settings) -> None:
    found = services.up(running)
    with _postgres(found) as owner:
        owner.execute("CREATE ROLE headrace_tenant_probe")
        owner.execute("GRANT headrace_tenant_probe TO headrace_pipeline WITH INHERIT FALSE, SET TRUE")
        _refused(
            owner, "CREATE ROLE sneaky SUPERUSER", "CREATE ROLE sneaky BYPASSRLS", "CREATE DATABASE sneaky", "ALTER ROLE postgres NOLOGIN"
        )
        assert owner.execute("SELECT '[1,2]'::halfvec").fetchone()
    with psycopg.connect(found.postgres_pipeline.get_secret_value(), autocommit=True) as pipeline:
        pipeline.execute("SET ROLE headrace_tenant_probe")
        pipeline.execute("RESET ROLE")
        _refused(
            pipeline,
            "SET ROLE headrace_owner",
            "SET ROLE postgres",
            "CREATE TABLE t (i int)",
            "CREATE TEMP TABLE t (i int)",
            "CREATE SCHEMA s",
        )
    with psycopg.connect(found.postgres_reader.get_secret_value(), autocommit=True) as reader:
        _refused(
            reader,
            "SET ROLE headrace_tenant_probe",
            "CREATE TABLE t (i int)",
            "CREATE TEMP TABLE t (i int)",
            "COPY (SELECT 1) TO PROGRAM 'true'",
        )
    with pytest.raises(psycopg.OperationalError, match="permission denied"):
        psycopg.connect(found.postgres_reader.get_secret_value().removesuffix("headrace") + "dagster")


def test_a_publisher_may_write_to_its_tenants_topic_and_nowhere_else(running: Settings) -> None:
    found = services.up(running)
    user, password = services.authorize_publisher(running, "alpha")
    assert services.authorize_publisher(running, "alpha", found) == (user, password)
    _create_topics(found, "documents.alpha", "documents.beta", "outcomes.alpha")
    as_publisher = found.model_copy(update={"kafka_username": user, "kafka_password": SecretStr(password)})
    codes = [_publish(as_publisher, topic) for topic in ("documents.alpha", "documents.beta", "outcomes.alpha", "documents.alpha2")]
    assert codes == [None, *[KafkaError.TOPIC_AUTHORIZATION_FAILED] * 3]
    assert _read_error(as_publisher, "documents.alpha") in (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)


def test_a_publisher_reads_its_own_tenants_outcomes_and_no_others(running: Settings) -> None:
    found = services.up(running)
    _create_topics(found, "outcomes.delta", "outcomes.delta-2")
    for tenant, other in (("delta", "delta-2"), ("delta-2", "delta")):
        user, password = services.authorize_publisher(running, tenant, found)
        login = found.model_copy(update={"kafka_username": user, "kafka_password": SecretStr(password)}).kafka_client()
        with Outcomes(login, tenant) as outcomes:
            assert outcomes.wait_for(["nothing"], 1.0) == {}
        with pytest.raises(HeadraceError) as refused:
            Outcomes(login, other)
        assert refused.value.reason == "kafka-refused"


def test_a_revoked_publisher_cannot_log_in_and_can_be_authorized_again(running: Settings) -> None:
    found = services.up(running)
    user, password = services.authorize_publisher(running, "gamma")
    services.revoke_publisher(running, "gamma")
    services.revoke_publisher(running, "gamma")
    assert _kafka_login_error(found, password, user) == KafkaError._AUTHENTICATION
    assert services.authorize_publisher(running, "gamma")[1] != password


def test_after_publishers_were_revoked_everybody_else_can_log_in_to_a_restarted_kafka(running: Settings) -> None:
    found = services.up(running)
    stays = services.authorize_publisher(running, "stays")
    for number in range(6):
        services.authorize_publisher(running, f"goes-{number}", found)
        services.revoke_publisher(running, f"goes-{number}", found)
    psutil.Process(_pids(running)["kafka"]).kill()
    assert services.up(running) == found
    _create_topics(found, "documents.stays")
    as_publisher = found.model_copy(update={"kafka_username": stays[0], "kafka_password": SecretStr(stays[1])})
    assert _publish(as_publisher, "documents.stays") is None


# --- the jars


def test_pin_lists_are_of_the_versions_that_pinning_asks_for() -> None:
    for server, (root, *extra) in ROOTS.items():
        coordinates = [pin.coordinate for pin in pin_list(server).pins]
        assert coordinates[0] == root
        assert set(extra) <= set(coordinates)
        assert len(set(coordinates)) == len(coordinates)
        assert all(len(pin.sha256) == 64 for pin in pin_list(server).pins)


def test_jars_are_downloaded_once_and_a_damaged_one_again(running: Settings, tmp_path: Path, few: PinList, registry: Registry) -> None:
    first = provide(few, tmp_path, Progress(registry.progress.append))
    assert registry.progress[-1] == "Kafka: 3 of 3 jars"
    assert len(registry.jars) == 3
    assert provide(few, tmp_path, _no_progress()) == first
    assert len(registry.jars) == 3
    first[1].write_bytes(first[1].read_bytes()[:-1] + b"x")
    assert provide(few, tmp_path, _no_progress()) == first
    assert registry.jars[3:] == [first[1].name]
    first[2].unlink()
    provide(few, tmp_path, _no_progress())
    assert registry.jars[4:] == [first[2].name]


@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # jgo does not close a 404 response
def test_an_interrupted_download_resumes(tmp_path: Path, few: PinList, registry: Registry) -> None:
    registry.missing = {few.pins[2].path.name}
    with pytest.raises(Unavailable) as caught:
        provide(few, tmp_path, _no_progress())
    assert caught.value.reason == "servers-unavailable"
    (tmp_path / ".fetching-kafka-killed").mkdir()
    registry.missing = set()
    fetched = len(registry.jars)
    provide(few, tmp_path, _no_progress())
    assert fetched < len(registry.jars) <= fetched + 3
    assert registry.jars.count(few.pins[2].path.name) >= 1
    assert not list(tmp_path.glob(".fetching-*"))
    del caught
    gc.collect()


def test_a_jar_that_does_not_match_its_pin_is_refused_and_deleted(tmp_path: Path, few: PinList, registry: Registry) -> None:
    registry.forged = {few.pins[1].path.name}
    with pytest.raises(HeadraceError) as caught:
        provide(few, tmp_path, _no_progress())
    assert caught.value.reason == "jar-hash-mismatch"
    assert few.pins[1].coordinate in caught.value.detail
    assert not (tmp_path / few.pins[1].path).exists()


def test_without_network_and_cache_the_error_names_docker_compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _use_registry(monkeypatch, tmp_path, _closed_port())
    settings = load(
        data_dir=tmp_path / "data", cache_dir=tmp_path / "cache", neo4j=ELSEWHERE_NEO4J, postgres=ELSEWHERE_POSTGRES, master_key=MASTER_KEY
    )
    with pytest.raises(Unavailable, match="docker compose up") as caught:
        services.up(settings)
    assert caught.value.reason == "servers-unavailable"
    assert services.status(settings)[1].state == "down"


# --- fixtures and functions used above


class Registry:
    """A Maven registry on loopback that serves the jars of the cache folder: what was requested of it, and which faults it injects."""

    def __init__(self) -> None:
        self.jars: list[str] = []
        self.progress: list[str] = []
        self.missing: set[str] = set()
        self.forged: set[str] = set()


@pytest.fixture
def few(running: Settings) -> PinList:
    """The three smallest jars of Kafka; starting `running` has put them into the cache."""
    whole = pin_list("kafka")
    smallest = sorted(whole.pins, key=lambda pin: (running.jars / "jars" / pin.path).stat().st_size)[:3]
    return PinList("kafka", tuple(smallest), "few")


@pytest.fixture
def registry(running: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    asked = Registry()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.rpartition("/")[2]
            if name.endswith(".jar"):
                asked.jars.append(name)
            if name in asked.missing:
                self.send_error(404)
            elif name in asked.forged:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b"forged")
            else:
                super().do_GET()

        def log_message(self, *_: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(running.jars / "jars"))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        _use_registry(monkeypatch, tmp_path, server.server_port)
        yield asked
        server.shutdown()
        thread.join()


def _use_registry(monkeypatch: pytest.MonkeyPatch, folder: Path, port: int) -> None:
    """Configure a Maven mirror as a user does: in jgo's configuration file."""
    configuration = folder / "jgo.conf"
    configuration.write_text(f"[repositories]\ncentral = http://127.0.0.1:{port}\n")
    monkeypatch.setenv("JGO_CONFIG_FILE", str(configuration))


def _closed_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        return int(closed.getsockname()[1])


def _no_progress() -> Progress:
    return Progress(lambda _: None)


def _must_not_start(line: str) -> None:
    raise AssertionError(line)


def _pids(settings: Settings) -> dict[str, int]:
    return {row.name: row.pid for row in services.status(settings) if row.pid is not None}


def _servers_of(settings: Settings) -> list[int]:
    data = str(settings.data_dir.absolute())
    return [each.pid for each in psutil.process_iter(["cmdline"]) if any(data in part for part in each.info["cmdline"] or ())]


def _up_in_another_process(settings: Settings) -> int:
    """Return the pid of the Postgres that the process found or started."""
    code = "import sys, services; from core.config import load; s = load(); services.up(s); print(services.status(s)[0].pid)"
    given = {
        "HEADRACE_DATA_DIR": str(settings.data_dir),
        "HEADRACE_KAFKA": json.dumps(ELSEWHERE_KAFKA),
        "HEADRACE_NEO4J": json.dumps(ELSEWHERE_NEO4J),
    }
    done = subprocess.run([sys.executable, "-c", code], env=os.environ | given, capture_output=True, text=True, check=True, timeout=120)
    return int(done.stdout)


@contextmanager
def _other_program() -> Iterator[psutil.Process]:
    """A process of an unrelated program."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        yield psutil.Process(child.pid)
        child.kill()


def _postgres(found: Endpoints) -> psycopg.Connection[Any]:
    return psycopg.connect(found.postgres_owner.get_secret_value(), autocommit=True)


def _select_one(found: Endpoints) -> None:
    with _postgres(found) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)


def _refused(connection: psycopg.Connection[Any], *attempts: str) -> None:
    for attempt in attempts:
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute(attempt)


def _create_topics(found: Endpoints, *topics: str) -> None:
    admin = AdminClient(found.kafka_client(), logger=silent_logger)
    for future in admin.create_topics([NewTopic(topic, 1) for topic in topics]).values():
        future.result(15)


def _publish(found: Endpoints, topic: str) -> int | None:
    """Return the error code of one idempotent write, or None."""
    codes: list[int | None] = []
    producer = Producer(found.kafka_client() | {"enable.idempotence": True, "linger.ms": 0}, logger=silent_logger)
    producer.produce(topic, b"kept", on_delivery=lambda error, _: codes.append(error.code() if error else None))
    assert producer.flush(20) == 0
    return codes[0]


def _read(found: Endpoints, topic: str) -> Any:
    consumer = Consumer(found.kafka_client() | {"group.id": f"test.{topic}", "auto.offset.reset": "earliest"}, logger=silent_logger)
    try:
        consumer.subscribe([topic])
        return consumer.poll(20)
    finally:
        consumer.close()


def _read_error(found: Endpoints, topic: str) -> int:
    message = _read(found, topic)
    return int(message.error().code())


def _kafka_login_error(found: Endpoints, password: str, user: str | None = None) -> int | None:
    codes: list[int] = []
    login = found.kafka_client() | {"sasl.username": user or found.kafka_username, "sasl.password": password}
    admin = AdminClient(login | {"error_cb": lambda error: codes.append(error.code())}, logger=silent_logger)
    with pytest.raises(KafkaException):
        admin.list_topics(timeout=2)
    admin.poll(2)
    return next((code for code in codes if code != KafkaError._ALL_BROKERS_DOWN), None)


def _write_everywhere(found: Endpoints) -> None:
    with _postgres(found) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 'kept' AS word")
    _create_topics(found, "documents.kept")
    assert _publish(found, "documents.kept") is None
    with GraphDatabase.driver(found.neo4j_url, auth=(found.neo4j_username, found.neo4j_password.get_secret_value())) as driver:
        driver.execute_query("CREATE (:Kept {word: 'kept'})")


def _read_everywhere(found: Endpoints) -> tuple[str, bytes, str]:
    with _postgres(found) as connection:
        row = connection.execute("SELECT word FROM kept").fetchone()
    assert row
    with GraphDatabase.driver(found.neo4j_url, auth=(found.neo4j_username, found.neo4j_password.get_secret_value())) as driver:
        records, _, _ = driver.execute_query("MATCH (k:Kept) RETURN k.word AS word")
    return row[0], _read(found, "documents.kept").value(), records[0]["word"]


def test_neo4j_accepts_a_password_that_looks_like_an_option(tmp_path: Path, running: Settings) -> None:
    layout = Layout(tmp_path)
    layout.prepare()
    server = EmbeddedNeo4j(layout, passwords.Secrets({"neo4j": "-h-and-eight-more"}), running.jars, 0)
    server.prepare(processes.free_port(), _no_progress())
    assert list((tmp_path / "neo4j" / "data").rglob("auth.ini"))


def test_two_processes_with_the_same_random_seed_choose_different_ports() -> None:
    def chosen() -> int:
        random.seed(7)
        return processes.free_port()

    assert len({chosen() for _ in range(20)}) > 1
