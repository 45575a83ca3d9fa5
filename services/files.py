"""The data folder's layout, and atomic file replacement. File formats do not belong here."""

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
    """The paths in the data folder. `down --purge` deletes exactly the paths in `owned`."""

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
        """Create the folders, readable by their owner only. A root folder that already contains other files keeps its mode."""
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


def write_atomic(path: Path, content: str) -> None:
    """Replace a file atomically, with mode 0600: a crash leaves the old content or the new."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
