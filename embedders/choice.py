"""Which backend computes: the one that was asked for, or the fastest on this machine whose vectors are the model's.

The fastest is measured, not read off the processor's flags: there are processors that have bf16 instructions and multiply faster without.
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

LEAST_COSINE = {"auto": 0.9999, "f32": 0.9999, "bf16": 0.99, "f16": 0.99}
"""With the reference, of each probe, by the precision that was asked for; who asks for `auto` asks for nothing less precise."""


class Candidate(NamedTuple):
    """One way to compute: a backend, a device, a precision."""

    backend: str
    device: str
    precision: str

    def __str__(self) -> str:
        return f"{self.backend} {self.precision} on {self.device}"


@dataclass(frozen=True)
class About:
    """What computes, and why it was picked, in one line for a person."""

    backend: str
    device: str
    precision: str
    why: str


@dataclass(frozen=True)
class Origin:
    """A model's files and what is kept of them in `cache`. The model itself is loaded once, and only where something kept is missing."""

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
        known = reference.known(file, len(self.probes))
        return known if known is not None else reference.computed(file, self.model, self.probes, self.recipe.prompt("passage"))

    def release(self) -> None:
        """Let go of the loaded model: the backend has its own."""
        self.__dict__.pop("model", None)

    @property
    def converted(self) -> Path:
        return conversion.converted(conversion.place(self.cache, self.identity), lambda: self.model)


def pick(origin: Origin, wanted: Candidate, batch_tokens: int | None) -> tuple[Engine, About]:
    """A warm engine. `wanted` may have `auto` in each of its places.

    Raises Refusal: what the backend's loading raises, and `reference-mismatch` where its vectors are not the model's.
    """
    choices = candidates(wanted)
    try:
        if len(choices) > 1:
            return _fastest(origin, wanted, choices, batch_tokens)
        engine, cosine = _checked(origin, choices[0], batch_tokens, LEAST_COSINE[wanted.precision])
        return _told(engine, wanted, f"as configured; least cosine with the reference {cosine:.6f}")
    finally:
        origin.release()


def candidates(wanted: Candidate) -> list[Candidate]:
    """The ways that this machine has and `wanted` allows. Raises Refusal (`bad-backend`, `no-such-device`)."""
    found = [way for way in _ways(wanted) if all(given in ("auto", has) for given, has in zip(wanted, way, strict=True))]
    if not found:
        wish = f"backend {wanted.backend}, precision {wanted.precision} and device {wanted.device}"
        raise Refusal("bad-backend", f"there is no way to compute with {wish}")
    return found


def _ways(wanted: Candidate) -> Iterator[Candidate]:
    device = _best_device() if wanted.device == "auto" and wanted.backend != "openvino" else wanted.device.replace("auto", "cpu")
    if device != "cpu":
        yield from (Candidate("torch", device, precision) for precision in ("f16", "bf16", "f32"))
        return
    if wanted.backend == "openvino" or find_spec("openvino"):
        yield from (Candidate("openvino", "cpu", precision) for precision in ("bf16", "f16", "f32") if _offered(precision, wanted))
    # reduced precision through torch on a processor is for those who name it: wherever it was tried it was slower, or less true
    yield from (Candidate("torch", "cpu", precision) for precision in ("bf16", "f16", "f32") if precision in ("f32", wanted.precision))


def _best_device() -> str:
    """The first there is of cuda, mps and cpu, without importing torch."""
    if hardware.cuda_devices():
        return "cuda"
    return "mps" if platform.system() == "Darwin" and platform.machine() == "arm64" else "cpu"


_INSTRUCTIONS = {"bf16": {"amx_bf16", "avx512_bf16"}, "f16": {"amx_fp16", "avx512_fp16"}}


def _offered(precision: str, wanted: Candidate) -> bool:
    """Whether the processor has instructions for it; a precision that is asked for by name is tried all the same."""
    return precision in ("f32", wanted.precision) or not _INSTRUCTIONS[precision].isdisjoint(hardware.cpu_features())


def _fastest(origin: Origin, wanted: Candidate, choices: list[Candidate], batch_tokens: int | None) -> tuple[Engine, About]:
    """By what was measured here before for the same request; else measured now."""
    file = origin.cache / _note_name(origin.identity, wanted)
    with suppress(OSError, ValueError, TypeError, Refusal):
        for ranked, speed in json.loads(file.read_text()):
            if Candidate(*ranked) in choices:
                engine, _ = _checked(origin, Candidate(*ranked), batch_tokens, LEAST_COSINE[wanted.precision])
                return _told(engine, wanted, f"{speed:,} tokens a second when it was picked as the fastest of this machine")
    return _measured(origin, wanted, choices, batch_tokens, file)


