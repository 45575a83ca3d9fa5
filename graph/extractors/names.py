"""Names in redacted text, by a spaCy model. spaCy is imported when the first text is read, not before.

Names of people and places are personal data: they are surrogates in the graph (`graph.extractors.surrogates`), or absent.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib.metadata import version
from threading import Lock
from typing import TYPE_CHECKING, Any

from core.errors import ConfigurationError
from core.model_files import SPACY, model_files, model_folders
from core.records import Chunk, Redacted
from core.surrogates import SURROGATE
from graph.extractors.extractor import Findings, Occurrence
from graph.keys import entity_key

if TYPE_CHECKING:
    from spacy.language import Language

KINDS = frozenset({"ORG", "PRODUCT", "WORK_OF_ART", "EVENT", "LAW"})
NAME_CHARACTERS = 100

_REVISION = "1"
"""Of the rules in this module."""

_UNUSED = ("tagger", "parser", "senter", "attribute_ruler", "lemmatizer", "textcat")
_EDGES = " \t\n\"'“”‘’«»()[]{}.,;:!?*_`#-–—/\\"
_MARKUP = re.compile(r"[<>|{}=`\\]")
_ARTICLE = re.compile(r"^(?:the|a|an)\s+", re.IGNORECASE)


class Names:
    """Mentions of organisations, products, works, events and laws.

    `model` is the name or path of a spaCy model, or `en_core_web_sm`, which comes as a wheel. Raises ConfigurationError if there is no
    such model.
    """

    name = "names"

    def __init__(self, model: str) -> None:
        folder = next(model_folders(model, (SPACY,)), None)
        if folder is None:
            raise ConfigurationError(f"no names model, was: {model!r}", remedy="Install the model, or give the path of its folder.")
        self._path = folder
        self._reading = Lock()

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the rules' revision, spaCy's version and the model's files."""
        digest = hashlib.sha256(f"{_REVISION} {version('spacy')}".encode())
        for file in model_files(self._path):
            digest.update(file.name.encode())
            digest.update(file.sha256)
        return digest.hexdigest()

    def extract(self, document: Redacted, chunks: Sequence[Chunk]) -> Findings:  # noqa: ARG002
        """The document's texts go through the model in one batch. Raises ConfigurationError if the model does not load."""
        found = zip(chunks, self.find([chunk.text for chunk in chunks]), strict=True)
        return Findings(
            occurrences=tuple(
                Occurrence(chunk.ordinal, entity_key(kind, name), kind, name) for chunk, names in found for kind, name in names
            )
        )

    def find(self, texts: Sequence[str]) -> Iterator[list[tuple[str, str]]]:
        """For each text the (kind, name) of every occurrence, in reading order."""
        with self._reading:  # spaCy is not thread-safe
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


def _without_surrogates(text: str) -> str:
    """Replace each surrogate by a padded pronoun: the sentence stays grammatical, and offsets do not change."""
    return SURROGATE.sub(lambda match: "it".ljust(len(match[0])), text)


def _names(doc: Any, hidden: list[tuple[int, int]]) -> Iterator[tuple[str, str]]:
    for span in doc.ents:
        overlaps = any(start < span.end_char and span.start_char < end for start, end in hidden)
        name = _tidied(span.text)
        if span.label_ in KINDS and not overlaps and name:
            yield span.label_, name


def _tidied(text: str) -> str:
    """The name without quotes, article and line breaks; empty if it is no name (markup, numbers, whole sentences)."""
    name = _ARTICLE.sub("", " ".join(text.split()).strip(_EDGES))
    letters = sum(character.isalpha() for character in name)
    return name if letters >= 2 and len(name) <= NAME_CHARACTERS and not _MARKUP.search(name) else ""
