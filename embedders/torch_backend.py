"""sentence-transformers' own modules at work on the processor, on CUDA and on MPS: devices, lanes, and what to do when one fails.

No CUDA graphs and no `torch.compile`: both want each shape compiled or recorded before it pays, and batches of real texts have a new shape
each time. A batch that is large keeps the device busy longer than the host needs to launch its kernels, which is all that a graph saves.
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

CPU_BATCH_TOKENS, CPU_MOST_TOKENS = 4096, 32_768
"""A thread's share of a batch on a CPU, and the most. Measured for MiniLM at 200 tokens a text: on an idle core 512 to 4,096 are alike and
16,384 a quarter slower; with all cores busy and two threads, smaller ones fell behind plain sentence-transformers (1,024 in all: 0.56 of
it). The most is memory's: a feed-forward layer of width 4,096 then takes half a gigabyte.
"""

CUDA_BATCH_TOKENS, MPS_BATCH_TOKENS = 65_536, 8192
"""Not measured, there was no such device to measure on: large enough that computing hides the launching of kernels, which takes about as
long for a small batch. What does not fit is found out in the warm-up, and halved.
"""

LEAST_BATCH_TOKENS = 256
CUDA_REPLICAS = 2
"""Lanes of a CUDA device: while one computes, the other copies its batch there and its vectors back."""

_PROBE_LENGTHS = (3, 40, 17, 300)
_LEAST_COSINE = 0.999
"""Of a packed batch's vectors with the padded one's, in the same precision: bf16 rounds them apart by less, a wrong edge by far more."""

_DEVICE_ERRORS = ("CUDA error", "CUDA driver error", "cuDNN error", "CUBLAS_STATUS", "HIP error")


@dataclass(eq=False)
class _Copy:
    """The weights on one device. `packs`: it computes packed batches, and they have the padded ones' vectors."""

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
        """(n, dimension) float32 of unit length, on the device. The modules after the transformer, small ones, compute in f32."""
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
    """One batch at a time on a copy, beside the copy's other lanes. `prepared` counts the batches that were made for it and still live."""

    copy: _Copy
    stream: torch.cuda.Stream | None
    lock: Lock = field(default_factory=Lock)
    prepared: int = 0

    def on_stream(self) -> AbstractContextManager[Any]:
        import torch

        return torch.cuda.stream(self.stream) if self.stream else nullcontext()

    def placed(self, ids: Sequence[Sequence[int]]) -> dict[str, Any]:
        """The batch on the device, empty where the memory did not suffice. To CUDA it is copied from pinned memory as others compute."""
        try:
            with _device_errors(self.copy), self.on_stream():
                return {name: _placed_array(value, self.copy.device) for name, value in self.copy.features(ids).items()}
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        return {}

    def computed(self, features: Mapping[str, Any]) -> Vectors | None:
        """(n, dimension) float32 of unit length; None where the memory did not suffice."""
        import torch

        try:
            with _device_errors(self.copy), torch.inference_mode(), self.on_stream(), _denormals_flushed():
                found: Vectors = self.copy.vectors(features).cpu().numpy()
                return found
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
        # not in the handler: its traceback would keep the activations
        return None


@dataclass(eq=False)
class Prepared:
    """A batch on a lane's device. It may be computed more than once, and be dropped without."""

    ids: list[Sequence[int]]
    lane: _Lane | None
    features: dict[str, Any] = field(default_factory=dict)


