"""How long the command line takes to answer: `headrace --help`, each time in a new process.

Keys (wall seconds, medians of 5):
  help_s         `headrace --help` in all
  import_s       the part of it that imports the command line's module
  interpreter_s  starting and ending Python, for comparison
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks._harness import Unmeasured, median, run, seconds

TIMES = 5
_IMPORT = "from time import perf_counter as now; start = now(); import pipelines.cli; print(now() - start)"


def measure(data: Path) -> dict[str, float]:  # noqa: ARG001
    headrace = str(Path(sys.executable).with_name("headrace"))
    return {
        "help_s": median(lambda: seconds(lambda: _answer([headrace, "--help"])), times=TIMES, of="headrace --help"),
        "import_s": median(lambda: float(_answer([sys.executable, "-c", _IMPORT])), times=TIMES, of="import pipelines.cli"),
        "interpreter_s": median(lambda: seconds(lambda: _answer([sys.executable, "-c", ""])), times=TIMES, of="python"),
    }


def _answer(command: Sequence[str]) -> str:
    """Return what the command prints. Raises Unmeasured if it cannot be started or fails."""
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError) as error:
        raise Unmeasured(f"{Path(command[0]).name} did not answer ({type(error).__name__})") from error


if __name__ == "__main__":
    run(measure, __doc__)
