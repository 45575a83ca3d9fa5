"""`up`, `down`, `status`, `endpoints`: which servers are embedded, which are given by URL, and where each listens."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from filelock import FileLock, Timeout
from pydantic import SecretStr

from core.config import Endpoints, Settings
from core.errors import ConfigurationError, Unavailable
from core.postgres_url import address
from services import kafka, neo4j, passwords, processes
from services.files import Layout, layout
from services.kafka import EmbeddedKafka
from services.neo4j import EmbeddedNeo4j
from services.passwords import Secrets
from services.postgres import EmbeddedPostgres
from services.report import ServiceStatus
from services.server import Progress, Server

_REMEDY = "Run `headrace up`."
ProgressCallback = Callable[[str], None]


def _ignore(line: str) -> None:
    """The default progress callback."""


def up(settings: Settings, progress: ProgressCallback = _ignore) -> Endpoints:
    """Start the embedded servers that are not running, and wait until each answers an authenticated request.

    Idempotent, safe to run concurrently, and recovers from a crash at any point. Calls `progress` with one line of text at a time.
    Raises HeadraceError: `server-did-not-start`, `servers-unavailable`, `jar-hash-mismatch`, `port-taken`, `bad-configuration`.
    """
    _require_master_key(settings)
    folder = layout(settings)
    folder.prepare()
    report = Progress(progress)
    with locked(folder, report):
        servers = _servers(settings, folder, passwords.ensure(folder))
        _in_parallel(servers.values(), lambda server: server.up(report), report)
    return endpoints(settings)


def down(settings: Settings, *, purge: bool = False, progress: ProgressCallback = _ignore) -> None:
    """Stop the embedded servers, Postgres last. With `purge`, delete their files in the data folder too, including all data."""
    folder = layout(settings)
    if not folder.root.exists():
        return
    report = Progress(progress)
    with locked(folder, report):
        servers = _servers(settings, folder, passwords.Secrets({}))
        postgres = [servers.pop("postgres")] if "postgres" in servers else []
        for group in (list(servers.values()), postgres):
            _in_parallel(group, lambda server: _stop(server, report), report)
        if purge:
            _purge(folder)


def endpoints(settings: Settings) -> Endpoints:
    """Return where the servers are and how to log in, without starting any.

    Raises Unavailable if the embedded Postgres is not running, or if another embedded server was never started. A server that is
    temporarily down is returned with its last port, so that only its users are affected.
    """
    folder = layout(settings)
    secrets = passwords.read(folder)
    servers = _servers(settings, folder, secrets)
    return Endpoints(
        **_postgres_endpoint(settings, servers.get("postgres")),
        **_kafka_endpoint(settings, servers.get("kafka")),
        **_neo4j_endpoint(settings, servers.get("neo4j")),
        master_key=_master_key(settings, secrets),
    )


def status(settings: Settings) -> list[ServiceStatus]:
    """Return each server's status, in a fixed order. Starts nothing, does not log in, and works while everything is down."""
    servers = _servers(settings, layout(settings), passwords.Secrets({}))
    return [_status(settings, name, servers.get(name)) for name in ("postgres", "kafka", "neo4j")]


@contextmanager
def locked(folder: Layout, progress: ProgressCallback = _ignore) -> Iterator[None]:
    """Hold the data folder's lock, which admits one `up`, `down` or change of secrets at a time."""
    lock = FileLock(folder.lock, mode=0o600)
    try:
        lock.acquire(timeout=0.2)
    except Timeout:
        progress("waiting for another headrace command that is using the data folder")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _servers(settings: Settings, folder: Layout, secrets: Secrets) -> dict[str, Server]:
    """Return the embedded servers by name: those that are not given by URL."""
    kinds: list[tuple[type[Server], bool, int]] = [
        (EmbeddedPostgres, settings.postgres.owner_url is not None, settings.postgres.port),
        (EmbeddedKafka, settings.kafka.bootstrap is not None, settings.kafka.port),
        (EmbeddedNeo4j, settings.neo4j.url is not None, settings.neo4j.port),
    ]
    return {kind.name: kind(folder, secrets, settings.jars, port) for kind, external, port in kinds if not external}


