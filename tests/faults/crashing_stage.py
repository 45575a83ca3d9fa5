"""A stage that crashes its process on some documents, and a runner that restarts the process after each crash.

`python -m tests.faults.crashing_stage` reads the connection, keys and tenant as JSON from standard input. It forks processes that run the
stage, one after the other, until one finishes, and prints the number of crashes.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Mapping, Sequence

from pydantic import SecretStr

from core import artifacts
from core.config import master_key_bytes
from core.frames import Result
from core.ledger.ledger import Stale, Step
from core.ledger.stage import Session, Stage, run
from core.tenancy import Database
from privacy import tenant_keys
from tests.tenant_fixture import World

KILLS = b"kills"
"""A document whose content begins with this kills the process."""

MAX_CRASHES = 40


class CrashingStage(Stage):
    """Store each document's content. Kill the process with SIGKILL if a document of the batch begins with `KILLS`."""

    def __init__(self, batch: int) -> None:
        self.step = Step("crashing", None, "content", "1")
        self.batch = batch

    def compute(self, session: Session, rows: Sequence[Stale], tally: Counter[str]) -> Sequence[Result]:
        with session.transaction() as connection:
            contents = artifacts.get(connection, session.keys, "land", [row.document for row in rows])
        if any(content.startswith(KILLS) for content in contents.values()):
            os.kill(os.getpid(), signal.SIGKILL)
        return [Result(row.document, contents[row.document]) for row in rows]


def crashes(world: World, batch: int = 8) -> int:
    """Run the stage until a process finishes. Returns the number of processes that crashed before."""
    arguments = {
        "url": world.app.endpoints.postgres_pipeline.get_secret_value(),
        "master_key": world.app.endpoints.master_key.get_secret_value(),
        "tenant": world.tenant,
        "batch": batch,
    }
    command = [sys.executable, "-m", "tests.faults.crashing_stage"]
    done = subprocess.run(command, input=json.dumps(arguments), capture_output=True, text=True, timeout=120, check=True)
    return int(done.stdout)


def _run(arguments: Mapping[str, str | int]) -> None:
    tenant = str(arguments["tenant"])
    with Database(str(arguments["url"])) as database:
        keys = tenant_keys(master_key_bytes(SecretStr(str(arguments["master_key"]))), tenant, database.get(tenant).wrapped_key)
        run(CrashingStage(int(arguments["batch"])), Session(tenant, database, keys))


def _main() -> None:
    arguments, crashed = json.load(sys.stdin), 0
    while crashed < MAX_CRASHES:
        process = os.fork()
        if not process:
            _run(arguments)
            os._exit(0)
        _, status = os.waitpid(process, 0)
        if not os.WIFSIGNALED(status):
            break
        crashed += 1
    print(crashed)  # noqa: T201


if __name__ == "__main__":
    _main()
