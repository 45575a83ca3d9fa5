"""The digest of a file."""

from __future__ import annotations

import hashlib
from pathlib import Path


def sha256(path: Path) -> str:
    """Hash a file. Returns hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
