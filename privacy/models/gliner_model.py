"""Reads names with a GLiNER model, prompted for people, places and organisations. docs/privacy.md says why gliner is no dependency."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from itertools import accumulate, pairwise
from operator import sub
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from privacy.models import device as devices
from privacy.models.files import ModelFiles
from privacy.models.loading import loading, refused
from privacy.models.reader import Span
from privacy.models.windows import Window, windows

INSTALL = "pip install --no-deps gliner==0.2.29 sentencepiece"

_PROMPTS = {"person": "PERSON", "location": "LOCATION", "organization": "ORGANIZATION"}
_MIN_SCORE = 0.1
"""Below every useful threshold. Of two overlapping spans the one with the higher score wins, so low scores displace nothing."""

_MOST_WORDS = 96
"""A window's maximum in words, if their tokens fit."""

_MOST_TOKENS, _PROMPT_TOKENS = 512, 32
"""A window's maximum in tokens, and the share of the three prompts with their markers, at most one token for each character."""


class _Word(NamedTuple):
    """Characters `[start, end)`, and their number of tokens."""

    start: int
    end: int
    tokens: int


class GlinerReader:
    """Computes each window separately: gliner pads a batch, so a score's last digits would depend on the other windows."""

    together = False

    def __init__(self, files: ModelFiles) -> None:
        """Raises ConfigurationError if gliner is not installed, the folder lacks files that the model needs, or loading fails."""
        self._device = devices.chosen()
        self._lock = Lock()
        _require_gliner(files)
        with loading(files):
            _require_safe(files)
            self._model = _load(files, self._device)
            self._words = self._model.data_processor.words_splitter
            self._tokenizer = self._model.data_processor.transformer_tokenizer
            self._size = min(int(self._model.config.max_len), _MOST_WORDS)
            self._room = _room(self._tokenizer, self._model.config)
            self.read(["warm"])
        self.identity = f"{files.digest}-gliner-{version('gliner')}-transformers-{version('transformers')}"

    def read(self, texts: Sequence[str]) -> list[list[Span]]:
        with self._lock, devices.device_errors(self._device):
            cut = [self._windows(text) for text in texts]
            shown = [text[start:end] for text, pieces in zip(texts, cut, strict=True) for start, end, _, _ in pieces]
            entities = self._inference(shown) if shown else []
        bounds = pairwise(accumulate(map(len, cut), initial=0))
        return [list(_joined(pieces, entities[first:last])) for pieces, (first, last) in zip(cut, bounds, strict=True)]

    def _inference(self, texts: Sequence[str]) -> list[list[dict[str, Any]]]:
        """GLiNER's entities in each text."""
        entities: list[list[dict[str, Any]]] = self._model.inference(list(texts), list(_PROMPTS), threshold=_MIN_SCORE, batch_size=1)
        return entities

    def _windows(self, text: str) -> list[Window]:
        """Windows of the largest number of words that fits the encoder anywhere in the text: gliner silently drops the excess."""
        words = list(self._split(text))
        return _cut(words, _size([word.tokens for word in words], self._size, self._room))

    def _split(self, text: str, base: int = 0) -> Iterator[_Word]:
        """The words of a text. One that exceeds a window is split into halves; a name across the split may be missed."""
        bounds = [(start, end) for _, start, end in self._words(text)]
        for (start, end), width in zip(bounds, self._widths([text[start:end] for start, end in bounds]), strict=True):
            if width <= self._room or end - start == 1:
                yield _Word(base + start, base + end, width)
            else:
                middle = (start + end) // 2
                yield from self._split(text[start:middle], base + start)
                yield from self._split(text[middle:end], base + middle)

    def _widths(self, words: list[str]) -> list[int]:
        """The number of tokens of each word. gliner tokenizes each word separately too."""
        if not words:
            return []
        encoding = self._tokenizer(words, is_split_into_words=True, add_special_tokens=False, truncation=False, verbose=False)
        counted = Counter(encoding.word_ids())
        return [counted[at] for at in range(len(words))]


def _room(tokenizer: Any, config: Any) -> int:
    """The number of tokens for a window's words. A tokenizer without a configured limit has a huge number."""
    positions = getattr(config.encoder_config, "max_position_embeddings", None) or _MOST_TOKENS
    return max(1, min(int(tokenizer.model_max_length), int(positions), _MOST_TOKENS) - _PROMPT_TOKENS)


def _size(widths: Sequence[int], most: int, room: int) -> int:
    """The largest number of words, up to `most`, such that no run of that many adjacent words has more than `room` tokens."""
    sums = list(accumulate(widths, initial=0))
    fits = (size for size in range(min(most, len(widths)), 1, -1) if all(map(room.__ge__, map(sub, sums[size:], sums))))
    return next(fits, 1)


def _cut(words: Sequence[_Word], size: int) -> list[Window]:
    """Windows in characters that cover `size` words each."""
    return [
        Window(words[each.start].start, words[each.end - 1].end, words[each.own_start].start, words[each.own_end - 1].end)
        for each in (windows(len(words), size) if words else [])
    ]


def _joined(pieces: Sequence[Window], entities: Sequence[Sequence[dict[str, Any]]]) -> Iterator[Span]:
    """Spans in the text's characters. A span counts in the window whose own part contains its start, unless an earlier span covers it."""
    done = 0
    for piece, within in zip(pieces, entities, strict=True):
        for entity in sorted(within, key=lambda each: each["start"]):
            start, end = piece.start + entity["start"], piece.start + entity["end"]
            if piece.own_start <= start < piece.own_end and start >= done:
                yield Span(start, end, _PROMPTS[entity["label"]], float(entity["score"]))
                done = end


def _require_gliner(files: ModelFiles) -> None:
    if find_spec("gliner") is None:
        raise refused(files, "is a GLiNER model, and the package gliner is not installed", f"`{INSTALL}`; see docs/privacy.md.")


def _require_safe(files: ModelFiles) -> None:
    """Refuses what gliner itself would accept: pickled weights, files it would download, and encoders whose code it would run.

    Raises ConfigurationError.
    """
    if any("auto_map" in _keys(path) for path in files.folder.rglob("*.json")):
        raise refused(files, "has code of its own, which is not run")
    if not (files.folder / "model.safetensors").is_file():
        raise refused(files, "has no model.safetensors; gliner would load pickled weights, which can run code", "Save it with safetensors.")
    config = json.loads((files.folder / "gliner_config.json").read_bytes())
    if not config.get("encoder_config") or not (files.folder / "tokenizer_config.json").is_file():
        raise refused(files, "lacks its encoder's settings or tokenizer", "Load it with gliner once, and `save_pretrained` it.")
    if config.get("labels_encoder") or config.get("labels_decoder"):
        raise refused(files, "has more than one encoder, which is not supported")


def _keys(path: Path) -> set[str]:
    r"""The keys of all objects in a JSON file, at any depth, as a parser reads them: `auto\u005fmap` is `auto_map` too."""
    keys = set[str]()

    def collect(pairs: list[tuple[str, object]]) -> dict[str, object]:
        keys.update(key for key, _ in pairs)
        return dict(pairs)

    json.loads(path.read_bytes(), object_pairs_hook=collect)
    return keys


def _load(files: ModelFiles, device: str) -> Any:
    # imported by name, because type checkers cannot resolve a package that is not installed
    return (
        import_module("gliner")
        .GLiNER.from_pretrained(str(files.folder), load_tokenizer=True, local_files_only=True, map_location=device)
        .eval()
    )
