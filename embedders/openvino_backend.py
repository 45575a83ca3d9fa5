"""OpenVINO on the processor. Imports openvino when a backend is made, and torch never."""

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
"""Of one lane, which is one core. Measured for MiniLM with two lanes: 512 to 2,048 are alike, 256 loses 6%, 4,096 as much: the
activations of a layer, 1,024 tokens × 1,536 × 4 bytes, no longer fit the core's second-level cache."""


class OpenVinoBackend:
    """One lane a core, each with batches of its own: no core ever waits for another, as it does where all share one batch.

    A text that comes alone is computed by all cores at once instead, which costs more work and less time.
    `folder` is what `conversion.converted` gave, and is checked. Raises Refusal: `conversion-corrupt`, `model-not-loadable`,
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
        # its first conversion of a type sets numpy up under a lock of its own; two lanes that came to it at once would wait for each other
        openvino.Type.i64.to_dtype()
        self._core: Core = openvino.Core()
        compiled = self._compiled(self.lanes)
        # where the processor has no instructions for it, OpenVINO computes in another one and says so only here
        self.precision = compiled.get_property("INFERENCE_PRECISION_HINT").to_string()
        self._requests = _requests(compiled, self.lanes)
        self._busy, self._lock = 0, Lock()

    def prepare(self, items: Sequence[Item]) -> dict[str, NDArray[np.int64]]:
        """(n, longest) int64 ids and mask. Padding is id 0: the mask hides it, so that which id it is does not matter."""
        return packing.padded([item.ids for item in items], padding=0)

    def forward(self, prepared: dict[str, NDArray[np.int64]]) -> Vectors:
        ids, mask = prepared["input_ids"], prepared["attention_mask"]
        with self._counted() as others:
            requests = self._requests if others or len(ids) > 1 else self._wide
            request = requests.get()
            try:
                output = request.infer([ids, mask], share_inputs=True)[0]
                return np.array(output, dtype=np.float32)
            except RuntimeError as error:
                raise Refusal("device-failed", f"OpenVINO could not compute a batch: {type(error).__name__}") from error
            finally:
                requests.put(request)

    def close(self) -> None:
        """Nothing outlives the process but the converted files."""

    @cached_property
    def _wide(self) -> SimpleQueue[InferRequest]:
        """One request that all cores compute together."""
        return _requests(self._compiled(1), 1) if self.lanes > 1 else self._requests

    @contextmanager
    def _counted(self) -> Iterator[int]:
        """How many other batches are being computed as this one begins."""
        with self._lock:
            others = self._busy
            self._busy += 1
        try:
            yield others
        finally:
            with self._lock:
                self._busy -= 1

    def _compiled(self, streams: int) -> CompiledModel:
        """In a thread that ends with it: compiling leaves its thread without denormals, which the caller may want."""
        path, settings = self._folder / conversion.GRAPH, self._settings(streams)
        compilation.ensure_compiles(path, settings)
        try:
            with ThreadPoolExecutor(1) as apart:
                return apart.submit(self._core.compile_model, path, "CPU", settings).result()
        except RuntimeError as error:
            raise Refusal("model-not-loadable", f"OpenVINO cannot load {self._folder}: {type(error).__name__}") from error

    def _settings(self, streams: int) -> dict[str, str | int | bool]:
        return {
            "INFERENCE_PRECISION_HINT": self.precision,
            **self._cached(streams),
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": self.lanes,
            # a lane that stays on its core keeps its cache; under a quota the cores are shared, and a pinned thread waits for its own.
            # A request of all cores is never pinned: the thread that asks would stay on one of them for good
            "ENABLE_CPU_PINNING": streams > 1 and hardware.owns_its_cores(),
            # two threads of one core share its multipliers: the second only takes cache
            "ENABLE_HYPER_THREADING": False,
            # a denormal costs a hundred times a normal number; flushed to zero it changes no vector by more than 1e-38
            "CPU_DENORMALS_OPTIMIZATION": True,
            "PERFORMANCE_HINT": "THROUGHPUT" if streams > 1 else "LATENCY",
        }

    def _cached(self, streams: int) -> dict[str, str]:
        """Where compiled graphs are kept; loading one takes a fifth of the time. Empty if the folder cannot be made: OpenVINO would fail.

        One folder for each precision, because OpenVINO would take a graph of another precision for this one.
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
