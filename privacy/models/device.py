"""Where a model computes: on CUDA if available, in half precision if the results agree; otherwise on the CPU in f32."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from core.errors import Unavailable

if TYPE_CHECKING:
    import torch

    Probe = Callable[[], torch.Tensor]

CLOSE = 0.02
"""The largest allowed difference of a probability in half precision. Looser than for vectors: tags are far apart."""


def chosen() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def lowered(model: torch.nn.Module, device: str, probe: Probe) -> torch.dtype | None:
    """The first of f16 and bf16 whose probabilities agree with f32, with the linear layers' weights converted to it; None for f32.

    `probe` returns the model's probabilities for fixed texts in the precision that `computing` sets.
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
    """Compute matrix products in `dtype` and the rest in f32, which norms and residuals need."""
    import torch

    return torch.autocast(device, dtype) if dtype else nullcontext()


@contextmanager
def device_errors(device: str) -> Iterator[None]:
    """Raise Unavailable if the device fails or runs out of memory, so that the stage waits and no document fails. On a CPU it is a bug."""
    try:
        yield
    except RuntimeError as error:
        if device == "cpu":
            raise
        problem = f"the names model's device could not compute a batch: {type(error).__name__}"
        raise Unavailable(
            problem, remedy="If this persists, restart the process: a CUDA device that failed computes nothing more in it."
        ) from error
