"""sentence-transformers' own modules on the CPU, CUDA and MPS: devices, lanes, and handling of device failures.

Uses neither CUDA graphs nor `torch.compile`: both must compile or record each shape first, and batches of real texts have ever new shapes.
A large batch keeps the device busy longer than the host needs to launch its kernels, and launching is all that a graph saves.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock, RLock
from typing import TYPE_CHECKING, Any
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from embedders import hardware, packing
from embedders.backend import Item, Vectors
from embedders.loading import dtype, is_out_of_memory, limit, load_model
from embedders.refusal import Refusal

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

__all__ = ["Prepared", "TorchBackend", "limit", "load_model"]

CPU_BATCH_TOKENS, CPU_MAX_TOKENS = 4096, 32_768
"""Batch size on a CPU, per thread and in total. Measured for MiniLM at 200 tokens a text: on an idle core 512 to 4,096 are equally fast and
16,384 a quarter slower; with all cores busy and two threads, smaller batches are slower than plain sentence-transformers (1,024 in total:
0.56 of its speed). The total bounds memory: a feed-forward layer of width 4,096 takes half a gigabyte.
"""

CUDA_BATCH_TOKENS, MPS_BATCH_TOKENS = 65_536, 8192
"""Not measured, for lack of a device. Large enough that computing hides the launch of kernels, which takes about as long for a small batch.
The warm-up halves a size that does not fit.
"""

MIN_BATCH_TOKENS = 256
CUDA_REPLICAS = 2
"""Lanes per CUDA device: while one computes, the other copies its batch to the device and its vectors back."""

_PROBE_LENGTHS = (3, 40, 17, 300)
_MIN_COSINE = 0.999
"""Of a packed batch's vectors with the padded one's, in the same precision. bf16 rounding costs less, a crossed text boundary far more."""

_DEVICE_ERRORS = ("CUDA error", "CUDA driver error", "cuDNN error", "CUBLAS_STATUS", "HIP error")


@dataclass(eq=False)
class _ModelCopy:
    """The weights on one device. `packs`: it computes packed batches, whose vectors equal the padded ones'."""

    model: SentenceTransformer
    device: torch.device
    lower: torch.dtype | None
    first_position: int
    padding: int
    packs: bool = False
    alive: bool = True

    def features(self, ids: Sequence[Sequence[int]]) -> packing.Features:
        return packing.packed(ids, self.first_position) if self.packs else packing.padded(ids, self.padding)

    def vectors(self, features: Mapping[str, Any]) -> torch.Tensor:
        """Return (n, dimension) float32 of unit length, on the device. The small modules after the transformer compute in f32."""
        import torch

        transformer, *heads = self.model
        with torch.autocast(self.device.type, self.lower) if self.lower else nullcontext():
            found = transformer(dict(features))
        found = {name: _f32(value) for name, value in found.items()}
        for head in heads:
            found = head(found)
        return torch.nn.functional.normalize(found["sentence_embedding"].float()[:, : self.model.truncate_dim], dim=1)


@dataclass(eq=False)
class _Lane:
    """Computes one batch at a time on a device's weights, which lanes share. `prepared` counts its batches that still exist."""

    copy: _ModelCopy
    stream: torch.cuda.Stream | None
    lock: Lock = field(default_factory=Lock)
    prepared: int = 0

    def on_stream(self) -> AbstractContextManager[Any]:
        import torch

        return torch.cuda.stream(self.stream) if self.stream else nullcontext()

    def placed(self, ids: Sequence[Sequence[int]]) -> dict[str, Any]:
        """Move a batch to the device; empty if out of memory. CUDA copies from pinned memory while other lanes compute."""
        try:
            with _device_errors(self.copy), self.on_stream():
                return {name: _placed_array(value, self.copy.device) for name, value in self.copy.features(ids).items()}
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        return {}

    def computed(self, features: Mapping[str, Any]) -> Vectors | None:
        """Return (n, dimension) float32 of unit length; None if out of memory."""
        import torch

        try:
            with _device_errors(self.copy), torch.inference_mode(), self.on_stream(), _denormals_flushed():
                found: Vectors = self.copy.vectors(features).cpu().numpy()
                return found
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # outside the handler, whose traceback would keep the activations in memory
        return None


@dataclass(eq=False)
class Prepared:
    """A batch on a lane's device. It may be computed several times, or never."""

    ids: list[Sequence[int]]
    lane: _Lane | None
    features: dict[str, Any] = field(default_factory=dict)


