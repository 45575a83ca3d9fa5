"""What a backend is: the one interface behind which torch, OpenVINO and an HTTP endpoint compute the same vectors.

Backends know of batches only. Order, duplicates, windows, limits and retries are the `engine`'s, and the same for all of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Kind = Literal["passage", "query"]
"""What a text is to the model: something to be found, or a question. Some models put another prompt before each."""

Vectors = NDArray[np.float32]
"""(n, dimension) float32; rows are of unit length, in the order of what they were computed from."""


class Item(NamedTuple):
    """A text as a backend gets it: valid Unicode, the prompt in front, and its token ids, special tokens included, never truncated."""

    text: str
    ids: Sequence[int]


class Backend(Protocol):
    """A loaded model, warm. At most `lanes` threads call it at once, each `prepare` and then `forward` of what it prepared."""

    name: str
    """torch, openvino or http."""
    device: str
    """Where it computes: cpu, cuda:0, mps, or the endpoint's host."""
    precision: str
    """Of its matrix products: f32, bf16, f16, or unknown."""
    dimension: int
    lanes: int
    batch_tokens: int
    """Tokens of one batch, padding included, with which it is fastest on this machine."""

    pads: bool
    """Whether each text costs as much as the longest of its batch."""

    def prepare(self, items: Sequence[Item]) -> Any:
        """The batch in the form that the device computes from, already there. Rows in any order are allowed: the engine sorts by length."""

    def forward(self, prepared: Any) -> Vectors:
        """The vectors of a prepared batch, in the items' order.

        Raises Refusal; one with `transient` set may pass when it is tried again.
        """

    def close(self) -> None: ...
