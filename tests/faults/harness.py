"""Shared by the fault tests: servers, streams and workloads, and the faults to inject. Assertions are in the tests."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psutil

import services
from benchmarks._forkserver import INGEST, ForkedProcess, ForkServer, ProcessSpec
from benchmarks._verdict import faults, from_scratch
from benchmarks._workload import Workload, publish
from core.config import Parsing, Settings
from core.schema.migrate import migrate
from pipelines.app import Headrace
from pipelines.governance import tenants
from pipelines.operations.stage_counts import due
from services.postgres import EmbeddedPostgres

TIMEOUT_S = 90.0
DISK_MB = 384


@dataclass
class Load:
    """A tenant and the workload that is published for it."""

    harness: Harness
    tenant: str
    workload: Workload
    sent: int = 0
    """The number of records sent."""
    sent_before: int = 0
    """The number of records sent before the latest ones. It is known without Postgres, which may be the faulty server."""

    def publish(self, changes: int = 8) -> None:
        self.send(self.workload.take(changes))

    def send(self, records: Any) -> None:
        self.sent_before, self.sent = self.sent, self.sent + len(records)
        publish(self.harness.app.endpoints.kafka_client(), self.tenant, records)

    @property
    def unread(self) -> int:
        """The number of records that have not landed."""
        return len(self.workload.records) - self.count("SELECT count(*) AS n FROM event")

    def count(self, query: str) -> int:
        with self.harness.app.session(self.tenant).transaction() as connection:
            return int(connection.execute(query).fetchall()[0]["n"])

    @property
    def done(self) -> bool:
        """Whether everything has landed, nothing is due and nothing waits."""
        waiting = "SELECT count(*) AS n FROM stage_record WHERE status = 'waiting'"
        return not (self.unread or due(self.harness.app, self.tenant) or self.count(waiting))

    def dead_letter_reasons(self) -> set[str]:
        """The reasons of the unresolved dead letters that belong to no document."""
        with self.harness.app.session(self.tenant).transaction() as connection:
            query = "SELECT DISTINCT reason FROM dead_letter WHERE document IS NULL AND resolved_at IS NULL"
            return {row["reason"] for row in connection.execute(query)}

    def wait_until_landing(self) -> None:
        """Wait until some of the records sent last have landed. Returns at once if they already have."""
        eventually(lambda: self.count("SELECT count(*) AS n FROM event") > self.sent_before, "nothing lands")

    def faults(self, *, check_outcomes: bool = True) -> dict[str, list[str]]:
        """Wait until everything is done and return what is wrong, by kind, without empty kinds. See `benchmarks._verdict.faults`."""
        eventually(lambda: self.done, f"{self.tenant} is never done")
        plain = f"{self.tenant}-plain"
        from_scratch(self.harness.app, self.workload, plain)
        found = faults(self.harness.app, self.tenant, self.workload, plain, check_outcomes=check_outcomes)
        return {kind: list(lines) for kind, lines in found.items() if lines}


class Harness:
    """Headrace on a test module's own servers, and the processes that stream there."""

    def __init__(self, app: Headrace, server: ForkServer, disk: Path | None) -> None:
        self.app = app
        self.server = server
        self.disk = disk
        """The file system under Postgres' data, if one could be mounted."""
        self._loads = 0

    def load(self) -> Load:
        self._loads += 1
        name = f"load{self._loads}"
        tenants.add(self.app, name)
        return Load(self, name, Workload(seed=self._loads))

    def stream(self) -> ForkedProcess:
        """Return a stream without special settings, started if there is none. Stops the processes with special settings."""
        plain = [process for process in self.running() if process.spec == ProcessSpec()]
        for process in self.running():
            if process not in plain:
                self.stop(process)
        return plain[0] if plain else self.start(ProcessSpec())

    def start_alone(self, spec: ProcessSpec) -> ForkedProcess:
        """Stop all processes and start a new one."""
        self.stop(*self.running())
        return self.start(spec)

    def start(self, spec: ProcessSpec) -> ForkedProcess:
        process = self.server.fork(spec)
        self._eventually(lambda: process.ready, "a stream does not start")
        return process

    def ingesting(self, load: Load) -> ForkedProcess:
        return self.start(ProcessSpec(kind=INGEST, tenant=load.tenant))

    def running(self) -> list[ForkedProcess]:
        self.server.poll(0)
        return list(self.server.processes.values())

    def stop(self, *processes: ForkedProcess) -> None:
        """Stop the processes: with SIGTERM if they react to it, otherwise with SIGKILL."""
        for process in processes:
            if process.spec.kind == INGEST or psutil.Process(process.pid).status() == psutil.STATUS_STOPPED:
                process.kill()
            else:
                process.terminate()
        self._eventually(lambda: not any(process.alive for process in processes), "a stream does not end")
        assert all(process.code == 0 for process in processes if process.ended_by is None)

    def _eventually(self, condition: Callable[[], Any], failure: str) -> None:
        def polled() -> Any:
            self.server.poll(0.05)
            return condition()

        eventually(polled, failure)

    def port(self, server: str) -> int:
        address = next(found.address for found in services.status(self.app.settings) if found.name == server)
        return int(str(address).rpartition(":")[2])

    def kill_server(self, server: str) -> None:
        """Kill a server as a crash would: SIGKILL, also to its children."""
        pid = next(found.pid for found in services.status(self.app.settings) if found.name == server)
        family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        for process in family:
            process.kill()
        psutil.wait_procs(family, timeout=TIMEOUT_S)

    def restart_servers(self) -> None:
        services.up(self.app.settings)


@contextmanager
def open_harness(settings: Settings, folder: Path) -> Iterator[Harness]:
    """Start servers, a Headrace in this process and a fork server for streams, all in `folder`."""
    own = settings.model_copy(update={"data_dir": folder / "data", "parsing": Parsing(workers=1)})
    with small_disk(own.data_dir / EmbeddedPostgres.name) as disk:
        try:
            with ForkServer(own.data_dir, folder / "streams.log") as server:
                endpoints = services.up(own)
                migrate(endpoints.postgres_owner.get_secret_value())
                with Headrace(own, endpoints) as app:
                    yield Harness(app, server, disk)
        finally:
            services.down(own)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """Mount a small file system at this folder. Yields None if this user may not mount one."""
    folder.mkdir(mode=0o700, parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=700", "tmpfs", str(folder)], capture_output=True, check=False
    )
    try:
        yield folder if mounted.returncode == 0 else None
    finally:
        if mounted.returncode == 0:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


@contextmanager
def filled(disk: Path) -> Iterator[None]:
    """Fill a file system completely."""
    ballast = disk / "ballast"
    try:
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
        yield
    finally:
        ballast.unlink()


def eventually(condition: Callable[[], Any], failure: str) -> None:
    """Wait until the condition is true. Fails with the message `failure` after `TIMEOUT_S`."""
    deadline = monotonic() + TIMEOUT_S
    while not condition():
        assert monotonic() < deadline, failure
        sleep(0.05)


def is_paused(process: ForkedProcess) -> bool:
    return bool(psutil.Process(process.pid).status() == psutil.STATUS_STOPPED)


def pause(process: ForkedProcess) -> None:
    os.kill(process.pid, signal.SIGSTOP)
    eventually(lambda: is_paused(process), "the process does not stop")


def resume(process: ForkedProcess) -> None:
    os.kill(process.pid, signal.SIGCONT)
