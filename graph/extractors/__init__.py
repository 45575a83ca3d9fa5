"""The extractors: each finds one kind of thing in a redacted document. `graph.extraction` merges their findings.

To add one, implement `Extractor` in a module of this package and list it in `extractors_for`.
"""

from graph.extractors.extractor import Extractor, Findings, Occurrence
from graph.extractors.links import Links
from graph.extractors.names import Names
from graph.extractors.references import References
from graph.extractors.sections import Sections
from graph.extractors.surrogates import Surrogates

__all__ = ["Extractor", "Findings", "Occurrence", "extractors_for"]


def extractors_for(names_model: str | None) -> tuple[Extractor, ...]:
    """All extractors; `names` only if there is a model for it: a spaCy model's name or the path of its folder.

    Raises ConfigurationError if there is no such model. Loads nothing.
    """
    rules: tuple[Extractor, ...] = (Sections(), Links(), References(), Surrogates())
    return (*rules, Names(names_model)) if names_model else rules
