"""A model from its files to its device: what is loaded and what is refused, in which precision, and how many tokens it reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from embedders import packing
from embedders.refusal import Refusal

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

_OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "ALLOC_FAILED")


def load_model(folder: Path, device: str = "cpu", precision: str = "f32", dimension: int | None = None) -> SentenceTransformer:
    """The model from local files, from safetensors only, running no code of its own; `dimension` keeps the first so many components.

    In bf16 and f16 the linear layers' weights are of that type, and the rest stays f32: computed under autocast, residuals and norms too.
    Raises Refusal: `model-not-loadable`, `wrong-dimension`, `out-of-memory`.
    """
    from sentence_transformers import SentenceTransformer

    options = {"use_safetensors": True, "dtype": "float32"}
    try:
        with _no_progress_bar():
            model = SentenceTransformer(
                str(folder), device="cpu", local_files_only=True, trust_remote_code=False, truncate_dim=dimension, model_kwargs=options
            )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise Refusal("model-not-loadable", f"sentence-transformers cannot load {folder}: {type(error).__name__}") from error
    _refuse_other_vectors(model)
    _refuse_dimension(model, dimension)
    return _placed(_lowered(model.eval(), precision), device)


def limit(model: SentenceTransformer) -> int:
    """The longest text that the model reads, in tokens, special ones included: by its configuration or by its positions, whichever is less.

    Raises Refusal (`model-not-loadable`) where neither says.
    """
    positions = getattr(getattr(model[0], "config", None), "max_position_embeddings", None) or 0
    limits = [int(most) for most in (model.max_seq_length, positions - packing.first_position(model)) if most and most > 0]
    if not limits:
        raise Refusal("model-not-loadable", "the model does not say how many tokens it reads")
    return min(limits)


def _refuse_other_vectors(model: SentenceTransformer) -> None:
    """Models that need more than token ids, which alone a batch holds, would get other vectors here than by their own `encode`."""
    from sentence_transformers.sentence_transformer.modules import Transformer

    if not isinstance(model[0], Transformer):
        raise Refusal("model-not-loadable", f"its first module is {type(model[0]).__name__}, not a transformer")
    if any(model.prompts.values()) and not all(getattr(module, "include_prompt", True) for module in model):
        raise Refusal("model-not-loadable", "the model leaves its prompt out when it pools, which only Instructor models do")
    if any(model.tokenizer("a").get("token_type_ids", ())):
        raise Refusal("model-not-loadable", "the model's tokenizer gives tokens a type, which would be lost")


def _refuse_dimension(model: SentenceTransformer, dimension: int | None) -> None:
    own = model.get_embedding_dimension()
    if not own:
        raise Refusal("model-not-loadable", "the model does not say its vectors' dimension")
    if dimension is not None and own != dimension:
        raise Refusal("wrong-dimension", f"the model's vectors have {own} components, wanted were {dimension}")


def _lowered(model: SentenceTransformer, precision: str) -> SentenceTransformer:
    """MiniLM's top ten of 700 abstracts: wholly in bf16 99.1% of those in f32, so 99.4%; wholly in f16 99.9%, so 99.97%."""
    import torch

    if lower := dtype(precision):
        for module in model[0].modules():
            if isinstance(module, torch.nn.Linear):
                module.to(lower)
    return model


def _placed(model: SentenceTransformer, device: str) -> SentenceTransformer:
    try:
        return model.to(device)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    raise Refusal("out-of-memory", f"the model's weights do not fit on {device}")


def dtype(precision: str) -> torch.dtype | None:
    """What matrix products are computed in, where that is not f32. Raises Refusal (`bad-backend`)."""
    import torch

    types = {"f32": None, "bf16": torch.bfloat16, "f16": torch.float16}
    if precision not in types:
        raise Refusal("bad-backend", f"torch computes in {', '.join(types)}, was: {precision}")
    return types[precision]


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


def is_out_of_memory(error: Exception) -> bool:
    import torch

    return isinstance(error, torch.OutOfMemoryError) or any(sign in str(error) for sign in _OUT_OF_MEMORY)