def _in_parallel(servers: Iterable[Server], work: Callable[[Server], object], progress: Progress) -> None:
    """Work on all servers in parallel, wait for all, then raise the first failure. Ctrl-C cancels the work instead of waiting for it."""
    with ThreadPoolExecutor(3) as pool:
        tasks = [pool.submit(work, server) for server in servers]
        try:
            wait(tasks)
        except BaseException:
            progress.cancel()
            raise
    for task in tasks:
        task.result()


def _stop(server: Server, progress: Progress) -> None:
    if server.running():
        progress(f"{server.title}: stopping")
    server.down()


def _purge(folder: Layout) -> None:
    for path in folder.owned:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _require_master_key(settings: Settings) -> None:
    if settings.postgres.owner_url is not None and settings.master_key is None:
        raise ConfigurationError(
            "an external Postgres needs master_key: data encrypted there must not depend on a key in this data folder",
            remedy="Set HEADRACE_MASTER_KEY to 32 random bytes in base64, and keep it safe.",
        )


def _master_key(settings: Settings, secrets: Secrets) -> SecretStr:
    _require_master_key(settings)
    return settings.master_key or secrets["master_key"]


def _port(server: Server) -> int:
    found = server.running()
    state = found[0] if found else processes.read_state(server.state_file)
    if state is None or (found is None and isinstance(server, EmbeddedPostgres)):
        raise Unavailable(f"{server.title} is not running", remedy=_REMEDY)
    return state.port


def _postgres_endpoint(settings: Settings, server: Server | None) -> dict[str, Any]:
    roles = ("owner", "pipeline", "reader", "dagster")
    if not isinstance(server, EmbeddedPostgres):
        return {f"postgres_{role}": getattr(settings.postgres, f"{role}_url") for role in roles}
    port = _port(server)
    return {f"postgres_{role}": SecretStr(server.url(role, port)) for role in roles}


def _kafka_endpoint(settings: Settings, server: Server | None) -> dict[str, Any]:
    given = settings.kafka
    if not isinstance(server, EmbeddedKafka):
        return {
            "kafka_bootstrap": given.bootstrap,
            "kafka_protocol": given.protocol,
            "kafka_mechanism": given.mechanism,
            "kafka_username": given.username,
            "kafka_password": given.password,
        }
    return {
        "kafka_bootstrap": f"127.0.0.1:{_port(server)}",
        "kafka_protocol": kafka.PROTOCOL,
        "kafka_mechanism": kafka.MECHANISM,
        "kafka_username": kafka.ADMIN,
        "kafka_password": server.secrets["kafka_admin"],
    }


def _neo4j_endpoint(settings: Settings, server: Server | None) -> dict[str, Any]:
    given = settings.neo4j
    if not isinstance(server, EmbeddedNeo4j):
        return {"neo4j_url": given.url, "neo4j_username": given.username, "neo4j_password": given.password}
    return {"neo4j_url": server.url(_port(server)), "neo4j_username": neo4j.USER, "neo4j_password": server.secrets["neo4j"]}


def _status(settings: Settings, name: str, server: Server | None) -> ServiceStatus:
    if server is None:
        return ServiceStatus(name, "external", address=_external_address(settings, name))
    found = server.running()
    if found is None:
        return ServiceStatus(name, "down", version=server.version, log=_if_exists(server.log))
    state, process = found
    return ServiceStatus(
        name,
        "up" if processes.listening(state.port) else "starting",
        address=f"127.0.0.1:{state.port}",
        version=server.version,
        pid=process.pid,
        log=server.log,
        memory_bytes=processes.memory_bytes(process),
    )


def _if_exists(log: Path) -> Path | None:
    return log if log.exists() else None


def _external_address(settings: Settings, name: str) -> str | None:
    """The host and port only, because a URL may contain a password."""
    if name == "kafka":
        return settings.kafka.bootstrap
    if name == "postgres":
        owner = settings.postgres.owner_url
        return address(owner.get_secret_value()) if owner else None
    parts = urlsplit(settings.neo4j.url or "")
    return f"{parts.hostname}:{parts.port}" if parts.port else parts.hostname
