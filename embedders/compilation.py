"""The first compilation of a converted model, in a child process: a compiler that crashes ends the child, and not the caller's process.

OpenVINO generates machine code for the processor at hand, and for some models and precisions that crashes. OpenVINO 2026.4.1 ends with
SIGFPE for a two-layer Qwen3 model in bf16 on a processor with AMX. The child fills OpenVINO's cache, which the caller then loads from.

The module is also the child's main program. It imports neither torch nor OpenVINO's telemetry.
"""

from __future__ import annotations

import json
import os
import platform
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from hashlib import blake2b
from pathlib import Path

import numpy as np

from embedders import conversion, hardware
from embedders.refusal import Refusal

Settings = Mapping[str, str | int | bool]
"""Properties of `compile_model`, by OpenVINO's names. `CACHE_DIR` is absent if the cache cannot be written."""

TIMEOUT_S = 900.0
"""For the child. Compiling takes under a second for MiniLM, and tens of seconds for models of billions of parameters."""

COMMAND = (sys.executable, "-P", "-m", "embedders.compilation")

_SHELL_SIGNAL = 128
"""A shell that wraps the interpreter reports signal n as exit status 128 + n."""


def ensure_compiles(graph: Path, settings: Settings) -> None:
    """Compile `graph` in a child process, unless that has succeeded before with these settings on such a processor.

    Raises Refusal (`compile-crashed`) if the child dies by a signal or exceeds `TIMEOUT_S`. An exception in the child is not reported:
    the caller gets the same one from its own compilation.
    """
    marker = _marker(settings)
    if marker and marker.is_file():
        return
    status = _run_child(json.dumps({"graph": str(graph), "settings": settings, "marker": marker and str(marker)}))
    if status is None or not 0 <= status < _SHELL_SIGNAL:
        precision = settings["INFERENCE_PRECISION_HINT"]
        raise Refusal(
            "compile-crashed",
            f"OpenVINO {_cause(status)} compiling {graph.parent} in {precision}",
            "Choose another precision, or the backend torch.",
        )


def _marker(settings: Settings) -> Path | None:
    """The file that records a success. Its name covers the settings and the processor: machines may share a cache."""
    if not (folder := settings.get("CACHE_DIR")):
        return None
    deciding = sorted((name, value) for name, value in settings.items() if name != "CACHE_DIR")
    key = json.dumps([deciding, platform.machine(), hardware.cpu_features()])
    return Path(str(folder)) / f"compiles-{blake2b(key.encode(), digest_size=8).hexdigest()}"


def _run_child(request: str) -> int | None:
    """The child's exit status, negative for a signal; None after a timeout. Its own session keeps the terminal's Ctrl-C from it."""
    try:
        done = subprocess.run(
            COMMAND,
            input=request.encode(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            timeout=TIMEOUT_S,
            start_new_session=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    return done.returncode


def _cause(status: int | None) -> str:
    if status is None:
        return f"did not finish within {TIMEOUT_S:g} s"
    with suppress(ValueError):
        return f"crashed with {signal.Signals(-status if status < 0 else status - _SHELL_SIGNAL).name}"
    return f"ended with status {status}"


def main() -> None:
    """Compile, compute one batch (kernels are generated when a shape first occurs), and record the success."""
    request = json.load(sys.stdin)
    model = conversion.openvino().Core().compile_model(request["graph"], "CPU", request["settings"])
    ids, mask = np.zeros((2, 8), dtype=np.int64), np.ones((2, 8), dtype=np.int64)
    model.create_infer_request().infer([ids, mask])
    if request["marker"]:
        with suppress(OSError):
            Path(request["marker"]).touch()


if __name__ == "__main__":
    main()
