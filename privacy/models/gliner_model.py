"""A GLiNER model, asked for people, places and organisations by name. Its package is no dependency: docs/privacy.md says why."""

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
from privacy.models.found import Found
from privacy.models.loading import loading, refused
from privacy.models.reader import Span
from privacy.models.windows import Window, windows

INSTALL = "pip install --no-deps gliner==0.2.29 sentencepiece"

_ASKED = {"person": "PERSON", "location": "LOCATION", "organization": "ORGANIZATION"}
_LEAST = 0.1
"""Less sure than this is nobody's threshold. A surer span wins a place over a less sure one, so asking for more displaces nothing."""

_MOST_WORDS = 96
"""Of a window, where they are no more tokens than it holds."""

_MOST_TOKENS, _ASKING = 512, 32
"""Of a window, and what of it the three words that are asked for and the marks around them take at most: a token a character."""


class _Word(NamedTuple):
    """Characters `[start, end)`, and how many tokens they are."""

    start: int
    end: int
    tokens: int


class GlinerReader:
    """Each window is computed alone: gliner pads a batch as it likes, and a score would tell of its company by its last digits."""

    together = False

    def __init__(self, found: Found) -> None:
        """Raises ConfigurationError: the package is not there, the model needs more than its folder, or cannot be loaded."""
        self._device = devices.chosen()
        self._computing = Lock()
        _require_gliner(found)
        with loading(found):
            _refuse(found)
            self._model = _load(found, self._device)
            self._words = self._model.data_processor.words_splitter
            self._tokenizer = self._model.data_processor.transformer_tokenizer
            self._size = min(int(self._model.config.max_len), _MOST_WORDS)
            self._room = _room(self._tokenizer, self._model.config)
            self.read(["warm"])
        self.identity = f"{found.digest}-gliner-{version('gliner')}-transformers-{version('transformers')}"

    def read(self, texts: Sequence[str]) -> list[list[Span]]:
        with self._computing, devices.device_errors(self._device):
            cut = [self._windows(text) for text in texts]
            shown = [text[start:end] for text, pieces in zip(texts, cut, strict=True) for start, end, _, _ in pieces]
            found = self._inference(shown) if shown else []
        bounds = pairwise(accumulate(map(len, cut), initial=0))
        return [list(_joined(pieces, found[first:last])) for pieces, (first, last) in zip(cut, bounds, strict=True)]

    def _inference(self, texts: Sequence[str]) -> list[list[dict[str, Any]]]:
        """Of each text what GLiNER says."""
        said: list[list[dict[str, Any]]] = self._model.inference(list(texts), list(_ASKED), threshold=_LEAST, batch_size=1)
        return said

    def _windows(self, text: str) -> list[Window]:
        """Of as many words as the encoder can be shown wherever in the text: gliner drops in silence what is beyond."""
        words = list(self._split(text))
        return _cut(words, _size([word.tokens for word in words], self._size, self._room))

    def _split(self, text: str, base: int = 0) -> Iterator[_Word]:
        """A word that no window holds comes in halves, and a name on the cut may be missed."""
        bounds = [(start, end) for _, start, end in self._words(text)]
        for (start, end), width in zip(bounds, self._widths([text[start:end] for start, end in bounds]), strict=True):
            if width <= self._room or end - start == 1:
                yield _Word(base + start, base + end, width)
            else:
                middle = (start + end) // 2
                yield from self._split(text[start:middle], base + start)
                yield from self._split(text[middle:end], base + middle)

    def _widths(self, words: list[str]) -> list[int]:
        """The tokens of each word, as gliner has them: a word is split without a look at its neighbours."""
        if not words:
            return []
        encoding = self._tokenizer(words, is_split_into_words=True, add_special_tokens=False, truncation=False, verbose=False)
        counted = Counter(encoding.word_ids())
        return [counted[at] for at in range(len(words))]


def _room(tokenizer: Any, config: Any) -> int:
    """Tokens for a window's words. A tokenizer that was not told its model's limit has a number beyond all bounds."""
    positions = getattr(config.encoder_config, "max_position_embeddings", None) or _MOST_TOKENS
    return max(1, min(int(tokenizer.model_max_length), int(positions), _MOST_TOKENS) - _ASKING)


def _size(widths: Sequence[int], most: int, room: int) -> int:
    """The largest number of words, up to `most`, of which any that stand side by side are no more than `room` tokens."""
    sums = list(accumulate(widths, initial=0))
    fits = (size for size in range(min(most, len(widths)), 1, -1) if all(map(room.__ge__, map(sub, sums[size:], sums))))
    return next(fits, 1)


def _cut(words: Sequence[_Word], size: int) -> list[Window]:
    """Windows of words as windows of characters."""
    return [
        Window(words[each.start].start, words[each.end - 1].end, words[each.own_start].start, words[each.own_end - 1].end)
        for each in (windows(len(words), size) if words else [])
    ]


def _joined(pieces: Sequence[Window], found: Sequence[Sequence[dict[str, Any]]]) -> Iterator[Span]:
    """What begins in a window's own part, at the text's own characters, unless the window before has a longer say."""
    done = 0
    for piece, entities in zip(pieces, found, strict=True):
        for entity in sorted(entities, key=lambda each: each["start"]):
            start, end = piece.start + entity["start"], piece.start + entity["end"]
            if piece.own_start <= start < piece.own_end and start >= done:
                yield Span(start, end, _ASKED[entity["label"]], float(entity["score"]))
                done = end


def _require_gliner(found: Found) -> None:
    if find_spec("gliner") is None:
        raise refused(found, "is a GLiNER model, and the package gliner is not installed", f"`{INSTALL}`; docs/privacy.md says why so.")


def _refuse(found: Found) -> None:
    """What gliner itself would take: pickles, what a folder does not hold and it fetches, encoders that come with code, which it runs."""
    if any("auto_map" in _keys(path) for path in found.folder.rglob("*.json")):
        raise refused(found, "has code of its own, which is not run")
    if not (found.folder / "model.safetensors").is_file():
        raise refused(found, "has no model.safetensors; gliner would load pickled weights, which can run code", "Save it with safetensors.")
    config = json.loads((found.folder / "gliner_config.json").read_bytes())
    if not config.get("encoder_config") or not (found.folder / "tokenizer_config.json").is_file():
        raise refused(found, "does not hold its encoder's settings and tokenizer", "Load it with gliner once, and `save_pretrained` it.")
    if config.get("labels_encoder") or config.get("labels_decoder"):
        raise refused(found, "has more than one encoder, which is not supported")


def _keys(path: Path) -> set[str]:
    r"""Of all objects in a JSON file, at whatever depth, as a parser reads them: `auto\u005fmap` is `auto_map` too."""
    keys = set[str]()

    def collect(pairs: list[tuple[str, object]]) -> dict[str, object]:
        keys.update(key for key, _ in pairs)
        return dict(pairs)

    json.loads(path.read_bytes(), object_pairs_hook=collect)
    return keys


def _load(found: Found, device: str) -> Any:
    # by name: where it is not installed, no type checker finds it
    return (
        import_module("gliner")
        .GLiNER.from_pretrained(str(found.folder), load_tokenizer=True, local_files_only=True, map_location=device)
        .eval()
    )
