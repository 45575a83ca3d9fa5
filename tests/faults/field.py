"""What the fault suite shares: streams on servers of its own, workloads under them, and ways to do each harm. Assertions are the tests'."""

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
from benchmarks._verdict import faults, from_scratch
from benchmarks._victims import INGEST, Order, Template, Victim
from benchmarks._workload import Workload, publish
from core.config import Parsing, Settings
from core.schema.migrate import migrate
from pipelines.app import Headrace
from pipelines.governance import tenants
from services.postgres import EmbeddedPostgres

PATIENCE_S = 90.0
DISK_MB = 384


@dataclass
class Load:
    """A tenant and the workload that is published for it."""

    field: Field
    tenant: str
    workload: Workload
    sent: int = 0
    """Records that were sent."""
    sent_before: int = 0
    """Of these, what came before the latest ones. It is known without Postgres, which may be what is being harmed."""

    def publish(self, changes: int = 8) -> None:
        self.send(self.workload.take(changes))

    def send(self, records: Any) -> None:
        self.sent_before, self.sent = self.sent, self.sent + len(records)
        publish(self.field.app.endpoints.kafka_client(), self.tenant, records)

    @property
    def unread(self) -> int:
        """Records that did not land."""
        return len(self.workload.records) - self.count("SELECT count(*) AS n FROM event")

    def count(self, query: str) -> int:
        with self.field.app.session(self.tenant).transaction() as connection:
            return int(connection.execute(query).fetchall()[0]["n"])

    @property
    def settled(self) -> bool:
        """Everything has landed, nothing is due and nothing waits."""
        waiting = "SELECT count(*) AS n FROM stage_record WHERE status = 'waiting'"
        return not (self.unread or self.field.app.due(self.tenant) or self.count(waiting))

    def letters(self) -> set[str]:
        """The reasons of the open dead letters of no document."""
        with self.field.app.session(self.tenant).transaction() as connection:
            query = "SELECT DISTINCT reason FROM dead_letter WHERE document IS NULL AND resolved_at IS NULL"
            return {row["reason"] for row in connection.execute(query)}

    def at_work(self) -> None:
        """Wait until some of what was sent last has landed, however long ago it has."""
        eventually(lambda: self.count("SELECT count(*) AS n FROM event") > self.sent_before, "nothing lands")

    def faults(self, *, heard: bool = True) -> dict[str, list[str]]:
        """Once all is settled: what is wrong, by kind; only the kinds there are. See `benchmarks._verdict.faults`."""
        eventually(lambda: self.settled, f"{self.tenant} is never done")
        plain = f"{self.tenant}-plain"
        from_scratch(self.field.app, self.workload, plain)
        found = faults(self.field.app, self.tenant, self.workload, plain, heard=heard)
        return {kind: list(lines) for kind, lines in found.items() if lines}


class Field:
    """Headrace on servers of a module's own, and the processes that stream there."""

    def __init__(self, app: Headrace, template: Template, disk: Path | None) -> None:
        self.app = app
        self.template = template
        self.disk = disk
        """Postgres' own, where one could be mounted."""
        self._loads = 0

    def load(self) -> Load:
        self._loads += 1
        name = f"load{self._loads}"
        tenants.add(self.app, name)
        return Load(self, name, Workload(seed=self._loads))

    def running(self) -> Victim:
        """A stream with nothing special about it."""
        plain = [victim for victim in self.living() if victim.order == Order()]
        for other in self.living():
            if other not in plain:
                self.end(other)
        return plain[0] if plain else self.start(Order())

    def only(self, order: Order) -> Victim:
        """A new process, and no other beside it."""
        self.end(*self.living())
        return self.start(order)

    def start(self, order: Order) -> Victim:
        victim = self.template.fork(order)
        self.hear_until(lambda: victim.ready, "a stream does not start")
        return victim

    def ingesting(self, load: Load) -> Victim:
        return self.start(Order(kind=INGEST, tenant=load.tenant))

    def living(self) -> list[Victim]:
        self.template.hear(0)
        return list(self.template.victims.values())

    def end(self, *victims: Victim) -> None:
        """Politely where they listen."""
        for victim in victims:
            if victim.order.kind == INGEST or psutil.Process(victim.pid).status() == psutil.STATUS_STOPPED:
                victim.kill()
            else:
                victim.terminate()
        self.hear_until(lambda: not any(victim.alive for victim in victims), "a stream does not end")
        assert [victim.code for victim in victims if victim.ended_by is None] == [0 for victim in victims if victim.ended_by is None]

    def hear_until(self, seen: Callable[[], Any], otherwise: str) -> None:
        def heard() -> Any:
            self.template.hear(0.05)
            return seen()

        eventually(heard, otherwise)

    def port(self, server: str) -> int:
        address = next(found.address for found in services.status(self.app.settings) if found.name == server)
        return int(str(address).rpartition(":")[2])

    def kill_server(self, server: str) -> None:
        """As a crash would: SIGKILL, its children too."""
        pid = next(found.pid for found in services.status(self.app.settings) if found.name == server)
        victims = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
        for victim in victims:
            victim.kill()
        psutil.wait_procs(victims, timeout=PATIENCE_S)

    def restart_servers(self) -> None:
        services.up(self.app.settings)


@contextmanager
def field_of(settings: Settings, folder: Path) -> Iterator[Field]:
    """Servers, a Headrace of the test's own process and a template for streams, all in `folder`."""
    mine = settings.model_copy(update={"data_dir": folder / "data", "parsing": Parsing(workers=1)})
    with small_disk(mine.data_dir / EmbeddedPostgres.name) as disk:
        try:
            with Template(mine.data_dir, folder / "streams.log") as template:
                endpoints = services.up(mine)
                migrate(endpoints.postgres_owner.get_secret_value())
                with Headrace(mine, endpoints) as app:
                    yield Field(app, template, disk)
        finally:
            services.down(mine)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """A disk of its own in this place; None where this user may not mount one."""
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
    """Nothing is left of a disk."""
    ballast = disk / "ballast"
    try:
        with suppress(OSError), ballast.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 20))
        yield
    finally:
        ballast.unlink()


def eventually(seen: Callable[[], Any], otherwise: str) -> None:
    deadline = monotonic() + PATIENCE_S
    while not seen():
        assert monotonic() < deadline, otherwise
        sleep(0.05)


def stopped(victim: Victim) -> bool:
    return bool(psutil.Process(victim.pid).status() == psutil.STATUS_STOPPED)


def freeze(victim: Victim) -> None:
    os.kill(victim.pid, signal.SIGSTOP)
    eventually(lambda: stopped(victim), "it does not stop")


def wake(victim: Victim) -> None:
    os.kill(victim.pid, signal.SIGCONT)
