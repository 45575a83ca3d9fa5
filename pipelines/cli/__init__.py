"""The command line: runs one command, and turns errors into one line and an exit code.

`root` lists the commands; each noun has a module. Heavy modules are imported inside the commands, so that `headrace --help` is quick.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from collections.abc import Sequence

from pipelines.cli.attempts import debugging, error_line
from pipelines.cli.exit_codes import INTERRUPTED, exit_code
from pipelines.cli.output import as_json_text
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
        if debugging():
            raise
        return _report(error, as_json="--json" in arguments)
    return 0


def _report(error: Exception, *, as_json: bool) -> int:
    """Print the error, its reason and a remedy. Returns the exit code."""
    from core.errors import described

    found = described(error)
    if isinstance(error, OSError) and error.filename:
        found.detail += f", {error.filename}"
    said = {"error": found.detail, "reason": found.reason, "next": found.next_step}
    sys.stderr.write((as_json_text(said) if as_json else error_line(found)) + "\n")
    return exit_code(found)


def _silence_libraries() -> None:
    """Hide libraries' warnings, log lines and progress bars, but not Headrace's own."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    if "--debug" in sys.argv or debugging():
        logging.basicConfig(level=logging.INFO)
        return
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())
    logging.getLogger("headrace.kafka").propagate = False
    own = logging.StreamHandler()
    own.setFormatter(logging.Formatter("headrace: %(message)s"))
    logging.getLogger("headrace").addHandler(own)
