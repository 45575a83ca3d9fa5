"""Loading of models that have weights: from safetensors only, with one error type and without progress bars."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import ConfigurationError
from privacy.models.files import REMEDY, ModelFiles


def refused(files: ModelFiles, problem: str, remedy: str = REMEDY) -> ConfigurationError:
    return ConfigurationError(f"privacy.names_model {problem}, was: {files.model!r}", remedy=remedy)


@contextmanager
def loading(files: ModelFiles) -> Iterator[None]:
    """Raises ConfigurationError in place of any exception, and if the weights are not safetensors."""
    if not any(files.folder.glob("*.safetensors")):
        raise refused(files, "has no safetensors weights; pickled ones can run code and are not loaded", "Save it with safetensors.")
    try:
        with _no_progress_bar():
            yield
    except ConfigurationError:
        raise
    except Exception as error:
        # tokenizers and safetensors raise their own errors, which share no other base class
        raise refused(files, f"cannot be loaded ({type(error).__name__})") from error


@contextmanager
def _no_progress_bar() -> Iterator[None]:
    """transformers draws one while it loads weights, also without a terminal."""
    from transformers.utils.logging import disable_progress_bar, enable_progress_bar, is_progress_bar_enabled

    shown = is_progress_bar_enabled()
    disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        yield
    finally:
        if shown:
            enable_progress_bar()  # type: ignore[no-untyped-call]
