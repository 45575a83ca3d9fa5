"""The frame of a benchmark: arguments, progress, the result table, the JSON line, the exit status, medians.

A benchmark is a function from the data folder to a mapping of keys to values. Its module ends in `run(measure, __doc__)`. Servers and
texts are set up elsewhere.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from time import perf_counter
from typing import Any

from rich.console import Console
from rich.table import Table

DATA = Path("../shared/data")

_started = perf_counter()
_progress = Console(stderr=True, highlight=False, markup=False)


class Unmeasured(Exception):
    """The benchmark could not measure. The message says why in one sentence."""


def run(
    measure: Callable[..., Mapping[str, Any]], description: str | None, add_options: Callable[[argparse.ArgumentParser], None] | None = None
) -> None:
    """Measure and print a table; with `--json`, also print one JSON object as the last line. Exits with 1 if it could not measure.

    `add_options` adds the benchmark's own options to the parser. They are passed to `measure` by name, after the data folder.
    A number that is not finite counts as not measured.
    """
    parser = _parser(description or "")
    if add_options:
        add_options(parser)
    options = vars(parser.parse_args())
    data, as_json = options.pop("data"), options.pop("json")
    # raise an exception, so that the benchmark stops its servers
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped by SIGTERM"))
    try:
        results = measure(data, **options)
        line = _line(results)
    except Unmeasured as error:
        sys.exit(f"could not measure: {error}")
    Console().print(_table(results))
    if as_json:
        print(line)


def note(message: str) -> None:
    """Print progress to standard error, with the seconds since the start."""
    _progress.print(f"{perf_counter() - _started:7.1f} s  {message}")


def need(path: Path) -> Path:
    """Return the path. Raises Unmeasured if it does not exist."""
    if not path.exists():
        raise Unmeasured(f"{path} does not exist; give the folder of data sets with --data")
    return path


def seconds(work: Callable[[], object]) -> float:
    """Return the wall-clock seconds of one call."""
    started = perf_counter()
    work()
    return perf_counter() - started


def median(work: Callable[[], float], *, times: int, of: str) -> float:
    """Return the median of `times` consecutive measurements by `work`. `of` names it in the progress output."""
    measured: list[float] = []
    for turn in range(1, times + 1):
        measured.append(work())
        note(f"{of} {turn}/{times}: {measured[-1]:.3f}")
    return statistics.median(measured)


def _parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, metavar="DIR", help="the folder of data sets (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    return parser


def _line(results: Mapping[str, Any]) -> str:
    try:
        return json.dumps(results, allow_nan=False)
    except ValueError as error:
        raise Unmeasured("a result is not a finite number") from error


def _table(results: Mapping[str, Any]) -> Table:
    table = Table("key", "value")
    table.columns[1].justify = "right"
    for key, value in _flat(results):
        table.add_row(key, _readable(value))
    return table


def _flat(results: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in results.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _readable(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.3f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
