"""Models that read a text for names: where one is found, what kind it is, and how each kind is asked.

Here belongs everything up to the spans that a model sees. What becomes of a span is `privacy.finders.names`'s. spaCy, torch and
transformers are
imported when a model is loaded, not before.
"""

from privacy.models.found import Found, Kind, find, kind_of
from privacy.models.reader import Reader, Span, loaded

__all__ = ["Found", "Kind", "Reader", "Span", "find", "kind_of", "loaded"]
