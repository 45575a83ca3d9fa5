"""A cache of loaded names models, by their files."""

from __future__ import annotations

from functools import lru_cache

from privacy.models.files import ModelFiles
from privacy.models.reader import Reader


@lru_cache(maxsize=4)
def loaded(files: ModelFiles) -> Reader:
    """The loaded model. Raises ConfigurationError if it cannot be loaded, or labels neither people nor places."""
    if files.kind == "spacy":
        from privacy.models.spacy_model import SpacyReader

        return SpacyReader(files)
    if files.kind == "gliner":
        from privacy.models.gliner_model import GlinerReader

        return GlinerReader(files)
    from privacy.models.transformer import TransformerReader

    return TransformerReader(files)
