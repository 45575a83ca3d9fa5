"""Selection of a backend: the requested one, or the fastest on this machine whose vectors are the model's.

Speed is measured, not derived from the processor's flags: some processors have bf16 instructions and multiply faster without them.
"""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from embedders import conversion, hardware, recipe, reference
from embedders.backend import Backend
from embedders.engine import Engine
from embedders.recipe import Recipe
from embedders.refusal import Refusal

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

    from embedders.backend import Vectors

logger = logging.getLogger(__name__)

MIN_COSINE = {"auto": 0.9999, "f32": 0.9999, "bf16": 0.99, "f16": 0.99}
"""Of each probe with its reference vector, by requested precision. `auto` accepts nothing less precise than f32."""


class Candidate(NamedTuple):
    """A backend, a device and a precision to compute with. In a request each may be `auto`."""

    backend: str
    device: str
    precision: str

    def __str__(self) -> str:
        return f"{self.backend} {self.precision} on {self.device}"


@dataclass(frozen=True)
class Selection:
    """The selected backend, device and precision; `why` explains the selection to a person in one line."""

    backend: str
    device: str
    precision: str
    why: str


@dataclass(frozen=True)
class Origin:
    """A model's files, and what `cache` keeps of them. The model itself is loaded at most once, and only if something is not cached."""

    folder: Path
    identity: str
    dimension: int | None
    cache: Path

    @cached_property
    def model(self) -> SentenceTransformer:
        from embedders.loading import load_model

        return load_model(self.folder, "cpu", "f32", self.dimension)

    @cached_property
    def recipe(self) -> Recipe:
        file = self.cache / f"{self.identity}-recipe-{version('transformers')}-{version('sentence-transformers')}.json"
        with suppress(OSError, ValueError, TypeError):
            return Recipe.from_json(file.read_text())
        found = recipe.of_model(self.model)
        file.write_text(found.to_json())
        return found

    @cached_property
    def probes(self) -> list[str]:
        return reference.probes(self.recipe)

    @cached_property
    def reference(self) -> Vectors:
        file = self.cache / f"{self.identity}-reference-{reference.digest(self.probes)}.npy"
        cached = reference.load(file, len(self.probes))
        return cached if cached is not None else reference.compute(file, self.model, self.probes, self.recipe.prompt("passage"))

    def release(self) -> None:
        """Release the loaded model: the backend has its own."""
        self.__dict__.pop("model", None)

    @property
    def converted(self) -> Path:
        return conversion.converted(conversion.folder_of(self.cache, self.identity), lambda: self.model)


def select(origin: Origin, requested: Candidate, batch_tokens: int | None) -> tuple[Engine, Selection]:
    """Return a warm engine.

    Raises Refusal: that of loading the backend, or `reference-mismatch` if its vectors are not the model's.
    """
    offered = candidates(requested)
    try:
        if len(offered) > 1:
            return _fastest(origin, requested, offered, batch_tokens)
        engine, cosine = _checked(origin, offered[0], batch_tokens, MIN_COSINE[requested.precision])
        return _reported(engine, requested, f"as configured; minimum cosine with the reference {cosine:.6f}")
    finally:
        origin.release()


def candidates(requested: Candidate) -> list[Candidate]:
    """The candidates that this machine offers and the request allows. Raises Refusal (`bad-backend`)."""
    found = [candidate for candidate in _offered(requested) if _matches(candidate, requested)]
    if not found:
        combination = f"backend {requested.backend}, precision {requested.precision} and device {requested.device}"
        raise Refusal("bad-backend", f"nothing here computes with {combination}")
    return found


def _matches(candidate: Candidate, requested: Candidate) -> bool:
    return all(wish in ("auto", offer) for wish, offer in zip(requested, candidate, strict=True))


def _offered(requested: Candidate) -> Iterator[Candidate]:
    device = _best_device() if requested.device == "auto" and requested.backend != "openvino" else requested.device.replace("auto", "cpu")
    if device != "cpu":
        yield from (Candidate("torch", device, precision) for precision in ("f16", "bf16", "f32"))
        return
    if requested.backend == "openvino" or find_spec("openvino"):
        yield from (Candidate("openvino", "cpu", precision) for precision in ("bf16", "f16", "f32") if _supports(precision, requested))
    # reduced precision with torch on a CPU only if requested by name: it was slower or less accurate wherever it was measured
    yield from (Candidate("torch", "cpu", precision) for precision in ("bf16", "f16", "f32") if precision in ("f32", requested.precision))


def _best_device() -> str:
    """The first available of cuda, mps and cpu, without importing torch."""
    if hardware.cuda_devices():
        return "cuda"
    return "mps" if platform.system() == "Darwin" and platform.machine() == "arm64" else "cpu"


_INSTRUCTIONS = {"bf16": {"amx_bf16", "avx512_bf16"}, "f16": {"amx_fp16", "avx512_fp16"}}


def _supports(precision: str, requested: Candidate) -> bool:
    """Whether the processor has instructions for the precision. One that is requested by name is tried without them, too."""
    return precision in ("f32", requested.precision) or not _INSTRUCTIONS[precision].isdisjoint(hardware.cpu_features())


