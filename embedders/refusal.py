"""The one exception of this folder, which imports nothing of ours."""

from __future__ import annotations

OF_A_TEXT = frozenset({"text-too-long", "no-tokens", "bad-vector", "endpoint-refused", "endpoint-bad-vectors", "out-of-memory"})
"""Reasons that may speak of one text of a batch. Any other one speaks of the model, the device or the server, and every text has it."""


class Refusal(Exception):
    """What the model cannot or must not do. `reason` is a stable code, `detail` what happened; neither holds any text to embed.

    `transient`: the same call may succeed later (an endpoint that is away, a device that was reset).
    """

    def __init__(self, reason: str, detail: str, remedy: str = "", *, transient: bool = False) -> None:
        self.reason, self.detail, self.remedy, self.transient = reason, detail, remedy, transient
        super().__init__(f"[{reason}] {detail}")
