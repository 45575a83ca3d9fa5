"""The command line. Heavy modules are imported inside the commands, so that `headrace --help` answers at once."""

from __future__ import annotations

import os
import sys

from pipelines.cli.root import app

EXIT_CODES = {
    "bad-configuration": 3,
    "unavailable": 4,
    "servers-unavailable": 4,
    "unknown-tenant": 5,
    "unknown-document": 5,
    "bad-tenant-name": 2,
}
"""Reason code → exit code (docs/cli.md); any other error of ours is 1, a wrong call 2."""


def main() -> None:
    """Run, and turn an error into one sentence with a reason code and a next step."""
    from core.errors import HeadraceError

    try:
        app()
    except HeadraceError as error:
        if os.environ.get("HEADRACE_DEBUG"):
            raise
        sys.stderr.write(f"{error}\n")
        sys.exit(EXIT_CODES.get(error.reason, 1))
