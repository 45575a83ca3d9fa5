"""Models that find names in texts, from the model's files to the spans it finds.

`files` locates a model and identifies its files; `reader` has the interface of a loaded model, which `spacy_model`, `transformer` and
`gliner_model` implement; `labels`, `tags`, `windows`, `device` and `loading` are what those share. How spans become findings is in
`privacy.finders.names`. spaCy, torch and transformers are imported when a model is loaded.
"""

from privacy.models.cache import loaded
from privacy.models.files import Kind, ModelFiles, find, kind_of
from privacy.models.reader import Reader, Span

__all__ = ["Kind", "ModelFiles", "Reader", "Span", "find", "kind_of", "loaded"]
