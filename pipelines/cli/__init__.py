"""The command line. Heavy modules are imported inside the commands, so that `headrace --help` answers at once."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.cli.output import INTERRUPTED
from pipelines.cli.root import app

if TYPE_CHECKING:
    from core.errors import HeadraceError

BUG = 70
_QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"}
EXIT_CODES = {
    "bad-actor": 2,
    "bad-mark": 2,
    "bad-master-key": 2,
    "bad-receipt": 2,
    "bad-tenant-name": 2,
    "bad-freshness": 2,
    "bad-policy": 2,
    "bad-position": 2,
    "bad-query": 2,
    "duplicate-id": 2,
    "empty-value": 2,
    "export-not-empty": 2,
    "export-not-writable": 2,
    "no-files": 2,
    "receipt-exists": 2,
    "receipt-not-writable": 2,
    "unknown-document": 5,
    "unknown-source": 5,
    "unknown-dead-letter": 5,
    "server-did-not-start": 4,
    "servers-unavailable": 4,
    "tenant-exists": 5,
}
"""Reason code → exit code, where it is not that of the error's kind (docs/cli.md)."""


def main() -> None:
    """Run the command that the process was called with."""
    _silence_others()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and give its exit code. An error is one line on standard error; `--debug` shows the traceback instead."""
    try:
        app(list(arguments), prog_name="headrace")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # the boundary of the process: a traceback may show what a document says
        if _debugging():
            raise
        return _told(error, arguments)
    return 0


def _told(error: Exception, arguments: Sequence[str]) -> int:
    """Say what went wrong and what to do; gives the exit code."""
    from core.errors import HeadraceError

    if isinstance(error, HeadraceError):
        _report(error.detail, error.reason, error.remedy or "See docs/cli.md.", arguments)
        return exit_code(error)
    if isinstance(error, OSError):
        what = error.strerror or type(error).__name__
        _report(
            f"{what}, {error.filename}" if error.filename else what, "system-error", "Check the path, its rights and the disk.", arguments
        )
        return 1
    _report(f"unexpected {type(error).__name__}", "bug", "Run it again with --debug, before the command, and report it.", arguments)
    return BUG


def exit_code(error: HeadraceError) -> int:
    """By reason, else by the error's kind, else 1."""
    from core.errors import ConfigurationError, TenantError, Unavailable

    kinds = {ConfigurationError: 3, Unavailable: 4, TenantError: 5}
    return EXIT_CODES.get(error.reason) or next((code for kind, code in kinds.items() if isinstance(error, kind)), 1)


def _report(detail: str, reason: str, remedy: str, arguments: Sequence[str]) -> None:
    if "--json" in arguments:
        said = json.dumps({"error": detail, "reason": reason, "next": remedy}, ensure_ascii=False)
    else:
        said = f"headrace: {detail.rstrip('.')} ({reason}). {remedy}"
    sys.stderr.write(said + "\n")


def _debugging() -> bool:
    return bool(os.environ.get("HEADRACE_DEBUG"))


def _silence_others() -> None:
    """Libraries' warnings, log lines and progress bars are not for whoever runs a command. Our own warnings are."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if "--debug" in sys.argv or _debugging():
        logging.basicConfig(level=logging.INFO)
        return
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())
    logging.getLogger("headrace.kafka").propagate = False
    ours = logging.StreamHandler()
    ours.setFormatter(logging.Formatter("headrace: %(message)s"))
    logging.getLogger("headrace").addHandler(ours)