class TorchBackend:
    """The model on one device or several, `replicas` lanes on each that share its weights, batches going to the least busy.

    `device`: cpu, mps, cuda (all there are) or cuda:N; `devices` names several instead. `packed` batches, without padding, are computed on
    CUDA where the model allows and the vectors agree. A batch without memory is computed in halves, and `batch_tokens` halved from then on.
    Raises Refusal: `model-not-loadable`, `wrong-dimension`, `no-such-device`, `out-of-memory`, `bad-backend`.
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
        names = [each for wanted in devices or [device] for each in _named(wanted)]
        _set_up(precision)
        self.precision = precision
        self.device = ",".join(dict.fromkeys(names))
        copies = [_copy(folder, name, precision, dimension) for name in names]
        self._lanes = [lane for copy in copies for lane in _lanes(copy, replicas)]
        # re-entered where the garbage collector drops a batch while its own thread claims a lane for another
        self._claiming = RLock()
        self.lanes = len(self._lanes)
        self.dimension = int(copies[0].model.get_embedding_dimension() or 0)
        self.batch_tokens = batch_tokens or _batch_tokens(copies[0].device)
        self._limit = limit(copies[0].model)
        self.pads = not self._pack(packed)
        self._warm_up()

    def prepare(self, items: Sequence[Item]) -> Prepared:
        """The batch on the device of a lane. Raises Refusal: `device-failed`, `no-tokens`."""
        ids = [item.ids for item in items]
        if not all(map(len, ids)):
            raise Refusal("no-tokens", "a text has no tokens, and the model adds none of its own")
        if not ids:
            return Prepared(ids, None)
        lane = self._claim()
        prepared = Prepared(ids, lane)
        # released when it is dropped, computed or not: a caller that fails in between costs no lane
        finalize(prepared, self._release, lane).atexit = False
        prepared.features = lane.placed(ids)
        return prepared

    def forward(self, prepared: Prepared) -> Vectors:
        """(n, dimension) float32 of unit length. Raises Refusal: `out-of-memory`, `device-failed`."""
        if prepared.lane is None:
            return np.empty((0, self.dimension), dtype=np.float32)
        with prepared.lane.lock:
            return self._computed(prepared.lane, prepared.ids, prepared.features)

    def close(self) -> None:
        """Let go of the weights. Nothing can be computed from then on."""
        devices = {lane.copy.device for lane in self._lanes}
        self._lanes.clear()
        for device in devices:
            _empty_cache(device)

    def _pack(self, wanted: bool | None) -> bool:
        """Whether every copy computes packed batches. It pays on CUDA, in the precisions that its kernels have."""
        for lane in {id(lane.copy): lane for lane in self._lanes}.values():
            pays = lane.copy.device.type == "cuda" and lane.copy.lower is not None
            lane.copy.packs = (pays if wanted is None else wanted) and _packs(lane, self._limit)
        return all(lane.copy.packs for lane in self._lanes)

    def _claim(self) -> _Lane:
        with self._claiming:
            alive = [lane for lane in self._lanes if lane.copy.alive]
            if not alive:
                raise Refusal("device-failed", f"no device is left of {self.device}", "Start the process anew.")
            lane = min(alive, key=lambda each: each.prepared)
            lane.prepared += 1
            return lane

    def _release(self, lane: _Lane) -> None:
        with self._claiming:
            lane.prepared -= 1

    def _computed(self, lane: _Lane, ids: Sequence[Sequence[int]], features: Mapping[str, Any]) -> Vectors:
        if not lane.copy.alive:
            raise Refusal("device-failed", f"{lane.copy.device} failed before it came to this batch", transient=True)
        vectors = lane.computed(features) if features else None
        if vectors is not None:
            return vectors
        self._make_room(lane, ids)
        half = len(ids) // 2
        return np.concatenate([self._computed(lane, part, lane.placed(part)) for part in (ids[:half], ids[half:])])

    def _make_room(self, lane: _Lane, ids: Sequence[Sequence[int]]) -> None:
        """Less in a batch from now on. Half of what did not fit, where that is more: both halves may fail, and say the same thing."""
        _empty_cache(lane.copy.device)
        tokens = len(ids) * max(map(len, ids))
        if len(ids) == 1:
            shared = any(other.lock.locked() for other in self._lanes if other.copy is lane.copy and other is not lane)
            raise Refusal("out-of-memory", f"a text of {tokens} tokens does not fit on {lane.copy.device}", transient=shared)
        with self._claiming:
            less = max(LEAST_BATCH_TOKENS, self.batch_tokens // 2, tokens // 2)
            self.batch_tokens = min(self.batch_tokens, less)

    def _warm_up(self) -> None:
        """First batches pay for kernels that are chosen and memory that is had. On CUDA full ones: what does not fit shows here."""
        for lane in self._lanes:
            for length in (16, 128, 512) if lane.copy.device.type == "cuda" else (3,):
                reads = min(length, self._limit, self.batch_tokens)
                texts = self.batch_tokens // reads if lane.copy.device.type == "cuda" else 1
                ids = _probe(lane.copy.model, [reads] * texts)
                self._computed(lane, ids, lane.placed(ids))


def _packs(lane: _Lane, most: int) -> bool:
    """Whether packed batches give the vectors of padded ones; the model is then set to compute them, else left as it was."""
    copy, attention = lane.copy, packing.attention_of(lane.copy.model)
    ids = _probe(copy.model, [min(length, most) for length in _PROBE_LENGTHS])
    expected = lane.computed(lane.placed(ids))
    if not packing.use_packed(copy.model):
        return False
    copy.packs = True
    try:
        found = lane.computed(lane.placed(ids))
    except (Refusal, TypeError, ValueError, KeyError, AttributeError):
        # a model that hands its attention what a packed one cannot take, or that cannot take what a packed batch holds
        found = None
    copy.packs = found is not None and expected is not None and bool((found * expected).sum(axis=1).min() >= _LEAST_COSINE)
    if not copy.packs:
        packing.use_padded(copy.model, attention)
    return copy.packs


def _probe(model: SentenceTransformer, lengths: Sequence[int]) -> list[list[int]]:
    """Texts of so many tokens, always the same, of ids that no tokenizer gives to its special ones."""
    size = len(model.tokenizer)
    rng = np.random.default_rng(0)
    return [rng.integers(size // 4, max(size // 2, size // 4 + 1), size=length).tolist() for length in lengths]


def _named(device: str) -> list[str]:
    """`cuda` is all there are. Raises Refusal (`no-such-device`) with what there is."""
    import torch

    cuda = [f"cuda:{at}" for at in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    there = ["cpu", *(["mps"] if torch.backends.mps.is_available() else []), *cuda]
    named = cuda if device == "cuda" else [device]
    if not named or not set(named) <= set(there):
        raise Refusal("no-such-device", f"device {device} is not available; there is: {', '.join(there)}")
    return named


def _set_up(precision: str) -> None:
    """For the process. torch counts the machine's cores, not those that this process may use."""
    import torch

    if torch.get_num_threads() != hardware.threads():
        torch.set_num_threads(hardware.threads())
    if precision == "f32":
        # else TF32 or bf16 may stand in for it, and vectors differ from machine to machine
        torch.set_float32_matmul_precision("highest")


