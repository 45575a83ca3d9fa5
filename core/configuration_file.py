"""Where the configuration and the data folder are, found without reading settings: for a command that leaves its work to a running server.

`core.config` reads and checks settings. Imports only the standard library.
"""

from __future__ import annotations

import hashlib
import os
import tomllib
from pathlib import Path
from typing import Final

DATA_DIR: Final = ".headrace"
NOT_SETTINGS: Final = {"HEADRACE_CONFIG", "HEADRACE_DEBUG", "HEADRACE_DAGSTER_STORAGE"}
"""Variables of ours that configure nothing."""


def configuration_file() -> Path:
    """The file that HEADRACE_CONFIG names, or `headrace.toml` in the working directory; it need not exist."""
    return Path(os.environ.get("HEADRACE_CONFIG", "headrace.toml")).absolute()


def data_dir() -> Path:
    """As `Settings.data_dir`, for a valid configuration. Raises ValueError and OSError if the file cannot be read."""
    found = os.environ.get("HEADRACE_DATA_DIR") or tomllib.loads(_text()).get("data_dir", DATA_DIR)
    return Path(str(found)).absolute()


def configuration_digest() -> str:
    """Equal only for the same file and variables. Raises OSError and ValueError if the file cannot be read."""
    variables = sorted((name, value) for name, value in os.environ.items() if name.startswith("HEADRACE_") and name not in NOT_SETTINGS)
    return hashlib.sha256(repr((_text(), variables)).encode("utf-8", "surrogateescape")).hexdigest()


def _text() -> str:
    path = configuration_file()
    return path.read_text(encoding="utf-8") if path.is_file() else ""
