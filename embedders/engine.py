"""The model at work: texts in, token counts and unit vectors out. Imports nothing of ours but what stands beside it.

Accuracy is sentence-transformers' own in float32; speed comes from batches of texts of like length, small enough for the caches.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from embedders import hardware
from embedders.refusal import Refusal

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from tokenizers import Tokenizer

Kind = Literal["passage", "query"]
Vectors = NDArray[np.float32]

CPU_BATCH_TOKENS = 4096
"""A thread's share of a batch on a CPU. Measured for MiniLM at 200 tokens a text: on an idle core 512 to 4,096 are alike and 16,384 a
quarter slower; with all cores busy and two threads, smaller ones fell behind plain sentence-transformers (1,024 in all: 0.56 of it).
"""

_PROMPTS: Mapping[Kind, tuple[str, ...]] = {"query": ("query",), "passage": ("passage", "document", "corpus")}
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")


class Engine:
    """A loaded model. Threads may share it; one at a time computes.

    `dimension` is of its vectors; `max_tokens` is the longest input, special tokens and prompt included.
    Raises Refusal: `model-not-loadable`, `no-such-device`.
    """

    def __init__(self, folder: Path, device: str = "auto", batch_tokens: int = 16_384) -> None:
        self._device = hardware.pick(device)
        self._model = _loaded(folder, self._device)
        self._tokenizer = _counting_tokenizer(self._model)
        self._batch_tokens = batch_tokens
        if self._device == "cpu":
            _use_own_cores()
            self._batch_tokens = min(batch_tokens, CPU_BATCH_TOKENS * hardware.threads())
        self._lock = Lock()
        self.max_tokens = _limit(self._model)
        self.dimension = _dimension(self._model)

    def count(self, texts: Sequence[str], kind: Kind = "passage") -> list[int]:
        """Tokens the model would read of each text, special tokens and the kind's prompt included, nothing truncated."""
        prompt = self._prompt(kind)
        return [len(encoding) for encoding in self._tokenizer.encode_batch_fast([prompt + _valid(text) for text in texts])]

    def encode(self, texts: Sequence[str], kind: Kind) -> tuple[Vectors, list[int]]:
        """(n, dimension) float32 of unit length, and the n token counts, in the order of the texts. Equal texts are computed once.

        Raises Refusal (`text-too-long`), before anything is computed, where a text has more than `max_tokens`.
        """
        distinct = {text: at for at, text in enumerate(dict.fromkeys(map(_valid, texts)))}
        counts = self.count(list(distinct), kind)
        self._refuse_long(counts)
        vectors = self._computed(list(distinct), counts, kind)
        places = [distinct[_valid(text)] for text in texts]
        return vectors[places], [counts[place] for place in places]

    def _refuse_long(self, counts: Sequence[int]) -> None:
        longest = max(counts, default=0)
        if longest > self.max_tokens:
            raise Refusal("text-too-long", f"a text has {longest} tokens, the model reads {self.max_tokens}")

    def _computed(self, texts: Sequence[str], counts: Sequence[int], kind: Kind) -> Vectors:
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        with self._lock:
            for batch in _batches(counts, self._batch_tokens):
                vectors[batch] = self._forward([texts[at] for at in batch], kind)
        return vectors

    def _forward(self, batch: list[str], kind: Kind) -> Vectors:
        encode = self._model.encode_query if kind == "query" else self._model.encode_document
        prompt = self._prompt(kind)
        vectors = encode(batch, prompt=prompt, batch_size=len(batch), show_progress_bar=False, normalize_embeddings=True)
        return np.asarray(vectors, dtype=np.float32)

    def _prompt(self, kind: Kind) -> str:
        """The model's own prompt for this kind. Its empty defaults must not hide one that it has under another name."""
        prompts = self._model.prompts
        return next((prompt for name in _PROMPTS[kind] if (prompt := prompts.get(name))), "")


def _valid(text: str) -> str:
    """Tokenizers take no lone surrogate; it becomes U+FFFD."""
    return _LONE_SURROGATE.sub("\ufffd", text)


def _batches(counts: Sequence[int], batch_tokens: int) -> Iterator[list[int]]:
    """Indices by falling length, so many at a time that the longest one times their number stays within `batch_tokens`."""
    order = sorted(range(len(counts)), key=lambda at: -counts[at])
    start = 0
    while start < len(order):
        size = max(1, batch_tokens // counts[order[start]])
        yield order[start : start + size]
        start += size


def _use_own_cores() -> None:
    """torch counts the machine's cores, not those that the control group's quota leaves to this process."""
    import torch

    if torch.get_num_threads() != hardware.threads():
        torch.set_num_threads(hardware.threads())


def _loaded(folder: Path, device: str) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    try:
        with _no_progress_bar():
            return SentenceTransformer(
                str(folder), device=device, local_files_only=True, trust_remote_code=False, model_kwargs={"use_safetensors": True}
            )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise Refusal("model-not-loadable", f"sentence-transformers cannot load {folder}: {type(error).__name__}") from error


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """transformers draws one for weights, whoever is watching."""
    from transformers.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

    shown = is_progress_bar_enabled()
    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            enable_progress_bar()  # type: ignore[no-untyped-call]


def _counting_tokenizer(model: SentenceTransformer) -> Tokenizer:
    """A copy of the model's fast tokenizer that neither truncates nor pads, so that counting never disturbs the model's own."""
    from tokenizers import Tokenizer

    backend = getattr(model.tokenizer, "backend_tokenizer", model.tokenizer)
    if not isinstance(backend, Tokenizer):
        raise Refusal("model-not-loadable", "the model has no fast tokenizer")
    copy = Tokenizer.from_str(backend.to_str())
    copy.no_truncation()
    copy.no_padding()
    return copy


def _limit(model: SentenceTransformer) -> int:
    """The model's own limit, by its configuration or by its positions, whichever is less."""
    positions = getattr(getattr(model[0], "config", None), "max_position_embeddings", None)
    limits = [limit for limit in (model.max_seq_length, positions) if limit]
    if not limits:
        raise Refusal("model-not-loadable", "the model does not say how many tokens it reads")
    return min(limits)


def _dimension(model: SentenceTransformer) -> int:
    dimension = model.get_embedding_dimension()
    if not dimension:
        raise Refusal("model-not-loadable", "the model does not say its vectors' dimension")
    return dimension