def _fastest(origin: Origin, requested: Candidate, offered: list[Candidate], batch_tokens: int | None) -> tuple[Engine, Selection]:
    """Return the fastest candidate, by the ranking that an earlier start cached for the same request, or measure them."""
    file = origin.cache / _ranking_name(origin.identity, requested)
    with suppress(OSError, ValueError, TypeError, Refusal):
        for ranked, speed in json.loads(file.read_text()):
            if Candidate(*ranked) in offered:
                engine, _ = _checked(origin, Candidate(*ranked), batch_tokens, MIN_COSINE[requested.precision])
                return _reported(engine, requested, f"{speed:,} tokens a second when selected as the fastest on this machine")
    return _measured(origin, requested, offered, batch_tokens, file)


def _measured(
    origin: Origin, requested: Candidate, offered: list[Candidate], batch_tokens: int | None, file: Path
) -> tuple[Engine, Selection]:
    """Measure the candidates and cache their ranking. Raises the last one's Refusal if all are refused."""
    minimum = MIN_COSINE[requested.precision]
    speeds: dict[Candidate, int] = {}
    refused: dict[Candidate, Refusal] = {}
    for candidate in offered:
        try:
            speeds[candidate] = _speed(origin, candidate, batch_tokens, minimum)
        except Refusal as refusal:
            refused[candidate] = refusal
    if not speeds:
        raise next(reversed(refused.values()))
    best, *others = sorted(speeds, key=lambda candidate: -speeds[candidate])
    file.write_text(json.dumps([(candidate, speeds[candidate]) for candidate in (best, *others)]))
    engine, _ = _checked(origin, best, batch_tokens, minimum)
    slower = [f"{candidate} {speeds[candidate]:,}" for candidate in others]
    left_out = [f"{candidate} left out ({refusal.reason})" for candidate, refusal in refused.items()]
    return _reported(engine, requested, "; ".join([f"{speeds[best]:,} tokens a second", *slower, *left_out]))


def _speed(origin: Origin, candidate: Candidate, batch_tokens: int | None, minimum: float) -> int:
    """Tokens a second over the longer probes, numbered so that none is a duplicate. Only one candidate is loaded at a time."""
    engine, _ = _checked(origin, candidate, batch_tokens, minimum, quick=False)
    texts = [f"{text} {number}" for number in range(3) for text in origin.probes[reference.QUICK : -2]]
    runs = [engine.embed(texts, "passage") for _ in range(3)]
    engine.close()
    return int(max(run.tokens / run.seconds for run in runs))


def _checked(origin: Origin, candidate: Candidate, batch_tokens: int | None, minimum: float, quick: bool = True) -> tuple[Engine, float]:
    """Return the engine and the minimum cosine of its vectors with the reference. Raises Refusal (`reference-mismatch`)."""
    engine = Engine(origin.recipe, _backend(origin, candidate, batch_tokens))
    texts = origin.probes[: reference.QUICK if quick else None]
    embedded = engine.embed(texts, "passage")
    cosine = reference.agreement(embedded.vectors, origin.reference[: len(texts)])
    if cosine >= minimum:
        return engine, cosine
    engine.close()
    detail = f"{candidate}: a vector has a cosine of {cosine:.6f} with the model's own, the minimum is {minimum}"
    raise next(iter(embedded.errors.values()), Refusal("reference-mismatch", detail))


def _backend(origin: Origin, candidate: Candidate, batch_tokens: int | None) -> Backend:
    if candidate.backend == "openvino":
        from embedders.openvino_backend import OpenVinoBackend

        return OpenVinoBackend(origin.converted, origin.recipe.dimension, candidate.precision, batch_tokens)
    from embedders.torch_backend import TorchBackend

    return TorchBackend(origin.folder, candidate.device, candidate.precision, origin.dimension, batch_tokens)


def _ranking_name(identity: str, requested: Candidate) -> str:
    """The name of the file that caches the ranking. It contains the request, because a narrower request ranks fewer candidates."""
    return f"{identity}-choice-{'.'.join(requested).replace(':', '')}-{_machine()}.json"


def _machine() -> str:
    """Hash what decides which candidate is the fastest, as 16 hex characters."""
    versions = [_version(package) for package in ("openvino", "torch")]
    parts = [*versions, platform.machine(), platform.processor(), hardware.threads(), hardware.cpu_features(), hardware.cuda_devices()]
    return blake2b(json.dumps(parts).encode(), digest_size=8).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _reported(engine: Engine, requested: Candidate, why: str) -> tuple[Engine, Selection]:
    """Log the selection, as a warning if the device computes in another precision than the requested one."""
    computes = Candidate(engine.backend.name, engine.backend.device, engine.backend.precision)
    as_requested = requested.precision in ("auto", computes.precision)
    if not as_requested:
        why = f"{requested.precision} was requested; this device computes in {computes.precision}; {why}"
    logger.log(logging.INFO if as_requested else logging.WARNING, "embedding with %s: %s", computes, why)
    return engine, Selection(*computes, why)
