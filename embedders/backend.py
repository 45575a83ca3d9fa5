"""The backend protocol: torch, OpenVINO and an HTTP endpoint compute the same vectors behind one interface.

A backend sees batches only. The `engine` handles order, duplicates, windows, limits and retries, in the same way for every backend.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Kind = Literal["passage", "query"]
"""A text to be found, or a question. Some models have a prompt for each."""

Vectors = NDArray[np.float32]
"""(n, dimension) float32; rows have unit length and keep the order of the input."""


class Item(NamedTuple):
    """A text as a backend receives it: valid Unicode with the prompt in front, and its token ids with special tokens, never truncated."""

    text: str
    ids: Sequence[int]


class Backend(Protocol):
    """A loaded, warm model. At most `lanes` threads use it concurrently; each calls `prepare`, then `forward` with the result."""

    name: str
    """torch, openvino or http."""
    device: str
    """cpu, cuda:0, mps, or the endpoint's host."""
    precision: str
    """Of matrix products: f32, bf16, f16, or unknown."""
    dimension: int
    lanes: int
    batch_tokens: int
    """The fastest batch size on this machine, in tokens, padding included."""

    pads: bool
    """Whether each text costs as much as the longest text of its batch."""

    def prepare(self, items: Sequence[Item]) -> Any:
        """Move a batch to the device. Rows may be in any order: the engine sorts by length."""

    def forward(self, prepared: Any) -> Vectors:
        """Return the vectors of a prepared batch, in the items' order.

        Raises Refusal; if it is `transient`, a retry may succeed.
        """

    def close(self) -> None: ...
