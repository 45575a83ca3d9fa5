"""How every model that comes with weights is loaded: from nothing that runs code, one error for all that libraries raise, no noise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import ConfigurationError
from privacy.models.found import REMEDY, Found


def refused(found: Found, problem: str, remedy: str = REMEDY) -> ConfigurationError:
    return ConfigurationError(f"privacy.names_model {problem}, was: {found.model!r}", remedy=remedy)


@contextmanager
def loading(found: Found) -> Iterator[None]:
    """Raises ConfigurationError for whatever is raised, and where the weights are not safetensors."""
    if not any(found.folder.glob("*.safetensors")):
        raise refused(found, "has no safetensors weights; pickled ones can run code and are not loaded", "Save it with safetensors.")
    try:
        with _no_progress_bar():
            yield
    except ConfigurationError:
        raise
    except Exception as error:
        # tokenizers and safetensors raise errors of their own that share no other root
        raise refused(found, f"cannot be loaded ({type(error).__name__})") from error


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """transformers draws one for weights, whoever is watching."""
    from transformers.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

    shown = is_progress_bar_enabled()
    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            enable_progress_bar()  # type: ignore[no-untyped-call]
