"""The embedded Neo4j: Community edition, with Bolt on loopback as its only listener. Graph content does not belong here."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

from services.files import private_dir, write_atomic
from services.jvm import JavaServer
from services.server import NotReady, Progress

USER = "neo4j"
_PROBE_S = 5.0

# Neo4j refuses to start with an unknown setting, so a misspelt one is noticed
_FIXED = {
    "server.default_listen_address": "127.0.0.1",
    "server.bolt.enabled": "true",
    "server.http.enabled": "false",
    "server.https.enabled": "false",
    "dbms.security.auth_enabled": "true",
    "dbms.usage_report.enabled": "false",
    "server.memory.heap.max_size": "512m",
    "server.memory.pagecache.size": "64m",
    "db.tx_log.rotation.retention_policy": "keep_none",
    "db.tx_log.preallocate": "false",
    # by default it waits ten seconds for idle threads before it stops
    "internal.server.bolt.thread_pool_shutdown_wait_time": "0s",
}

# Neo4j's own launcher opens the same modules
_JVM_OPTIONS = (
    "--add-opens=java.base/java.nio=ALL-UNNAMED",
    "--add-opens=java.base/java.io=ALL-UNNAMED",
    "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
    "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
    "-Dlog4j2.disable.jmx=true",
    "-Dlog4j.layout.jsonTemplate.maxStringLength=32768",
)


class EmbeddedNeo4j(JavaServer):
    name = "neo4j"
    title = "Neo4j"
    stop_timeout_s = 40.0
    main = "org.neo4j.server.CommunityEntryPoint"
    heap = "512m"

    @property
    def jvm_options(self) -> tuple[str, ...]:
        return _JVM_OPTIONS

    def configure(self, port: int) -> None:
        # the file is not read as UTF-8, so it contains no path: paths are relative to the home given on the command line
        conf = private_dir(self.home / "conf")
        settings = _FIXED | {
            "server.bolt.listen_address": f"127.0.0.1:{port}",
            "server.bolt.advertised_address": f"127.0.0.1:{port}",
        }
        write_atomic(conf / "neo4j.conf", "".join(f"{key}={value}\n" for key, value in settings.items()))
        for name in ("server-logs.xml", "user-logs.xml"):
            shutil.copyfile(str(files("services") / "conf" / name), conf / name)

    def arguments(self) -> list[str]:
        # without --console-mode it drops the appenders that write to standard output
        return [f"--home-dir={self.home}", f"--config-dir={self.home / 'conf'}", "--console-mode"]

    def initialize(self, jars: list[Path], progress: Progress) -> None:
        """Set the initial password before the first start, so that Neo4j's default password is never valid.

        If no database folder exists, the server has never run: anything an interrupted attempt left is deleted.
        """
        if (self._data / "databases").exists():
            return
        shutil.rmtree(self._data, ignore_errors=True)
        progress("Neo4j: setting the password")
        environment = {"NEO4J_HOME": str(self.home), "NEO4J_CONF": str(self.home / "conf")}
        password = self.secrets["neo4j"].get_secret_value()
        self.tool(jars, "org.neo4j.cli.AdminTool", ["dbms", "set-initial-password", "--", password], environment)

    def probe(self, port: int) -> None:
        from neo4j import GraphDatabase
        from neo4j.exceptions import DriverError, Neo4jError

        login = (USER, self.secrets["neo4j"].get_secret_value())
        try:
            # an auto-commit query: a managed transaction would retry and log it
            with GraphDatabase.driver(self.url(port), auth=login, connection_timeout=_PROBE_S) as driver, driver.session() as session:
                session.run("RETURN 1").consume()
        except (DriverError, Neo4jError) as error:
            raise NotReady from error

    def url(self, port: int) -> str:
        return f"bolt://127.0.0.1:{port}"

    @property
    def _data(self) -> Path:
        return self.home / "data"
