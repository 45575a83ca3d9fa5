"""A spaCy model, entity recognition alone, one text at a time on the processor."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from threading import Lock
from typing import TYPE_CHECKING

from privacy.models.found import Found
from privacy.models.labels import meaning, personal
from privacy.models.loading import refused
from privacy.models.reader import Span

if TYPE_CHECKING:
    from spacy.language import Language

# nothing that entity recognition needs; a model without one of these is fine
_UNNEEDED = ["tagger", "parser", "lemmatizer", "attribute_ruler", "morphologizer", "senter", "sentencizer", "textcat"]


class SpacyReader:
    """Each text is read alone: a batch's arithmetic may differ in its last bits, and so might a result."""

    together = False

    def __init__(self, found: Found) -> None:
        self._nlp = _load(found)
        self._reading = Lock()  # spaCy promises nothing to threads
        self.identity = f"{self._nlp.meta.get('version', '0')}-{found.digest}-spacy-{version('spacy')}"

    def read(self, texts: Sequence[str]) -> list[list[Span]]:
        return [self._spans(text) for text in texts]

    def _spans(self, text: str) -> list[Span]:
        with self._reading:
            entities = self._nlp(text).ents
        labelled = ((entity, meaning(entity.label_)) for entity in entities)
        return [Span(entity.start_char, entity.end_char, label, 1.0) for entity, label in labelled if label]


def _load(found: Found) -> Language:
    import spacy  # half a second, and only where names are asked for

    try:
        nlp = spacy.load(found.folder, exclude=_UNNEEDED)
        _drop_unheard(nlp)
    except (OSError, ValueError, ImportError) as error:
        raise refused(found, f"cannot be loaded ({type(error).__name__})") from error
    if not personal(label for labels in nlp.pipe_labels.values() for label in labels):
        raise refused(found, "knows neither people nor places")
    return nlp


def _drop_unheard(nlp: Language) -> None:
    """Vectors that no component listens to any more cost a fifth of the time and change nothing."""
    for name in list(nlp.pipe_names):
        if getattr(nlp.get_pipe(name), "listening_components", None) is not None and not _heard(nlp, name):
            nlp.remove_pipe(name)


def _heard(nlp: Language, name: str) -> bool:
    return any(listener in nlp.pipe_names for listener in nlp.get_pipe(name).listening_components)
