"""`headrace ui`: Dagster's web server and daemon on Postgres storage, with the command line's configuration.

One at a time for each data folder. Dagster's three processes and the runs below them live in one session, which ends with ours.
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
"""A stream takes up to 20 s to finish what is in flight, and as long again to report what Dagster does not know yet."""

# Secrets stay in the environment of the process: the file only names the variables. Queued runs are dequeued every second, and at most
# one run of a tenant or of a slot is active. Runs of tenants share one limit; those of the stream, which never end, do not count towards
# it. A pool's slot is freed when its run has ended, however it ended; a run that does not start, or does not end when told to, is ended.
# A run that has started and lost its process is `dead_run_sensor`'s: with the default launcher nothing here looks after it, or resumes it.
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
  max_resume_run_attempts: 0
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
    """Run until SIGTERM or Ctrl-C. `ready` is called with the address once it answers; port 0 takes a free one.

    Raises HeadraceError `ui-did-not-start`, `ui-runs-already` or, if Dagster ends by itself, `ui-ended`, and ConfigurationError if the
    port is taken.
    """
    port = port or _free_port()
    home = prepare_home(settings)
    log = settings.data_dir.absolute() / "logs" / "dagster.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with stopped_by_signals() as stop, _locked(home), log.open("ab") as output:
        _end_orphans(home)
        _refuse_taken_port(port)
        variables = environment(settings, home)
        _fail_interrupted(settings, variables, output)
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
    # each run is a process with its own models: no more at once than the cores can serve, but at least two, or one tenant's backfill
    # blocks all others
    runs = max(2, (os.cpu_count() or 1) // 4)
    (home / "dagster.yaml").write_text(INSTANCE.format(runs=runs), encoding="utf-8")
    return home


def environment(settings: Settings, home: Path) -> Mapping[str, str]:
    """Our environment, and what Dagster's processes need besides."""
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
def _locked(home: Path) -> Iterator[None]:
    lock = FileLock(home / "ui.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise HeadraceError("`headrace ui` runs already on this data folder", reason="ui-runs-already") from None
    try:
        yield
    finally:
        lock.release()


def _refuse_taken_port(port: int) -> None:
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", port)) == 0:
            raise ConfigurationError(f"port {port} is taken", remedy="Choose another one: `headrace ui --port 0` takes a free one.")


def _fail_interrupted(settings: Settings, variables: Mapping[str, str], output: BinaryIO) -> None:
    """Only on our own Postgres: in an instance that other hosts share, runs may be alive elsewhere."""
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
    checked = time.monotonic()
    while not stop.wait(0.2):
        if process.poll() is not None:
            raise HeadraceError("Dagster ended by itself", reason="ui-ended", remedy=f"See the end of {log}.")
        if time.monotonic() - checked > LOOK_S:
            _revive(process, address)
            checked = time.monotonic()


def _revive(process: subprocess.Popen[bytes], address: str) -> None:
    """Reload the code location if its process died: `dagster dev` goes on without it, and starts no run and no sensor."""
    if not any(_serves_our_code(child) for child in _session(process.pid)):
        body = json.dumps({"query": f'mutation {{ reloadRepositoryLocation(repositoryLocationName: "{CODE}") {{ __typename }} }}'})
        request = Request(f"{address}/graphql", body.encode(), {"content-type": "application/json"})  # noqa: S310 our own address
        with suppress(URLError, OSError), urlopen(request, timeout=READY_S):  # noqa: S310 our own address
            pass


def _serves_our_code(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.cmdline()[1:5] == ["-m", "dagster", "api", "grpc"] and _is_alive(process)
    return False


def _answers(address: str) -> bool:
    try:
        with urlopen(f"{address}/server_info", timeout=2) as answer:  # noqa: S310 our own address
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False


def _end_orphans(home: Path) -> None:
    """End the Dagster processes of a `headrace ui` on this folder that was killed."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.cmdline()[1:4] == ["-m", "dagster", "dev"] and process.environ().get("DAGSTER_HOME") == str(home):
                _end(process)


def _end(process: subprocess.Popen[bytes] | psutil.Process) -> None:
    """Send SIGTERM to the whole session of `dagster dev`, then kill what is left: no process of ours outlives us.

    Its runs get the signal too, which `dagster dev` would not send: the stream finishes what is in flight, any other run is recorded as
    cancelled.
    """
    session, until = _session(process.pid), time.monotonic() + END_S
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    while any(map(_is_alive, session)) and time.monotonic() < until:
        time.sleep(0.1)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _session(pid: int) -> list[psutil.Process]:
    """Every process that `dagster dev` started, including runs whose parent was killed."""
    found = []
    for process in psutil.process_iter():
        with suppress(OSError):
            if os.getsid(process.pid) == pid:
                found.append(process)
    return found


def _is_alive(process: psutil.Process) -> bool:
    """A zombie does not count as alive."""
    with suppress(psutil.Error):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
