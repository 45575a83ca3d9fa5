"""A token classifier of transformers: from safetensors, running no code of its own, offline, its folder given."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from threading import Lock
from typing import TYPE_CHECKING, Any

from privacy.models import device as devices
from privacy.models.found import Found
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
"""Of a window: what most such models were trained on, and more context has told none of them about a name."""


class TransformerReader:
    """On a processor each window is computed alone, on CUDA in batches whose shapes follow from the windows' own lengths.

    `device` and `together` are for tests; without them CUDA where there is one.
    """

    def __init__(self, found: Found, device: str | None = None, *, together: bool | None = None) -> None:
        """Raises ConfigurationError: the model cannot be loaded, has pickled weights alone, or knows neither people nor places."""
        self._device = device or devices.chosen()
        self.together = self._device != "cpu" if together is None else together
        self._computing = Lock()
        with loading(found):
            self._tokenizer, self._model = _load(found)
            self._prefix, self._suffix = _frame(self._tokenizer)
            self._limit = min(_limit(self._tokenizer, self._model), _MOST_TOKENS)
            self._tags = Tags(self._model.config.id2label)
            self._model.to(self._device)
            self._dtype: torch.dtype | None = None
            self._dtype = self._lowered()
        self.identity = f"{found.digest}-transformers-{version('transformers')}"

    def read(self, texts: Sequence[str]) -> list[list[Span]]:
        with self._computing, devices.device_errors(self._device):
            tokenized = [self._tokenizer(text, **_PLAINLY).encodings[0] for text in texts]
            probabilities = self._probabilities([encoding.ids for encoding in tokenized])
        return [
            list(self._tags.spans(words(text, encoding.offsets, encoding.word_ids), found))
            for text, encoding, found in zip(texts, tokenized, probabilities, strict=True)
        ]

    def _probabilities(self, texts: Sequence[Sequence[int]]) -> list[Floats]:
        """Of each text (tokens, labels): each token's from the window that shows most around it."""
        import numpy as np

        size = self._limit - len(self._prefix) - len(self._suffix)
        cut = [(at, window) for at, ids in enumerate(texts) if ids for window in windows(len(ids), size)]
        rows = [[*self._prefix, *texts[at][window.start : window.end], *self._suffix] for at, window in cut]
        found = [np.empty((len(ids), len(self._tags)), dtype=np.float32) for ids in texts]
        for (at, window), row in zip(cut, self._forward(rows), strict=True):
            first = len(self._prefix) - window.start
            found[at][window.own_start : window.own_end] = row[first + window.own_start : first + window.own_end]
        return found

    def _forward(self, rows: list[list[int]]) -> list[Floats]:
        if not self.together:
            return [self._batch([row], 1, len(row))[0].numpy() for row in rows]
        done: dict[int, Floats] = {}
        for height, width, indices in batches([len(row) for row in rows], self._limit):
            computed = self._batch([rows[index] for index in indices], height, width).numpy()
            done |= {index: computed[place, : len(rows[index])] for place, index in enumerate(indices)}
        return [done[index] for index in range(len(rows))]

    def _batch(self, rows: Sequence[Sequence[int]], height: int, width: int) -> torch.Tensor:
        """(height, width, labels) f32 on the processor; rows that are too few are filled up with the first."""
        import torch

        filled = [*rows, *[rows[0]] * (height - len(rows))]
        padding = int(self._tokenizer.pad_token_id or 0)
        ids = torch.tensor([[*row, *[padding] * (width - len(row))] for row in filled], device=self._device)
        seen = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in filled], device=self._device)
        with torch.inference_mode(), devices.computing(self._device, self._dtype):
            logits: torch.Tensor = self._model(input_ids=ids, attention_mask=seen).logits
        return logits.float().softmax(-1).cpu()

    def _lowered(self) -> torch.dtype | None:
        """Reads a text as long as the model's limit, so that a wrong limit shows now; then the precision that CUDA can have."""
        probe = [[(place * 7919) % self._model.config.vocab_size for place in range(self._limit)]]
        self._batch(probe, 1, self._limit)
        return devices.lowered(self._model, self._device, lambda: self._batch(probe, 1, self._limit)) if self._device != "cpu" else None


_PLAINLY = {"add_special_tokens": False, "return_offsets_mapping": True, "truncation": False, "padding": False, "verbose": False}


def _load(found: Found) -> tuple[Any, Any]:
    from transformers import AutoModelForTokenClassification, AutoTokenizer

    offline: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    tokenizer = AutoTokenizer.from_pretrained(found.folder, use_fast=True, **offline)
    if not tokenizer.is_fast:
        raise ValueError("its tokenizer tells no offsets")
    # other kernels drop the mask where every row of a batch is full, and a row's last digits would tell of its company
    computed: dict[str, Any] = {"use_safetensors": True, "dtype": "float32", "attn_implementation": "eager"}
    model = AutoModelForTokenClassification.from_pretrained(found.folder, **computed, **offline).eval()
    if not personal(model.config.id2label.values()):
        raise refused(found, "knows neither people nor places")
    return tokenizer, model


def _frame(tokenizer: Any) -> tuple[list[int], list[int]]:
    """What the model wants before and after a text: `[CLS]` and `[SEP]`, mostly."""
    whole, plain = (tokenizer("a", add_special_tokens=special)["input_ids"] for special in (True, False))
    before = next(at for at in range(len(whole) + 1) if whole[at : at + len(plain)] == plain)
    return whole[:before], whole[before + len(plain) :]


def _limit(tokenizer: Any, model: Any) -> int:
    """The tokens that the model reads at once, special ones included. A tokenizer that was not told has a number beyond all bounds."""
    positions = getattr(model.config, "max_position_embeddings", None) or _MOST_TOKENS
    return max(8, min(int(tokenizer.model_max_length), int(positions) - _first_position(model)))


def _first_position(model: Any) -> int:
    """Of a text's first token: 0, but RoBERTa and its kin have a table of positions that begins behind the padding's own."""
    tables = (getattr(module, "position_embeddings", None) for module in model.modules())
    padding = next((getattr(table, "padding_idx", None) for table in tables if table is not None), None)
    return padding + 1 if isinstance(padding, int) else 0
