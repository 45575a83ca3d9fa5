"""OpenVINO on the CPU. Imports openvino when a backend is created, and never torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from queue import SimpleQueue
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from embedders import compilation, conversion, hardware, packing
from embedders.backend import Item, Vectors
from embedders.refusal import Refusal

if TYPE_CHECKING:
    from openvino import CompiledModel, Core, InferRequest

BATCH_TOKENS = 1024
"""Per lane, which is one core. Measured for MiniLM with two lanes: 512 to 2,048 are equally fast; 256 and 4,096 are 6% slower. Beyond
that, the activations of a layer (1,024 tokens × 1,536 × 4 bytes) no longer fit the core's second-level cache."""


class OpenVinoBackend:
    """One lane per core, each with its own batches: no core waits for another, as it would if all shared one batch.

    A single text is computed by all cores together instead, which takes more work and less time.
    `folder` is a result of `conversion.converted`, and is verified. Raises Refusal: `conversion-corrupt`, `model-not-loadable`,
    `compile-crashed`.
    """

    name = "openvino"
    device = "cpu"
    pads = True

    def __init__(self, folder: Path, dimension: int, precision: str = "f32", batch_tokens: int | None = None) -> None:
        conversion.check(folder)
        self.precision, self.dimension = precision, dimension
        self.lanes = hardware.threads()
        self.batch_tokens = batch_tokens or BATCH_TOKENS
        self._folder = folder
        openvino = conversion.openvino()
        # its first conversion of a type sets up numpy under a lock of its own; two lanes doing that concurrently would deadlock
        openvino.Type.i64.to_dtype()
        self._core: Core = openvino.Core()
        compiled = self._compiled(self.lanes)
        # without instructions for it OpenVINO computes in another precision, and reports that only here
        self.precision = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        self._requests = _requests(compiled, self.lanes)
        self._busy, self._lock = 0, Lock()

    def prepare(self, items: Sequence[Item]) -> dict[str, NDArray[np.int64]]:
        """Return (n, longest) int64 ids and mask. Padding is id 0; any id would do, because the mask hides it."""
        return packing.padded([item.ids for item in items], padding=0)

    def forward(self, prepared: dict[str, NDArray[np.int64]]) -> Vectors:
        ids, mask = prepared["input_ids"], prepared["attention_mask"]
        with self._in_flight() as others:
            requests = self._requests if others or len(ids) > 1 else self._all_cores
            request = requests.get()
            try:
                output = request.infer([ids, mask], share_inputs=True)[0]
                return np.array(output, dtype=np.float32)
            except RuntimeError as error:
                raise Refusal("device-failed", f"OpenVINO could not compute a batch: {type(error).__name__}") from error
            finally:
                requests.put(request)

    def close(self) -> None:
        """Do nothing: only the converted files outlive the process."""

    @cached_property
    def _all_cores(self) -> SimpleQueue[InferRequest]:
        """A single request that all cores compute together."""
        return _requests(self._compiled(1), 1) if self.lanes > 1 else self._requests

    @contextmanager
    def _in_flight(self) -> Iterator[int]:
        """Yield how many other batches are in flight."""
        with self._lock:
            others = self._busy
            self._busy += 1
        try:
            yield others
        finally:
            with self._lock:
                self._busy -= 1

    def _compiled(self, streams: int) -> CompiledModel:
        """Compile in a temporary thread: compiling disables denormals in its thread, and the caller may need them."""
        path, settings = self._folder / conversion.GRAPH, self._settings(streams)
        compilation.ensure_compiles(path, settings)
        try:
            with ThreadPoolExecutor(1) as thread:
                return thread.submit(self._core.compile_model, path, "CPU", settings).result()
        except RuntimeError as error:
            raise Refusal("model-not-loadable", f"OpenVINO cannot load {self._folder}: {type(error).__name__}") from error

    def _settings(self, streams: int) -> dict[str, str | int | bool]:
        return {
            "INFERENCE_PRECISION_HINT": self.precision,
            **self._cache(streams),
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": self.lanes,
            # a lane pinned to its core keeps its cache; under a quota, cores are shared and a pinned thread waits for its own.
            # The request of all cores is never pinned: the calling thread would stay on one of them
            "ENABLE_CPU_PINNING": streams > 1 and hardware.owns_its_cores(),
            # two threads of a core share its multipliers: the second only takes cache
            "ENABLE_HYPER_THREADING": False,
            # a denormal takes a hundred times as long as a normal number; flushing it changes no vector by more than 1e-38
            "CPU_DENORMALS_OPTIMIZATION": True,
            "PERFORMANCE_HINT": "THROUGHPUT" if streams > 1 else "LATENCY",
        }

    def _cache(self, streams: int) -> dict[str, str]:
        """The cache of compiled graphs; loading one takes a fifth of the time. Empty if it cannot be created: OpenVINO would fail.

        Each precision has its own folder, because OpenVINO would load a graph of another precision.
        """
        folder = self._folder / f"compiled-{self.precision}-{streams}"
        with suppress(OSError):
            folder.mkdir(exist_ok=True)
            return {"CACHE_DIR": str(folder)}
        return {}


def _requests(model: CompiledModel, lanes: int) -> SimpleQueue[InferRequest]:
    requests: SimpleQueue[InferRequest] = SimpleQueue()
    for _ in range(lanes):
        requests.put(model.create_infer_request())
    return requests
