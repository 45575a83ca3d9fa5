"""Roofline: the operations of a forward pass, and the machine's peak in matrix products. Independent of any engine."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

from benchmarks._harness import Unmeasured

SIZES = (2048, 4096)
SIZES_ON_CUDA = (4096, 8192)
"""Rows and columns of the square matrices. A datacentre GPU needs the larger ones to approach its peak."""

SECONDS_PER_SIZE = 0.5
_TYPES = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}


def forward_flops(folder: Path, lengths: Sequence[int]) -> float:
    """Floating-point operations of a BERT-like encoder's forward pass over texts of these token counts, without padding.

    A multiplication and its addition count as two. Per token and layer, with hidden size h, intermediate size i
    and L tokens in the text: 2 (4 h² + 2 h i) for the projections (query, key, value, output; up, down), and 4 h L for attention
    (scores, weighted sum). This is 2N + 4 h L per layer of Chowdhery et al. 2022, "PaLM", appendix B, a third of its 6N + 12 h L, which
    includes the backward pass. Embeddings, norms, softmax, activations and pooling are not counted. The sizes are those of config.json.

    Raises Unmeasured if config.json lacks these sizes.
    """
    config = json.loads((folder / "config.json").read_bytes())
    try:
        hidden, inner, layers = (config[key] for key in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    except KeyError as error:
        raise Unmeasured(f"the model's config.json has no {error}, so its floating-point operations cannot be counted") from None
    projections = 2 * (4 * hidden**2 + 2 * hidden * inner)
    return float(layers * sum(length * (projections + 4 * hidden * length) for length in lengths))


def peak_flops(precision: str, device: str, threads: int) -> float:
    """Floating-point operations per second of torch's fastest product of two large matrices on `device`, with `threads` on a CPU."""
    import torch

    sizes = SIZES_ON_CUDA if device.startswith("cuda") else SIZES
    with torch_threads(threads):
        return max(2 * size**3 / _fastest(_product(size, getattr(torch, _TYPES[precision]), device), device) for size in sizes)


@contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Set torch's number of threads, and restore it afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _product(size: int, dtype: Any, device: str) -> Callable[[], Any]:
    """A product of two random matrices: a GPU multiplies zeros faster than real data."""
    import torch

    left, right = (torch.randn(size, size, device=device).to(dtype) for _ in range(2))
    return lambda: left @ right


def _fastest(product: Callable[[], Any], device: str) -> float:
    """Seconds of the fastest of several runs, after a warm-up."""
    timed = _timed_on_cuda if device.startswith("cuda") else _timed
    timed(product)
    took = [timed(product)]
    while sum(took) < SECONDS_PER_SIZE or len(took) < 3:
        took.append(timed(product))
    return min(took)


def _timed(product: Callable[[], Any]) -> float:
    """Wall seconds. Reads one element, because some devices compute lazily."""
    began = perf_counter()
    product()[0, 0].item()
    return perf_counter() - began


def _timed_on_cuda(product: Callable[[], Any]) -> float:
    """Seconds on the device's own clock."""
    import torch

    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    began.record()
    product()
    ended.record()
    ended.synchronize()
    return float(began.elapsed_time(ended)) / 1000
