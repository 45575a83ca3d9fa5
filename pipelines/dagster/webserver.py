"""`headrace ui`: Dagster's web server and daemon, on Postgres storage, with the configuration that the command line has.

One at a time on a data folder. Dagster's own three processes and the runs below them live in a session that ends with ours.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event
from typing import BinaryIO
from urllib.error import URLError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import Request, urlopen

import psutil
from filelock import FileLock, Timeout

import services
from core.config import Settings
from core.errors import ConfigurationError, HeadraceError
from pipelines.stream.engine import stopped_by_signals

CODE = "pipelines.definitions"
READY_S, LOOK_S = 120.0, 5.0
END_S = 45.0
"""A stream takes 20 s at most to finish what it has in hand, and so long again to tell what Dagster does not know yet."""

# Secrets stay in the environment of the process: the file says only where to find them. A run that waits is looked at every second,
# and never beside another one of its tenant, or of its slot. Runs of tenants are bounded together; those of the stream, which never end,
# take none of their places. A pool's place goes back when its run has ended, however it ended; a run that neither starts nor ends is
# given up.
INSTANCE = """\
storage:
  postgres:
    postgres_url:
      env: HEADRACE_DAGSTER_STORAGE
concurrency:
  pools:
    granularity: op
    default_limit: 1
  runs:
    max_concurrent_runs: -1
    tag_concurrency_limits:
      - key: dagster/partition
        limit: {runs}
      - key: dagster/partition
        value:
          applyLimitPerUniqueValue: true
        limit: 1
      - key: headrace/slot
        value:
          applyLimitPerUniqueValue: true
        limit: 1
run_monitoring:
  enabled: true
  start_timeout_seconds: 600
  cancel_timeout_seconds: 600
  free_slots_after_run_end_seconds: 30
  poll_interval_seconds: 15
run_queue:
  dequeue_interval_seconds: 1
python_logs:
  python_log_level: INFO
telemetry:
  enabled: false
nux:
  enabled: false
"""


def serve(settings: Settings, port: int, ready: Callable[[str], None]) -> None:
    """Run until SIGTERM or Ctrl-C. `ready` hears the address once it answers; port 0 takes a free one.

    Raises HeadraceError `ui-did-not-start`, `ui-runs-already` or, where Dagster ends by itself, `ui-ended`,
    and ConfigurationError where the port is taken.
    """
    port = port or _free_port()
    home = prepare_home(settings)
    log = settings.data_dir.absolute() / "logs" / "dagster.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with stopped_by_signals() as stop, _alone(home), log.open("ab") as output:
        _end_leftover(home)
        _refuse_a_port_that_is_taken(port)
        variables = environment(settings, home)
        _close_interrupted(settings, variables, output)
        with _dagster(port, variables, output) as process:
            address = f"http://127.0.0.1:{port}"
            _wait_until_ready(process, address, stop.is_set, log)
            if not stop.is_set():
                ready(address)
            _supervise(process, address, stop, log)


def prepare_home(settings: Settings) -> Path:
    """DAGSTER_HOME below the data folder, with its instance file."""
    home = settings.data_dir.absolute() / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    # each run is a process with its own models: no more at once than cores can feed, and two even so, or one tenant's backfill stops all
    runs = max(2, (os.cpu_count() or 1) // 4)
    (home / "dagster.yaml").write_text(INSTANCE.format(runs=runs), encoding="utf-8")
    return home


def environment(settings: Settings, home: Path) -> Mapping[str, str]:
    """What Dagster's processes need beside our own environment."""
    url = urlsplit(services.endpoints(settings).postgres_dagster.get_secret_value())
    # SQLAlchemy 2.1 takes `postgresql://` for psycopg 3, which Dagster's event watcher cannot use
    storage = urlunsplit(url._replace(scheme="postgresql+psycopg2"))
    return {
        **os.environ,
        "DAGSTER_HOME": str(home),
        "DAGSTER_DISABLE_TELEMETRY": "1",
        "HEADRACE_DAGSTER_STORAGE": storage,
        "HEADRACE_DATA_DIR": str(settings.data_dir.absolute()),
    }


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    lock = FileLock(home / "ui.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise HeadraceError("`headrace ui` runs already on this data folder", reason="ui-runs-already") from None
    try:
        yield
    finally:
        lock.release()


def _refuse_a_port_that_is_taken(port: int) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise ConfigurationError(f"port {port} is taken", remedy="Choose another one: `headrace ui --port 0` takes a free one.")


def _close_interrupted(settings: Settings, variables: Mapping[str, str], output: BinaryIO) -> None:
    """Only where the records are ours alone: on a Postgres that others use too, runs may be alive elsewhere."""
    if settings.postgres.dagster_url is None:
        subprocess.run([sys.executable, "-m", "pipelines.dagster.interrupted"], env=variables, stdout=output, stderr=output, check=False)


@contextmanager
def _dagster(port: int, variables: Mapping[str, str], output: BinaryIO) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "dagster", "dev", "-m", CODE, "-h", "127.0.0.1", "-p", str(port)]
    # a session of its own: in ours, it would ignore SIGTERM
    process = subprocess.Popen(command, env=variables, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True)
    try:
        yield process
    finally:
        _end(process)
        process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], address: str, stopped: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while not stopped() and not _answers(address):
        if process.poll() is not None or time.monotonic() > deadline:
            raise HeadraceError("Dagster did not start", reason="ui-did-not-start", remedy=f"See the end of {log}.")
        time.sleep(0.2)


