"""The pin lists: each jar of a server by coordinate and SHA-256, one per line, in classpath order. Downloads are in `download`."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath


@dataclass(frozen=True)
class Pin:
    """One jar: `group:artifact:version[:classifier]` and the SHA-256 of its content in hex."""

    coordinate: str
    sha256: str

    @property
    def path(self) -> PurePosixPath:
        """The jar's path relative to the cache folder, in Maven's repository layout."""
        group, artifact, version, *classifier = self.coordinate.split(":")
        return PurePosixPath(*group.split("."), artifact, version, f"{'-'.join([artifact, version, *classifier])}.jar")


@dataclass(frozen=True)
class PinList:
    """The jars of a server. `digest` identifies this version of the list: the SHA-256 of its file."""

    server: str
    pins: tuple[Pin, ...]
    digest: str

    @property
    def version(self) -> str:
        """The server's version: that of the first jar."""
        return self.pins[0].coordinate.split(":")[2]


@cache
def pin_list(server: str) -> PinList:
    """Read `jars/<server>.txt`. The first jar is the server's own."""
    text = files("services").joinpath(f"jars/{server}.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return PinList(server, tuple(Pin(*line.split()) for line in lines), hashlib.sha256(text.encode()).hexdigest())
