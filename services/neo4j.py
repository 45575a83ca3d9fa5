"""The embedded Neo4j: Community edition, Bolt on loopback and nothing else. No node is made here."""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

from services.files import private_dir, write_whole
from services.jvm import JavaServer
from services.server import NotYet, Progress

USER = "neo4j"
_PROBE_S = 5.0

# unknown settings refuse to start, which is what we want of a misspelt one
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
    # else it waits ten seconds for an idle thread before it stops
    "internal.server.bolt.thread_pool_shutdown_wait_time": "0s",
}


class EmbeddedNeo4j(JavaServer):
    name = "neo4j"
    title = "Neo4j"
    patience_s = 40.0
    main = "org.neo4j.server.CommunityEntryPoint"
    heap = "512m"
    # the modules that its own launcher opens
    jvm = (
        "--add-opens=java.base/java.nio=ALL-UNNAMED",
        "--add-opens=java.base/java.io=ALL-UNNAMED",
        "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
        "--add-opens=java.base/java.util.concurrent=ALL-UNNAMED",
        "-Dlog4j2.disable.jmx=true",
        "-Dlog4j.layout.jsonTemplate.maxStringLength=32768",
    )

    def configure(self, port: int) -> None:
        # no path stands in its configuration, which is not read as UTF-8: all are relative to the home that the command line gives
        conf = private_dir(self.home / "conf")
        settings = _FIXED | {
            "server.bolt.listen_address": f"127.0.0.1:{port}",
            "server.bolt.advertised_address": f"127.0.0.1:{port}",
        }
        write_whole(conf / "neo4j.conf", "".join(f"{key}={value}\n" for key, value in settings.items()))
        for name in ("server-logs.xml", "user-logs.xml"):
            shutil.copyfile(str(files("services") / "conf" / name), conf / name)

    def arguments(self) -> list[str]:
        # otherwise it drops the appenders that write to its standard output
        return [f"--home-dir={self.home}", f"--config-dir={self.home / 'conf'}", "--console-mode"]

    def initialize(self, jars: list[Path], progress: Progress) -> None:
        """Set the first password before the first start, so that Neo4j's default one never opens anything.

        Until a database is there the server never ran, and what a cut-off attempt left is done again.
        """
        if (self._data / "databases").exists():
            return
        shutil.rmtree(self._data, ignore_errors=True)
        progress("Neo4j: setting its password")
        where = {"NEO4J_HOME": str(self.home), "NEO4J_CONF": str(self.home / "conf")}
        password = self.secrets["neo4j"].get_secret_value()
        self.tool(jars, "org.neo4j.cli.AdminTool", ["dbms", "set-initial-password", "--", password], where)

    def probe(self, port: int) -> None:
        from neo4j import GraphDatabase
        from neo4j.exceptions import DriverError, Neo4jError

        login = (USER, self.secrets["neo4j"].get_secret_value())
        try:
            # a plain session: a managed transaction would try again by itself, and say so in the log
            with GraphDatabase.driver(self.url(port), auth=login, connection_timeout=_PROBE_S) as driver, driver.session() as session:
                session.run("RETURN 1").consume()
        except (DriverError, Neo4jError) as error:
            raise NotYet from error

    def url(self, port: int) -> str:
        return f"bolt://127.0.0.1:{port}"

    @property
    def _data(self) -> Path:
        return self.home / "data"
