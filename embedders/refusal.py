"""The one exception that this folder raises."""

from __future__ import annotations

OF_A_TEXT = frozenset({"text-too-long", "no-tokens", "bad-vector", "endpoint-refused", "endpoint-bad-vectors", "out-of-memory"})
"""Reasons that one text of a batch can cause. Any other reason concerns the model, the device or the server, and so every text."""


class Refusal(Exception):
    """A text, model, device or endpoint that cannot or must not be used. `reason` is a stable code. No attribute contains input text.

    `transient`: the same call may succeed later (an unavailable endpoint, a device that was reset).
    """

    def __init__(self, reason: str, detail: str, remedy: str = "", *, transient: bool = False) -> None:
        self.reason, self.detail, self.remedy, self.transient = reason, detail, remedy, transient
        super().__init__(f"[{reason}] {detail}")
