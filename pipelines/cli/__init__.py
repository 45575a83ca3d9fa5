"""The command line: runs one command, and turns errors into one line and an exit code.

`root` lists the commands; each noun has a module. Heavy modules are imported inside the commands, so that `headrace --help` is quick.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Sequence

from pipelines.cli.exit_codes import BUG, INTERRUPTED, exit_code
from pipelines.cli.root import app

_QUIET = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "TRANSFORMERS_VERBOSITY": "error", "TOKENIZERS_PARALLELISM": "false"}


def main() -> None:
    """Run the command that the process was called with, and exit."""
    _silence_libraries()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command. Returns its exit code. An error is one line on standard error; with `--debug` it is raised instead."""
    try:
        app(list(arguments), prog_name="headrace")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:  # the edge of the process: a traceback may contain text of a document
        if _debugging():
            raise
        return _report(error, as_json="--json" in arguments)
    return 0


def _report(error: Exception, *, as_json: bool) -> int:
    """Print the error, its reason and a remedy. Returns the exit code."""
    from core.errors import HeadraceError

    if isinstance(error, HeadraceError):
        _print_error(error.detail, error.reason, error.remedy or "See docs/cli.md.", as_json=as_json)
        return exit_code(error)
    if isinstance(error, OSError):
        detail = error.strerror or type(error).__name__
        if error.filename:
            detail = f"{detail}, {error.filename}"
        _print_error(detail, "system-error", "Check the path, its permissions and the disk.", as_json=as_json)
        return 1
    remedy = "Run it again with --debug, before the command, and report it."
    _print_error(f"unexpected {type(error).__name__}", "bug", remedy, as_json=as_json)
    return BUG


def _print_error(detail: str, reason: str, remedy: str, *, as_json: bool) -> None:
    if as_json:
        text = json.dumps({"error": detail, "reason": reason, "next": remedy}, ensure_ascii=False)
    else:
        text = f"headrace: {detail.rstrip('.')} ({reason}). {remedy}"
    sys.stderr.write(text + "\n")


def _debugging() -> bool:
    return bool(os.environ.get("HEADRACE_DEBUG"))


def _silence_libraries() -> None:
    """Hide libraries' warnings, log lines and progress bars, but not Headrace's own."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if "--debug" in sys.argv or _debugging():
        logging.basicConfig(level=logging.INFO)
        return
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())
    logging.getLogger("headrace.kafka").propagate = False
    own = logging.StreamHandler()
    own.setFormatter(logging.Formatter("headrace: %(message)s"))
    logging.getLogger("headrace").addHandler(own)
