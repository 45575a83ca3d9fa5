"""Reads names with a spaCy model: only its entity recognition, one text at a time, on the CPU."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from threading import Lock
from typing import TYPE_CHECKING

from privacy.models.files import ModelFiles
from privacy.models.labels import meaning, personal
from privacy.models.loading import refused
from privacy.models.reader import Span

if TYPE_CHECKING:
    from spacy.language import Language

# components that entity recognition does not use; a model may lack any of them
_UNNEEDED = ["tagger", "parser", "lemmatizer", "attribute_ruler", "morphologizer", "senter", "sentencizer", "textcat"]


class SpacyReader:
    """Reads each text in a call of its own: the arithmetic of a batch may differ in the last bits, and with it a result."""

    together = False

    def __init__(self, files: ModelFiles) -> None:
        self._nlp = _load(files)
        self._lock = Lock()  # spaCy does not promise thread safety
        self.identity = f"{self._nlp.meta.get('version', '0')}-{files.digest}-spacy-{version('spacy')}"

    def read(self, texts: Sequence[str]) -> list[list[Span]]:
        return [self._spans(text) for text in texts]

    def _spans(self, text: str) -> list[Span]:
        with self._lock:
            entities = self._nlp(text).ents
        labelled = ((entity, meaning(entity.label_)) for entity in entities)
        return [Span(entity.start_char, entity.end_char, label, 1.0) for entity, label in labelled if label]


def _load(files: ModelFiles) -> Language:
    import spacy  # takes half a second

    try:
        nlp = spacy.load(files.folder, exclude=_UNNEEDED)
        _remove_unused_vectors(nlp)
    except (OSError, ValueError, ImportError) as error:
        raise refused(files, f"cannot be loaded ({type(error).__name__})") from error
    if not personal(label for labels in nlp.pipe_labels.values() for label in labels):
        raise refused(files, "knows neither people nor places")
    return nlp


def _remove_unused_vectors(nlp: Language) -> None:
    """Remove each shared embedding component without listeners left: it takes a fifth of the time and changes no result."""
    for name in list(nlp.pipe_names):
        if getattr(nlp.get_pipe(name), "listening_components", None) is not None and not _has_listeners(nlp, name):
            nlp.remove_pipe(name)


def _has_listeners(nlp: Language, name: str) -> bool:
    return any(listener in nlp.pipe_names for listener in nlp.get_pipe(name).listening_components)
