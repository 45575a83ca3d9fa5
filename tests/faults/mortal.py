"""A stage that dies over some documents, and the processes that run it: one after the other, each killed by a real signal, until one ends.

`python -m tests.faults.mortal` reads on standard input where Postgres is and whose documents they are, and prints how many died.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence

import polars as pl
from pydantic import SecretStr

from core import artifacts, frames
from core.config import master_key_bytes
from core.ledger.ledger import Stale, Step
from core.ledger.stage import Session, Stage, run
from core.tenancy import Connection, Database
from privacy import tenant_keys
from tests.tenant_fixture import World

KILLS = b"kills"
"""What the content of a document that kills begins with."""

MOST = 40


def mortal(batch: int = 8) -> Stage:
    """Keeps each document's content; one that kills takes the process with it."""

    def compute(session: Session, rows: Sequence[Stale], _: Counter[str]) -> pl.DataFrame:
        with session.transaction() as connection:
            found = artifacts.get(connection, session.keys, "land", [row.document for row in rows])
        if any(content.startswith(KILLS) for content in found.values()):
            os.kill(os.getpid(), signal.SIGKILL)
        inputs = [{"document": row.document, "input_key": row.input_key, "content": found[row.document]} for row in rows]
        return frames.apply(pl.DataFrame(inputs), lambda row: bytes(row["content"]))

    def store(connection: Connection, session: Session, payloads: Mapping[str, bytes]) -> Sequence[str]:
        artifacts.put(connection, session.keys, "mortal", payloads)
        return ()

    return Stage(Step("mortal", None, "content", "1"), compute, store, lambda *_: (), batch)


def deaths(world: World, batch: int = 8) -> int:
    """Run it until a process comes to its end. Gives how many did not."""
    told = {
        "url": world.app.endpoints.postgres_pipeline.get_secret_value(),
        "master_key": world.app.endpoints.master_key.get_secret_value(),
        "tenant": world.tenant,
        "batch": batch,
    }
    command = [sys.executable, "-m", "tests.faults.mortal"]
    done = subprocess.run(command, input=json.dumps(told), capture_output=True, text=True, timeout=120, check=True)
    return int(done.stdout)


def _victim(told: Mapping[str, str | int]) -> None:
    tenant = str(told["tenant"])
    with Database(str(told["url"])) as database:
        keys = tenant_keys(master_key_bytes(SecretStr(str(told["master_key"]))), tenant, database.get(tenant).wrapped_key)
        run(mortal(int(told["batch"])), Session(tenant, database, keys))


def _main() -> None:
    told, died = json.load(sys.stdin), 0
    while died < MOST:
        victim = os.fork()
        if not victim:
            _victim(told)
            os._exit(0)
        _, status = os.waitpid(victim, 0)
        if not os.WIFSIGNALED(status):
            break
        died += 1
    print(died)  # noqa: T201


if __name__ == "__main__":
    _main()
