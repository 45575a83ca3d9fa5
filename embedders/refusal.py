"""The one exception of the modules that import nothing of ours."""

from __future__ import annotations


class Refusal(Exception):
    """What the model cannot or must not do. `reason` is a stable code, `detail` what happened; neither holds any text to embed."""

    def __init__(self, reason: str, detail: str, remedy: str = "") -> None:
        self.reason, self.detail, self.remedy = reason, detail, remedy
        super().__init__(f"[{reason}] {detail}")
