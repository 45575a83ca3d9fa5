"""`headrace stream` as it runs: a process that is signalled and killed, on servers of this module's own that are stopped under it."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator, Sequence
from http.client import HTTPConnection
from pathlib import Path
from queue import Empty, Queue
from threading import Thread
from time import monotonic, sleep
from typing import Any

import psutil
import pytest

import services
from core.config import Settings
from core.schema.migrate import configure_tenant, migrate
from pipelines.app import Headrace
from pipelines.governance import tenants
from pipelines.operations import explain, replay
from pipelines.operations.search import ask
from pipelines.stream import slots
from services.neo4j import EmbeddedNeo4j
from tests.tenant_fixture import publish

HEADRACE = Path(sys.executable).with_name("headrace")
PATIENCE_S = 60.0


class Stream:
    """A `headrace stream --json` process and what it says."""

    def __init__(self, config: Path) -> None:
        environment = {**os.environ, "HEADRACE_CONFIG": str(config)}
        self.process = subprocess.Popen(
            [HEADRACE, "stream", "--json"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.said: Queue[dict[str, Any]] = Queue()
        self._reading = Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.said.put(json.loads(line))

    def until(self, **wanted: Any) -> dict[str, Any]:
        """The next thing it says that has these keys and, where a value is given, that value."""
        deadline, heard = monotonic() + PATIENCE_S, []
        while monotonic() < deadline:
            try:
                heard.append(self.said.get(timeout=0.2))
            except Empty:
                assert self.process.poll() is None, (heard, self.process.stderr and self.process.stderr.read())
                continue
            if all(key in heard[-1] and value in (..., heard[-1][key]) for key, value in wanted.items()):
                return heard[-1]
        raise AssertionError((wanted, heard))

    def end(self) -> tuple[int, str]:
        """SIGTERM; its exit code and what it wrote to standard error."""
        self.process.send_signal(signal.SIGTERM)
        return self._ended()

    def _ended(self) -> tuple[int, str]:
        code = self.process.wait(PATIENCE_S)
        self._reading.join(PATIENCE_S)
        assert self.process.stdout
        assert self.process.stderr
        with self.process.stdout, self.process.stderr as stderr:
            return code, stderr.read()


class Own:
    """Headrace on servers of this module's own, and at most one stream on them."""

    def __init__(self, app: Headrace, config: Path) -> None:
        self.app = app
        self.config = config
        self.stream: Stream | None = None
        self._tenants = 0

    def running(self) -> Stream:
        if self.stream is None or self.stream.process.poll() is not None:
            self.stream = Stream(self.config)
            self.stream.until(following=...)
        return self.stream

    def end(self) -> None:
        stream, self.stream = self.stream, None
        if stream and stream.process.poll() is None:
            stream.end()

    def tenant(self) -> str:
        self._tenants += 1
        tenants.add(self.app, f"t{self._tenants}")
        return f"t{self._tenants}"

    def found(self, tenant: str, query: str) -> list[str]:
        return [passage.text for passage in ask(self.app, tenant, query)]

    def count(self, tenant: str, query: str) -> int:
        with self.app.session(tenant).transaction() as connection:
            return int(connection.execute(query).fetchall()[0]["n"])

    def done(self, tenant: str) -> int:
        """Documents that have passed the last stage."""
        return self.count(tenant, "SELECT count(*) AS n FROM stage_record WHERE stage = 'project' AND status = 'done'")

    def whole(self, tenant: str, names: Sequence[str]) -> None:
        """Every document landed once, is indexed once and stands in the graph once, now or in a moment."""
        eventually(lambda: self.done(tenant) == len(names))
        assert self.count(tenant, "SELECT count(*) AS n FROM event WHERE fate = 'landed'") == len(names)
        assert self.count(tenant, "SELECT sum(next_offset) AS n FROM stream_position") == len(names)
        assert self.count(tenant, "SELECT count(*) AS n FROM stage_record WHERE status <> 'done'") == 0
        assert self.count(tenant, "SELECT count(*) AS n FROM indexed") == len(names)
        assert self.count(tenant, "SELECT count(*) AS n FROM chunk_source") == len(names)
        assert {explain.explain(self.app, tenant, name)[0].verdict for name in names} == {"searchable"}
        assert len(self.app.models.projection.documents(tenant)) == len(names)


