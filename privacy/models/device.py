"""On what a model computes: CUDA where there is one, in half precision where that sees the same; else the processor, in f32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from core.errors import Unavailable

if TYPE_CHECKING:
    import torch

    Probe = Callable[[], torch.Tensor]

CLOSE = 0.02
"""Most that a probability may differ in half precision. `embedding.precision` measures vectors; a tag is far from its neighbour."""


def chosen() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def lowered(model: torch.nn.Module, device: str, probe: Probe) -> torch.dtype | None:
    """The first of f16 and bf16 whose probabilities are those of f32, the linear layers' weights then of that type; None is f32.

    `probe` gives the model's probabilities of texts that are always the same, by what `computing` is in force.
    """
    import torch

    exact = probe()
    for dtype in (torch.float16, torch.bfloat16):
        with computing(device, dtype):
            near = probe()
        if bool(torch.isfinite(near).all()) and float((near - exact).abs().max()) <= CLOSE:
            for module in model.modules():
                if isinstance(module, torch.nn.Linear):
                    module.to(dtype)
            return dtype
    return None


def computing(device: str, dtype: torch.dtype | None) -> AbstractContextManager[object]:
    """Matrix products in `dtype`, and all else in f32; norms and residuals need it."""
    import torch

    return torch.autocast(device, dtype) if dtype else nullcontext()


@contextmanager
def device_errors(device: str) -> Iterator[None]:
    """A device that fails, or has no memory left, is nothing that a document has done: the stage waits. On a processor it is a bug."""
    try:
        yield
    except RuntimeError as error:
        if device == "cpu":
            raise
        told = f"the names model's device could not compute a batch: {type(error).__name__}"
        raise Unavailable(
            told, remedy="If it stays so, start the process anew: a CUDA device that failed computes nothing more in it."
        ) from error
