"""A GLiNER model, asked for people, places and organisations by name. Its package is no dependency: docs/privacy.md says why."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from importlib import import_module
from importlib.metadata import version
from importlib.util import find_spec
from itertools import accumulate, pairwise
from threading import Lock
from typing import Any

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
"""Of a window: so few that the encoder's 512 tokens hold them, and the words that are asked for."""

_BATCH = 32


class GlinerReader:
    """On a processor each window is computed alone. On CUDA windows share a batch, and a score may differ in its last digits by that."""

    def __init__(self, found: Found) -> None:
        """Raises ConfigurationError: the package is not there, the model needs more than its folder, or cannot be loaded."""
        self._device = devices.chosen()
        self.together = self._device != "cpu"
        self._computing = Lock()
        _refuse(found)
        with loading(found):
            self._model = _load(found, self._device)
            self._words = self._model.data_processor.words_splitter
            self._size = min(int(self._model.config.max_len), _MOST_WORDS)
            self.read(["warm"])
        self.identity = f"{found.model}-{found.digest}-gliner-{version('gliner')}-transformers-{version('transformers')}"

    def read(self, texts: Sequence[str]) -> list[list[Span]]:
        cut = [_cut(self._split(text), self._size) for text in texts]
        shown = [text[start:end] for text, pieces in zip(texts, cut, strict=True) for start, end, _, _ in pieces]
        with self._computing, devices.device_errors(self._device):
            found = self._inference(shown) if shown else []
        bounds = pairwise(accumulate(map(len, cut), initial=0))
        return [list(_joined(pieces, found[first:last])) for pieces, (first, last) in zip(cut, bounds, strict=True)]

    def _inference(self, texts: Sequence[str]) -> list[list[dict[str, Any]]]:
        """Of each text what GLiNER says, texts of similar length side by side."""
        order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
        shown = [texts[at] for at in order]
        said = self._model.inference(shown, list(_ASKED), threshold=_LEAST, batch_size=_BATCH if self.together else 1)
        found = dict(zip(order, said, strict=True))
        return [found[at] for at in range(len(texts))]

    def _split(self, text: str) -> list[tuple[int, int]]:
        return [(start, end) for _, start, end in self._words(text)]


def _cut(words: Sequence[tuple[int, int]], size: int) -> list[Window]:
    """Windows of words as windows of characters."""
    return [
        Window(words[each.start][0], words[each.end - 1][1], words[each.own_start][0], words[each.own_end - 1][1])
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


def _refuse(found: Found) -> None:
    """What gliner itself would take: pickles, what a folder does not hold and it fetches, encoders that come with code, which it runs."""
    if find_spec("gliner") is None:
        raise refused(found, "is a GLiNER model, and the package gliner is not installed", f"`{INSTALL}`; docs/privacy.md says why so.")
    stated = {path.name: path.read_bytes() for path in found.folder.rglob("*.json")}
    if any(b'"auto_map"' in content for content in stated.values()):
        raise refused(found, "has code of its own, which is not run")
    config = json.loads(stated["gliner_config.json"])
    if not config.get("encoder_config") or "tokenizer_config.json" not in stated:
        raise refused(found, "does not hold its encoder's settings and tokenizer", "Load it with gliner once, and `save_pretrained` it.")
    if config.get("labels_encoder") or config.get("labels_decoder"):
        raise refused(found, "has more than one encoder, which is not supported")


def _load(found: Found, device: str) -> Any:
    # by name: where it is not installed, no type checker finds it
    return (
        import_module("gliner")
        .GLiNER.from_pretrained(str(found.folder), load_tokenizer=True, local_files_only=True, map_location=device)
        .eval()
    )