class TorchBackend:
    """The model on one or several devices, each with `replicas` lanes that share its weights. A batch goes to the least busy lane.

    `device`: cpu, mps, cuda (all available) or cuda:N; `devices` names several instead. On CUDA batches are `packed`, that is without
    padding, if the model supports that and the vectors agree. A batch that runs out of memory is computed in halves, and `batch_tokens` is
    halved from then on. Raises Refusal: `model-not-loadable`, `wrong-dimension`, `no-such-device`, `out-of-memory`, `bad-backend`.
    """

    name = "torch"

    def __init__(
        self,
        folder: Path,
        device: str = "cpu",
        precision: str = "f32",
        dimension: int | None = None,
        batch_tokens: int | None = None,
        replicas: int | None = None,
        *,
        devices: Sequence[str] = (),
        packed: bool | None = None,
    ) -> None:
        names = [each for name in devices or [device] for each in _named(name)]
        _set_up(precision)
        self.precision = precision
        self.device = ",".join(dict.fromkeys(names))
        copies = [_copy(folder, name, precision, dimension) for name in names]
        self._lanes = [lane for copy in copies for lane in _lanes(copy, replicas)]
        # reentrant: the garbage collector may drop a batch while the same thread claims a lane for another
        self._claiming = RLock()
        self.lanes = len(self._lanes)
        self.dimension = int(copies[0].model.get_embedding_dimension() or 0)
        self.batch_tokens = batch_tokens or _batch_tokens(copies[0].device)
        self._limit = limit(copies[0].model)
        self.pads = not self._pack(packed)
        self._warm_up()

    def prepare(self, items: Sequence[Item]) -> Prepared:
        """Move a batch to the device of a lane. Raises Refusal: `device-failed`, `no-tokens`."""
        ids = [item.ids for item in items]
        if not all(map(len, ids)):
            raise Refusal("no-tokens", "a text has no tokens, and the model adds none of its own")
        if not ids:
            return Prepared(ids, None)
        lane = self._claim()
        prepared = Prepared(ids, lane)
        # released with the batch, computed or not, so that a caller that fails in between leaks no lane
        finalize(prepared, self._release, lane).atexit = False
        prepared.features = lane.placed(ids)
        return prepared

    def forward(self, prepared: Prepared) -> Vectors:
        """Return (n, dimension) float32 of unit length. Raises Refusal: `out-of-memory`, `device-failed`."""
        if prepared.lane is None:
            return np.empty((0, self.dimension), dtype=np.float32)
        with prepared.lane.lock:
            return self._computed(prepared.lane, prepared.ids, prepared.features)

    def close(self) -> None:
        """Release the weights. The backend cannot be used afterwards."""
        devices = {lane.copy.device for lane in self._lanes}
        self._lanes.clear()
        for device in devices:
            _empty_cache(device)

    def _pack(self, requested: bool | None) -> bool:
        """Set up packing, and return whether all devices pack. By default only CUDA packs, in the precisions that its kernels support."""
        for lane in {id(lane.copy): lane for lane in self._lanes}.values():
            faster = lane.copy.device.type == "cuda" and lane.copy.lower is not None
            lane.copy.packs = (faster if requested is None else requested) and _packs(lane, self._limit)
        return all(lane.copy.packs for lane in self._lanes)

    def _claim(self) -> _Lane:
        with self._claiming:
            alive = [lane for lane in self._lanes if lane.copy.alive]
            if not alive:
                raise Refusal("device-failed", f"every device of {self.device} has failed", "Restart the process.")
            lane = min(alive, key=lambda each: each.prepared)
            lane.prepared += 1
            return lane

    def _release(self, lane: _Lane) -> None:
        with self._claiming:
            lane.prepared -= 1

    def _computed(self, lane: _Lane, ids: Sequence[Sequence[int]], features: Mapping[str, Any]) -> Vectors:
        if not lane.copy.alive:
            raise Refusal("device-failed", f"{lane.copy.device} failed before it computed this batch", transient=True)
        vectors = lane.computed(features) if features else None
        if vectors is not None:
            return vectors
        self._make_room(lane, ids)
        half = len(ids) // 2
        return np.concatenate([self._computed(lane, part, lane.placed(part)) for part in (ids[:half], ids[half:])])

    def _make_room(self, lane: _Lane, ids: Sequence[Sequence[int]]) -> None:
        """Halve the batch size, but not below half of what did not fit: both halves of a batch may fail for the same reason."""
        _empty_cache(lane.copy.device)
        tokens = len(ids) * max(map(len, ids))
        if len(ids) == 1:
            shared = any(other.lock.locked() for other in self._lanes if other.copy is lane.copy and other is not lane)
            raise Refusal("out-of-memory", f"a text of {tokens} tokens does not fit on {lane.copy.device}", transient=shared)
        with self._claiming:
            reduced = max(MIN_BATCH_TOKENS, self.batch_tokens // 2, tokens // 2)
            self.batch_tokens = min(self.batch_tokens, reduced)

    def _warm_up(self) -> None:
        """Compute first batches, which select kernels and allocate memory. On CUDA they are full, to find a size that does not fit."""
        for lane in self._lanes:
            for length in (16, 128, 512) if lane.copy.device.type == "cuda" else (3,):
                reads = min(length, self._limit, self.batch_tokens)
                texts = self.batch_tokens // reads if lane.copy.device.type == "cuda" else 1
                ids = _probe(lane.copy.model, [reads] * texts)
                self._computed(lane, ids, lane.placed(ids))


def _packs(lane: _Lane, limit: int) -> bool:
    """Whether packed batches have the vectors of padded ones. Sets the model up for them if so, and otherwise leaves it unchanged."""
    copy, attention = lane.copy, packing.attention_of(lane.copy.model)
    ids = _probe(copy.model, [min(length, limit) for length in _PROBE_LENGTHS])
    expected = lane.computed(lane.placed(ids))
    if not packing.use_packed(copy.model):
        return False
    copy.packs = True
    try:
        found = lane.computed(lane.placed(ids))
    except (Refusal, TypeError, ValueError, KeyError, AttributeError):
        # the model passes its attention unsupported arguments, or does not accept a packed batch
        found = None
    copy.packs = found is not None and expected is not None and bool((found * expected).sum(axis=1).min() >= _MIN_COSINE)
    if not copy.packs:
        packing.use_padded(copy.model, attention)
    return copy.packs


def _probe(model: SentenceTransformer, lengths: Sequence[int]) -> list[list[int]]:
    """The same texts at each call, as ids of these lengths, from a range where tokenizers have no special tokens."""
    size = len(model.tokenizer)
    rng = np.random.default_rng(0)
    return [rng.integers(size // 4, max(size // 2, size // 4 + 1), size=length).tolist() for length in lengths]


def _named(device: str) -> list[str]:
    """Resolve a device; `cuda` means all of them. Raises Refusal (`no-such-device`) with those available."""
    import torch

    cuda = [f"cuda:{at}" for at in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    available = ["cpu", *(["mps"] if torch.backends.mps.is_available() else []), *cuda]
    named = cuda if device == "cuda" else [device]
    if not named or not set(named) <= set(available):
        raise Refusal("no-such-device", f"device {device} is not available; available: {', '.join(available)}")
    return named


def _set_up(precision: str) -> None:
    """Configure torch for the process. By default it uses the machine's cores, not those that this process may use."""
    import torch

    if torch.get_num_threads() != hardware.threads():
        torch.set_num_threads(hardware.threads())
    if precision == "f32":
        # otherwise TF32 or bf16 may replace it, and vectors differ between machines
        torch.set_float32_matmul_precision("highest")


def _copy(folder: Path, name: str, precision: str, dimension: int | None) -> _ModelCopy:
    import torch

    model = load_model(folder, name, precision, dimension)
    device = torch.device(name)
    if device.type == "cuda":
        # the lanes' streams do not wait for the stream that copies the weights
        torch.cuda.synchronize(device)
    return _ModelCopy(model, device, dtype(precision), packing.first_position(model), int(model.tokenizer.pad_token_id or 0))


def _lanes(copy: _ModelCopy, replicas: int | None) -> list[_Lane]:
    default = CUDA_REPLICAS if copy.device.type == "cuda" else 1
    return [_Lane(copy, _stream(copy.device)) for _ in range(replicas or default)]


def _stream(device: torch.device) -> torch.cuda.Stream | None:
    import torch

    return torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]


def _batch_tokens(device: torch.device) -> int:
    cpu = min(CPU_MAX_TOKENS, CPU_BATCH_TOKENS * hardware.threads())
    return {"cuda": CUDA_BATCH_TOKENS, "mps": MPS_BATCH_TOKENS}.get(device.type, cpu)


def _placed_array(value: NDArray[Any] | int, device: torch.device) -> torch.Tensor | int:
    import torch

    if isinstance(value, int):
        return value
    tensor = torch.from_numpy(value)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


@contextmanager
def _denormals_flushed() -> Iterator[None]:
    """Flush denormals, each of which takes a hundred times as long as a normal number. Restores the thread's setting for its caller."""
    import torch

    flushed = float(np.float64(5e-324) * 1.0) == 0.0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(flushed)


def _f32(value: Any) -> Any:
    import torch

    return value.float() if isinstance(value, torch.Tensor) and value.is_floating_point() else value


@contextmanager
def _device_errors(copy: _ModelCopy) -> Iterator[None]:
    """Translate torch's errors, except out of memory. After an error of CUDA itself the device is unusable in this process."""
    try:
        yield
    except (RuntimeError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        died = _is_of_the_device(error)
        copy.alive = copy.alive and not died
        detail = f"{copy.device} could not compute a batch: {type(error).__name__}"
        raise Refusal("device-failed", detail, transient=died) from error


def _is_of_the_device(error: Exception) -> bool:
    import torch

    return isinstance(error, torch.AcceleratorError) or any(sign in str(error) for sign in _DEVICE_ERRORS)


def _empty_cache(device: torch.device) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