def _supervise(process: subprocess.Popen[bytes], address: str, stop: Event, log: Path) -> None:
    looked = time.monotonic()
    while not stop.wait(0.2):
        if process.poll() is not None:
            raise HeadraceError("Dagster ended by itself", reason="ui-ended", remedy=f"See the end of {log}.")
        if time.monotonic() - looked > LOOK_S:
            _revive(process, address)
            looked = time.monotonic()


def _revive(process: subprocess.Popen[bytes], address: str) -> None:
    """`dagster dev` goes on without the process that has our code, and starts no run and no sensor, until it is told to load it anew."""
    if not any(_has_our_code(child) for child in _session(process.pid)):
        body = json.dumps({"query": f'mutation {{ reloadRepositoryLocation(repositoryLocationName: "{CODE}") {{ __typename }} }}'})
        request = Request(f"{address}/graphql", body.encode(), {"content-type": "application/json"})  # noqa: S310 our own address
        with suppress(URLError, OSError), urlopen(request, timeout=READY_S):  # noqa: S310 our own address
            pass


def _has_our_code(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.cmdline()[1:5] == ["-m", "dagster", "api", "grpc"] and _lives(process)
    return False


def _answers(address: str) -> bool:
    try:
        with urlopen(f"{address}/server_info", timeout=2) as answer:  # noqa: S310 our own address
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _end_leftover(home: Path) -> None:
    """Dagster of a `headrace ui` on this folder that was killed and could not end it."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cmdline()[1:4] == ["-m", "dagster", "dev"] and process.environ().get("DAGSTER_HOME") == str(home):
                _end(process)


def _end(process: subprocess.Popen[bytes] | psutil.Process) -> None:
    """First everything in the session of `dagster dev` is told to end; then whatever is left is killed: nothing of ours outlives us.

    Its runs are told too, as `dagster dev` would not: the stream's finishes what it has in hand, any other is cancelled on the record.
    """
    session, until = _session(process.pid), time.monotonic() + END_S
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    while any(map(_lives, session)) and time.monotonic() < until:
        time.sleep(0.1)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _session(pid: int) -> list[psutil.Process]:
    """Everything that `dagster dev` started, a run whose parent was killed too."""
    found = []
    for process in psutil.process_iter():
        with suppress(OSError):
            if os.getsid(process.pid) == pid:
                found.append(process)
    return found


def _lives(process: psutil.Process) -> bool:
    """One that has ended and was not waited for yet is gone too."""
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
