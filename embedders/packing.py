"""Batches as a model's input arrays: padded to the longest text, or packed, that is concatenated without padding.

Packing needs an attention that does not cross text boundaries. sentence-transformers packs if the flash-attn package is installed. The one
function that it and transformers need of that package is implemented here with torch alone: a kernel on CUDA, a product per text elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

ATTENTION = "headrace_packed"
"""The attention's name in transformers' registry. No mask is registered under it, so that transformers creates none."""

_PACKED_KEYS = ("cu_seq_lens_q", "cu_seq_lens_k", "max_length_q", "max_length_k", "seq_idx")

Features = Mapping[str, NDArray[Any] | int]


def padded(ids: Sequence[Sequence[int]], padding: int) -> dict[str, NDArray[np.int64]]:
    """Return `input_ids` and `attention_mask`, both (n, longest) int64, padded on the right, as poolings and positions expect."""
    lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
    real = np.arange(lengths.max()) < lengths[:, None]
    tokens = np.full(real.shape, padding, dtype=np.int64)
    tokens[real] = _flat(ids)
    return {"input_ids": tokens, "attention_mask": real.astype(np.int64)}


def packed(ids: Sequence[Sequence[int]], first_position: int) -> Features:
    """Return `input_ids`, `position_ids` and `seq_idx` (each token's text), all (1, tokens); `cu_seq_lens_*`, (n + 1,) int32, the texts'
    offsets and the end; `max_length_*`, the longest text's tokens. The names are those of transformers' flattening collator.
    """
    lengths = np.fromiter(map(len, ids), dtype=np.int32, count=len(ids))
    bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    longest = int(lengths.max())
    positions = np.arange(bounds[-1]) - np.repeat(bounds[:-1], lengths) + first_position
    return {
        "input_ids": _flat(ids)[None],
        "position_ids": positions.astype(np.int64)[None],
        "seq_idx": np.repeat(np.arange(len(ids), dtype=np.int32), lengths)[None],
        "cu_seq_lens_q": bounds,
        "cu_seq_lens_k": bounds,
        "max_length_q": longest,
        "max_length_k": longest,
    }


def _flat(ids: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    return np.fromiter(chain.from_iterable(ids), dtype=np.int64)


def first_position(model: SentenceTransformer) -> int:
    """The position of a text's first token: 0, except that RoBERTa's position table starts after the padding's own position."""
    from torch.nn import Embedding

    for module in model[0].modules():
        padding, table = getattr(module, "padding_idx", None), getattr(module, "position_embeddings", None)
        if isinstance(padding, int) and isinstance(table, Embedding):
            return padding + 1
    return 0


def use_packed(model: SentenceTransformer) -> bool:
    """Set the attention that packed batches need. Returns False, and leaves the model unchanged, if it does not support that.

    True does not guarantee the same vectors: some models pass their attention arguments that this one refuses, or cross text boundaries
    in other modules. Compare the vectors, and call `use_padded` if they differ.
    """
    from sentence_transformers.sentence_transformer.modules import Transformer
    from transformers import AttentionInterface

    first = model[0]
    if not isinstance(first, Transformer) or first.unpad_inputs is False or not first.model.is_backend_compatible():
        return False
    AttentionInterface.register(ATTENTION, attend)
    first.model.set_attn_implementation(ATTENTION)
    if first.model_forward_params is not None:
        # its forward does not name these parameters, but passes them on to the attention
        first.model_forward_params |= set(_PACKED_KEYS)
    return True


def use_padded(model: SentenceTransformer, attention: str) -> None:
    """Restore the model's own attention."""
    transformer: Any = model[0]
    transformer.model.set_attn_implementation(attention)


def attention_of(model: SentenceTransformer) -> str:
    """The model's attention, by its name in transformers' registry; empty if it has none."""
    return str(getattr(getattr(model[0], "config", None), "_attn_implementation", None) or "")


def attend(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    scaling: float | None = None,
    sliding_window: int | None = None,
    is_causal: bool | None = None,
    **given: Any,
) -> tuple[torch.Tensor, None]:
    """Attention within each text of a packed batch, with the signature of transformers' registry.

    Takes (1, heads, tokens, size) and returns (1, tokens, heads, size). Raises ValueError for arguments that it does not support: masks,
    position biases, soft caps, sinks, caches.
    """
    refused = [name for name in ("position_bias", "softcap", "s_aux", "cache") if given.get(name) is not None]
    if refused or attention_mask is not None or "cu_seq_lens_q" not in given:
        raise ValueError(f"packed attention takes neither masks nor {refused or 'padded batches'}")
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    # the kernels' bounds are inclusive; transformers' window counts the token itself
    edge = -1 if sliding_window is None else sliding_window - 1
    window = (edge, 0 if causal else edge)
    # a position embedding in f32 converts these two to f32
    query, key = query.to(value.dtype), key.to(value.dtype)
    compute = _kernel if query.is_cuda else _one_by_one
    return compute(query, key, value, given["cu_seq_lens_q"], given["max_length_q"], window, scaling), None


def _kernel(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bounds: torch.Tensor,
    longest: int,
    window: tuple[int, int],
    scaling: float | None,
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (each.squeeze(0).transpose(0, 1) for each in (query, key, value))
    grouped = query.shape[1] != key.shape[1]
    out = varlen_attn(q, k, v, bounds, bounds, longest, longest, scale=scaling, window_size=window, enable_gqa=grouped)
    assert not isinstance(out, tuple)
    return out.unsqueeze(0)


def _one_by_one(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    bounds: torch.Tensor,
    _longest: int,
    window: tuple[int, int],
    scaling: float | None,
) -> torch.Tensor:
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    grouped = query.shape[1] != key.shape[1]
    texts = []
    for start, end in pairwise(bounds.tolist()):
        q, k, v = (each[:, :, start:end] for each in (query, key, value))
        mask = _window_mask(end - start, window, query.device)
        texts.append(scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scaling, enable_gqa=grouped))
    return torch.cat(texts, dim=2).transpose(1, 2)


def _window_mask(length: int, window: tuple[int, int], device: torch.device) -> torch.Tensor | None:
    """(length, length), True if a token attends to another; None if every token attends to all."""
    import torch

    if window == (-1, -1):
        return None
    at = torch.arange(length, device=device)
    ahead = at[None, :] - at[:, None]
    left, right = (length if edge < 0 else edge for edge in window)
    return (ahead >= -left) & (ahead <= right)
