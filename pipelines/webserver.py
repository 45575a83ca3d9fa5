"""`headrace ui`: Dagster's web server and daemon, on Postgres storage, with the configuration that the command line has."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import services
from core.config import Settings
from core.errors import HeadraceError
from pipelines.streaming import stopped_by_signals

READY_S = 120.0

# Secrets stay in the environment of the process: the file says only where to find them.
INSTANCE = """\
storage:
  postgres:
    postgres_url:
      env: HEADRACE_DAGSTER_STORAGE
telemetry:
  enabled: false
concurrency:
  runs:
    max_concurrent_runs: 2
python_logs:
  python_log_level: INFO
"""


def serve(settings: Settings, port: int, ready: Callable[[str], None]) -> None:
    """Run until SIGTERM or Ctrl-C. `ready` hears the address once it answers. Raises HeadraceError `ui-did-not-start`."""
    home = prepare_home(settings)
    port = port or _free_port()
    command = [sys.executable, "-m", "dagster", "dev", "-m", "pipelines.definitions", "-h", "127.0.0.1", "-p", str(port)]
    log = settings.data_dir / "logs" / "dagster.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with stopped_by_signals() as stop, log.open("ab") as output:
        # a session of its own: in ours, it would ignore SIGTERM
        process = subprocess.Popen(command, env=environment(settings, home), stdout=output, stderr=output, start_new_session=True)
        try:
            _wait_until_ready(process, port, stop.is_set, log)
            ready(f"http://127.0.0.1:{port}")
            while not stop.wait(0.5) and process.poll() is None:
                pass
        finally:
            _end(process)


def prepare_home(settings: Settings) -> Path:
    """DAGSTER_HOME below the data folder, with its instance file."""
    home = settings.data_dir.absolute() / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    (home / "dagster.yaml").write_text(INSTANCE, encoding="utf-8")
    return home


def environment(settings: Settings, home: Path) -> Mapping[str, str]:
    """What Dagster's processes need beside our own environment."""
    url = urlsplit(services.endpoints(settings).postgres_dagster.get_secret_value())
    # SQLAlchemy 2.1 takes `postgresql://` for psycopg 3, which Dagster's event watcher cannot use
    storage = urlunsplit(url._replace(scheme="postgresql+psycopg2"))
    return {**os.environ, "DAGSTER_HOME": str(home), "HEADRACE_DAGSTER_STORAGE": storage, "DAGSTER_DISABLE_TELEMETRY": "1"}


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, stopped: Callable[[], bool], log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while not stopped():
        if process.poll() is not None or time.monotonic() > deadline:
            raise HeadraceError("Dagster did not start", reason="ui-did-not-start", remedy=f"See the end of {log}.")
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)


def _end(process: subprocess.Popen[bytes]) -> None:
    """The whole session, as `dagster dev` has the web server, the daemon and the code location below it."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
