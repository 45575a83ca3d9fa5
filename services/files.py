"""Where things are in the data folder, and how a file is replaced whole or not at all. No format is known here."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path

from core.config import Settings

PRIVATE_FILE = 0o600
PRIVATE_DIR = 0o700


@dataclass(frozen=True)
class Layout:
    """The data folder's parts. Everything under `owned` is ours: `down --purge` deletes exactly that."""

    root: Path

    @property
    def secrets(self) -> Path:
        return self.root / "secrets.json"

    @property
    def lock(self) -> Path:
        return self.root / "services.lock"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def run(self) -> Path:
        return self.root / "run"

    def home(self, service: str) -> Path:
        return self.root / service

    def log(self, service: str) -> Path:
        return self.logs / f"{service}.log"

    def state(self, service: str) -> Path:
        return self.run / f"{service}.json"

    @property
    def owned(self) -> tuple[Path, ...]:
        return (self.secrets, self.run, self.logs, self.home("postgres"), self.home("kafka"), self.home("neo4j"))

    def prepare(self) -> None:
        """Make the folders, readable by their owner alone. A root that others made and filled keeps its mode: it may be anything."""
        if not self.root.exists() or self.lock.exists() or not any(self.root.iterdir()):
            private_dir(self.root)
        for folder in (self.run, self.logs):
            private_dir(folder)


def layout(settings: Settings) -> Layout:
    return Layout(settings.data_dir.absolute())


def private_dir(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True, mode=PRIVATE_DIR)
    path.chmod(PRIVATE_DIR)
    return path


def write_whole(path: Path, content: str) -> None:
    """Replace a file, mode 0600, so that a crash leaves the old one or the new one, never a half."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