def _copy(folder: Path, name: str, precision: str, dimension: int | None) -> _Copy:
    import torch

    model = load_model(folder, name, precision, dimension)
    device = torch.device(name)
    if device.type == "cuda":
        # the lanes' streams do not wait for the one that the weights were copied on
        torch.cuda.synchronize(device)
    return _Copy(model, device, dtype(precision), packing.first_position(model), int(model.tokenizer.pad_token_id or 0))


def _lanes(copy: _Copy, replicas: int | None) -> list[_Lane]:
    most = CUDA_REPLICAS if copy.device.type == "cuda" else 1
    return [_Lane(copy, _stream(copy.device)) for _ in range(replicas or most)]


def _stream(device: torch.device) -> torch.cuda.Stream | None:
    import torch

    return torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]


def _batch_tokens(device: torch.device) -> int:
    cpu = min(CPU_MOST_TOKENS, CPU_BATCH_TOKENS * hardware.threads())
    return {"cuda": CUDA_BATCH_TOKENS, "mps": MPS_BATCH_TOKENS}.get(device.type, cpu)


def _placed_array(value: NDArray[Any] | int, device: torch.device) -> torch.Tensor | int:
    import torch

    if isinstance(value, int):
        return value
    tensor = torch.from_numpy(value)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


@contextmanager
def _denormals_flushed() -> Iterator[None]:
    """A denormal costs a processor a hundred times a normal number. A setting of this thread, whose caller may want them after us."""
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
def _device_errors(copy: _Copy) -> Iterator[None]:
    """torch's errors as ours, but for a lack of memory. After one of CUDA's own the device computes nothing more in this process."""
    try:
        yield
    except (RuntimeError, IndexError) as error:
        if is_out_of_memory(error):
            raise
        died = _is_of_the_device(error)
        copy.alive = copy.alive and not died
        told = f"{copy.device} could not compute a batch: {type(error).__name__}"
        raise Refusal("device-failed", told, transient=died) from error


def _is_of_the_device(error: Exception) -> bool:
    import torch

    return isinstance(error, torch.AcceleratorError) or any(sign in str(error) for sign in _DEVICE_ERRORS)


def _empty_cache(device: torch.device) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.empty_cache()
    elif device.type == "mps":
        torch.mps.empty_cache()