def _measured(origin: Origin, wanted: Candidate, choices: list[Candidate], batch_tokens: int | None, file: Path) -> tuple[Engine, About]:
    least = LEAST_COSINE[wanted.precision]
    speeds: dict[Candidate, int] = {}
    refused: dict[Candidate, Refusal] = {}
    for choice in choices:
        try:
            speeds[choice] = _speed(origin, choice, batch_tokens, least)
        except Refusal as refusal:
            refused[choice] = refusal
    if not speeds:
        raise next(reversed(refused.values()))
    best, *others = sorted(speeds, key=lambda choice: -speeds[choice])
    file.write_text(json.dumps([(choice, speeds[choice]) for choice in (best, *others)]))
    engine, _ = _checked(origin, best, batch_tokens, least)
    slower = [f"{choice} {speeds[choice]:,}" for choice in others]
    left_out = [f"{choice} left out ({refusal.reason})" for choice, refusal in refused.items()]
    told = [f"{speeds[best]:,} tokens a second", *slower, *left_out]
    return _told(engine, wanted, "; ".join(told))


def _speed(origin: Origin, choice: Candidate, batch_tokens: int | None, least: float) -> int:
    """Tokens a second over the longer probes, each made distinct so that none is taken for a duplicate. One candidate is held at a time."""
    engine, _ = _checked(origin, choice, batch_tokens, least, quick=False)
    texts = [f"{text} {turn}" for turn in range(3) for text in origin.probes[reference.QUICK : -2]]
    runs = [engine.embed(texts, "passage") for _ in range(3)]
    engine.close()
    return int(max(run.tokens / run.seconds for run in runs))


def _checked(origin: Origin, choice: Candidate, batch_tokens: int | None, least: float, quick: bool = True) -> tuple[Engine, float]:
    """The engine, and the least cosine of its vectors with the reference. Raises Refusal (`reference-mismatch`)."""
    engine = Engine(origin.recipe, _backend(origin, choice, batch_tokens))
    texts = origin.probes[: reference.QUICK if quick else None]
    embedded = engine.embed(texts, "passage")
    cosine = reference.agreement(embedded.vectors, origin.reference[: len(texts)])
    if cosine >= least:
        return engine, cosine
    engine.close()
    told = f"{choice}: a vector has a cosine of {cosine:.6f} with the model's own, least is {least}"
    raise next(iter(embedded.errors.values()), Refusal("reference-mismatch", told))


def _backend(origin: Origin, choice: Candidate, batch_tokens: int | None) -> Backend:
    if choice.backend == "openvino":
        from embedders.openvino_backend import OpenVinoBackend

        return OpenVinoBackend(origin.converted, origin.recipe.dimension, choice.precision, batch_tokens)
    from embedders.torch_backend import TorchBackend

    return TorchBackend(origin.folder, choice.device, choice.precision, origin.dimension, batch_tokens)


def _note_name(identity: str, requested: Candidate) -> str:
    """The file that ranks the candidates. A narrower request ranks fewer of them, so that each request has a file of its own."""
    return f"{identity}-choice-{'.'.join(requested).replace(':', '')}-{_machine()}.json"


def _machine() -> str:
    """16 hex characters over what decides which backend is the fastest."""
    versions = [_version(package) for package in ("openvino", "torch")]
    stated = [*versions, platform.machine(), platform.processor(), hardware.threads(), hardware.cpu_features(), hardware.cuda_devices()]
    return blake2b(json.dumps(stated).encode(), digest_size=8).hexdigest()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _told(engine: Engine, wanted: Candidate, why: str) -> tuple[Engine, About]:
    """What computes, and in what; a warning where that is not the precision that was asked for by name."""
    computes = Candidate(engine.backend.name, engine.backend.device, engine.backend.precision)
    as_asked = wanted.precision in ("auto", computes.precision)
    if not as_asked:
        why = f"{wanted.precision} was asked for; this device computes in {computes.precision}; {why}"
    logger.log(logging.INFO if as_asked else logging.WARNING, "embedding with %s: %s", computes, why)
    return engine, About(*computes, why)
