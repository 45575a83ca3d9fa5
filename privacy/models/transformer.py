"""Reads names with a token-classification model of transformers, loaded offline from safetensors without running the model's code."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from threading import Lock
from typing import TYPE_CHECKING, Any

from privacy.models import device as devices
from privacy.models.files import ModelFiles
from privacy.models.labels import personal
from privacy.models.loading import loading, refused
from privacy.models.reader import Span
from privacy.models.tags import Tags, words
from privacy.models.windows import batches, windows

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

_MOST_TOKENS = 512
"""A window's maximum: the length that most such models are trained on. Longer windows found no more names."""


class TransformerReader:
    """Computes each window separately on a CPU; on CUDA in batches whose shapes follow from each window's own length.

    `device` and `together` are for tests. The default device is CUDA if available.
    """

    def __init__(self, files: ModelFiles, device: str | None = None, *, together: bool | None = None) -> None:
        """Raises ConfigurationError if the model cannot be loaded, has only pickled weights, or labels neither people nor places."""
        self._device = device or devices.chosen()
        self.together = self._device != "cpu" if together is None else together
        self._lock = Lock()
        with loading(files):
            self._tokenizer, self._model = _load(files)
            self._prefix, self._suffix = _frame(self._tokenizer)
            self._limit = min(_limit(self._tokenizer, self._model), _MOST_TOKENS)
            self._tags = Tags(self._model.config.id2label)
            self._model.to(self._device)
            self._dtype: torch.dtype | None = None
            self._dtype = self._lowered()
        self.identity = f"{files.digest}-transformers-{version('transformers')}"

    def read(self, texts: Sequence[str]) -> list[list[Span]]:
        with self._lock, devices.device_errors(self._device):
            tokenized = [self._tokenizer(text, **_PLAINLY).encodings[0] for text in texts]
            probabilities = self._probabilities([encoding.ids for encoding in tokenized])
        return [
            list(self._tags.spans(words(text, encoding.offsets, encoding.word_ids), scores))
            for text, encoding, scores in zip(texts, tokenized, probabilities, strict=True)
        ]

    def _probabilities(self, texts: Sequence[Sequence[int]]) -> list[Floats]:
        """One (tokens, labels) array for each text. A token's row comes from the window with the most context around it."""
        import numpy as np

        size = self._limit - len(self._prefix) - len(self._suffix)
        cut = [(at, window) for at, ids in enumerate(texts) if ids for window in windows(len(ids), size)]
        rows = [[*self._prefix, *texts[at][window.start : window.end], *self._suffix] for at, window in cut]
        probabilities = [np.empty((len(ids), len(self._tags)), dtype=np.float32) for ids in texts]
        for (at, window), row in zip(cut, self._forward(rows), strict=True):
            first = len(self._prefix) - window.start
            probabilities[at][window.own_start : window.own_end] = row[first + window.own_start : first + window.own_end]
        return probabilities

    def _forward(self, rows: list[list[int]]) -> list[Floats]:
        if not self.together:
            return [self._batch([row], 1, len(row))[0].numpy() for row in rows]
        by_index: dict[int, Floats] = {}
        for height, width, indices in batches([len(row) for row in rows], self._limit):
            computed = self._batch([rows[index] for index in indices], height, width).numpy()
            by_index |= {index: computed[place, : len(rows[index])] for place, index in enumerate(indices)}
        return [by_index[index] for index in range(len(rows))]

    def _batch(self, rows: Sequence[Sequence[int]], height: int, width: int) -> torch.Tensor:
        """(height, width, labels) f32 on the CPU. Missing rows are filled with the first."""
        import torch

        filled = [*rows, *[rows[0]] * (height - len(rows))]
        padding = int(self._tokenizer.pad_token_id or 0)
        ids = torch.tensor([[*row, *[padding] * (width - len(row))] for row in filled], device=self._device)
        seen = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in filled], device=self._device)
        with torch.inference_mode(), devices.computing(self._device, self._dtype):
            logits: torch.Tensor = self._model(input_ids=ids, attention_mask=seen).logits
        return logits.float().softmax(-1).cpu()

    def _lowered(self) -> torch.dtype | None:
        """The precision to compute in. Reads a text of the model's limit first, so that a wrong limit fails at construction."""
        probe = [[(place * 7919) % self._model.config.vocab_size for place in range(self._limit)]]
        self._batch(probe, 1, self._limit)
        return devices.lowered(self._model, self._device, lambda: self._batch(probe, 1, self._limit)) if self._device != "cpu" else None


_PLAINLY = {"add_special_tokens": False, "return_offsets_mapping": True, "truncation": False, "padding": False, "verbose": False}


def _load(files: ModelFiles) -> tuple[Any, Any]:
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    offline: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(files.folder, use_fast=True, **offline)
    if not tokenizer.is_fast:
        raise ValueError("its tokenizer has no offsets")
    # other kernels drop the mask if every row of a batch is full, so a row's last digits would depend on the other rows
    computed: dict[str, Any] = {"use_safetensors": True, "dtype": "float32", "attn_implementation": "eager"}
    model = AutoModelForTokenClassification.from_pretrained(files.folder, **computed, **offline).eval()
    if not personal(model.config.id2label.values()):
        raise refused(files, "knows neither people nor places")
    return tokenizer, model


def _frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """The special tokens before and after a text, mostly `[CLS]` and `[SEP]`."""
    whole, plain = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (True, False))
    before = next(at for at in range(len(whole) + 1) if whole[at : at + len(plain)] == plain)
    return whole[:before], whole[before + len(plain) :]


def _limit(tokenizer: Any, model: Any) -> int:
    """The maximum length of a window in tokens, special tokens included. A tokenizer without a configured limit has a huge number."""
    positions = getattr(model.config, "max_position_embeddings", None) or _MOST_TOKENS
    return max(8, min(int(tokenizer.model_max_length), int(positions) - _first_position(model)))


def _first_position(model: Any) -> int:
    """The position of a text's first token: 0, but in RoBERTa and its relatives positions start after the padding's index."""
    tables = (getattr(module, "position_embeddings", None) for module in model.modules())
    padding = next((getattr(table, "padding_idx", None) for table in tables if table is not None), None)
    return padding + 1 if isinstance(padding, int) else 0