@pytest.fixture(scope="module")
def own(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    folder = tmp_path_factory.mktemp("streaming")
    mine = settings.model_copy(update={"data_dir": folder / "data"})
    config = folder / "headrace.toml"
    stream = f"[stream]\nmetrics_port = {unused_port()}\n"
    config.write_text(f'data_dir = "{mine.data_dir}"\n[parsing]\nworkers = 1\n{stream}', encoding="utf-8")
    endpoints = services.up(mine)
    try:
        migrate(endpoints.postgres_owner.get_secret_value())
        with Headrace(mine, endpoints) as app:
            made = Own(app, config)
            yield made
            made.end()
    finally:
        services.down(mine)


def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def eventually(seen: Callable[[], Any]) -> None:
    deadline = monotonic() + PATIENCE_S
    while not seen():
        assert monotonic() < deadline
        sleep(0.05)


def test_what_is_published_edited_and_deleted_is_searchable_so_within_seconds(own: Own) -> None:
    stream, tenant = own.running(), own.tenant()
    publish(own.app, tenant, 1, media_type="text/markdown", page="# Seals\n\nThe shaft seal is inspected once a year.")
    assert stream.until(tenant=tenant)["events"] == 1
    stream.until(tenant=tenant, indexed=1)
    assert "once a year" in own.found(tenant, "shaft seal")[0]
    started = monotonic()
    publish(own.app, tenant, 2, media_type="text/markdown", page="# Seals\n\nThe shaft seal is inspected twice a year.")
    stream.until(tenant=tenant, indexed=1)
    # 0.4 s here; the bound is what a person would call at once
    assert monotonic() - started < 10
    assert "twice a year" in own.found(tenant, "shaft seal")[0]
    publish(own.app, tenant, 3, media_type="text/markdown", page=None)
    stream.until(tenant=tenant, deleted=1)
    assert own.found(tenant, "shaft seal") == []


def page_of(own: Own) -> str:
    """The stream's page of metrics."""
    port = tomllib.loads(own.config.read_text(encoding="utf-8"))["stream"]["metrics_port"]
    line = HTTPConnection("127.0.0.1", port, timeout=10)
    line.request("GET", "/metrics")
    page = line.getresponse().read().decode()
    line.close()
    return page


def test_a_running_stream_is_a_slot_and_a_page_of_metrics(own: Own) -> None:
    stream, tenant = own.running(), own.tenant()
    publish(own.app, tenant, 1, media_type="text/markdown", page="# Seals\n\nThe shaft seal is inspected once a year.")
    stream.until(tenant=tenant, indexed=1)
    (slot,) = [slot for slot in slots.slots(own.app) if slot.pid == stream.process.pid]
    assert (slot.state, slot.trouble) == ("running", None)
    page = page_of(own)
    assert f'headrace_events_total{{fate="landed",tenant="{tenant}"}} 1.0' in page
    assert f'headrace_documents_total{{stage="index",status="done",tenant="{tenant}"}} 1.0' in page
    assert f'headrace_slot_up{{slot="{slot.slot}"}} 1.0' in page


def test_maintenance_of_an_idle_stream_is_reported_and_counted(own: Own) -> None:
    stream, tenant = own.running(), own.tenant()
    publish(own.app, tenant, 1, media_type="text/markdown", page="# Seals\n\nThe shaft seal is inspected once a year.")
    stream.until(tenant=tenant, indexed=1)
    with own.app.session(tenant).transaction() as connection:
        connection.execute("UPDATE lexicon SET behind = true")
    assert stream.until(tenant=tenant, maintenance=...)["maintenance"] == {"terms/passages": 1}
    assert f'headrace_maintenance_total{{count="passages",task="terms",tenant="{tenant}"}} 1.0' in page_of(own)


def test_a_tenant_that_is_removed_and_made_again_under_the_stream_leaves_and_joins(own: Own) -> None:
    stream, tenant, neighbour = own.running(), own.tenant(), own.tenant()
    publish(own.app, tenant, 1, media_type="text/markdown", page="# First\n\nOf the first tenant of this name.")
    stream.until(tenant=tenant, indexed=1)
    tenants.remove(own.app, tenant)
    publish(own.app, neighbour, 1, media_type="text/markdown", page="# Neighbour\n\nGoes on.")
    stream.until(tenant=neighbour, indexed=1)
    tenants.add(own.app, tenant)
    publish(own.app, tenant, 1, media_type="text/markdown", page="# Second\n\nOf the second tenant of this name.")
    stream.until(tenant=tenant, indexed=1)
    # sealed under the new tenant's key, or this would not open
    assert own.found(tenant, "tenant of this name") == ["Of the second tenant of this name."]
    own.whole(tenant, ["page"])


def test_a_tenant_whose_settings_cannot_work_is_reported_and_its_neighbours_go_on(own: Own) -> None:
    stream, tenant, neighbour = own.running(), own.tenant(), own.tenant()
    tenants.configure(own.app, tenant, privacy={"profile": "names", "names_model": "no-such-model"})
    publish(own.app, tenant, 1, media_type="text/markdown", page="# Seals\n\nThe shaft seal is inspected once a year.")
    stream.until(tenant=tenant, error="bad-policy")
    publish(own.app, neighbour, 1, media_type="text/markdown", page="# Neighbour\n\nGoes on.")
    stream.until(tenant=neighbour, indexed=1)
    tenants.configure(own.app, tenant, privacy={"profile": "patterns"})
    stream.until(tenant=tenant, indexed=1)
    own.whole(tenant, ["page"])


def test_an_error_that_nobody_foresaw_is_its_tenants_alone_and_over_with_its_cause(own: Own) -> None:
    stream, tenant, neighbour = own.running(), own.tenant(), own.tenant()
    # sealed by nobody: what opens it foresees no such thing
    configure_tenant(own.app.owner_url, tenant, {"privacy": {"deny": {"sealed": "not base64", "values": 1}}})
    publish(own.app, tenant, 1, media_type="text/markdown", page="# Seals\n\nThe shaft seal is inspected once a year.")
    assert stream.until(tenant=tenant, error="bug")["detail"] == "unexpected binascii.Error"
    publish(own.app, neighbour, 1, media_type="text/markdown", page="# Neighbour\n\nGoes on.")
    stream.until(tenant=neighbour, indexed=1)
    configure_tenant(own.app.owner_url, tenant, {"privacy": {}})
    stream.until(tenant=tenant, indexed=1)
    own.whole(tenant, ["page"])


def test_a_replayed_document_is_taken_though_no_event_comes(own: Own) -> None:
    stream, tenant = own.running(), own.tenant()
    publish(own.app, tenant, 1, broken_docx=b"PK\x03\x04 cut off")
    stream.until(tenant=tenant, failed=1)
    assert [row["outcome"] for row in replay.dead_letters(own.app, tenant)] == ["stale"]
    assert stream.until(tenant=tenant, failed=1).get("events") is None


def test_sigterm_ends_it_with_everything_that_has_landed_done(own: Own) -> None:
    stream, tenant = own.running(), own.tenant()
    names = [f"page{number}" for number in range(24)]
    publish(
        own.app,
        tenant,
        1,
        {name: f"# {name}\n\nThe whole text of {name}, and nothing beside it." for name in names},
        media_type="text/markdown",
    )
    stream.until(tenant=tenant, events=...)
    code, said = stream.end()
    assert code == 0
    assert "Traceback" not in said
    assert stream.until(totals=...)["totals"]["indexed"] > 0
    assert own.count(tenant, "SELECT count(*) AS n FROM event") == own.done(tenant) > 0
    own.app.ingest(tenant)
    own.whole(tenant, names)


def test_neo4j_away_the_index_goes_on_and_the_graph_drains_when_it_is_back(own: Own) -> None:
    stream, tenant = own.running(), own.tenant()
    publish(own.app, tenant, 1, media_type="text/markdown", before="# Before\n\nPublished before.")
    stream.until(tenant=tenant, indexed=1)
    stopped(own, EmbeddedNeo4j.name)
    publish(own.app, tenant, 1, media_type="text/markdown", meanwhile="# Meanwhile\n\nPublished meanwhile.")
    assert stream.until(stage=..., waits=...)["stage"] == "project"
    assert "Published meanwhile." in own.found(tenant, "published meanwhile")
    assert "the graph lags" in explain.explain(own.app, tenant, "meanwhile")[0].verdict
    services.up(own.app.settings)
    eventually(lambda: explain.explain(own.app, tenant, "meanwhile")[0].verdict == "searchable")
    own.whole(tenant, ["before", "meanwhile"])


def stopped(own: Own, server: str) -> None:
    """Kill a server as a crash would."""
    pid = next(found.pid for found in services.status(own.app.settings) if found.name == server)
    victims = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    for victim in victims:
        victim.kill()
    psutil.wait_procs(victims, timeout=PATIENCE_S)
