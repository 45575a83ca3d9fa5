"""Errors as answers: a status of HTTP's, and `reason`, `message` and `remedy` as JSON."""

from __future__ import annotations

from typing import Final

import msgspec
from starlette.responses import Response

from core.errors import DocumentError, HeadraceError, Unavailable

STATUS: Final = {
    "bad-request": 400,
    "bad-query": 400,
    "bad-top": 400,
    "bad-filter": 400,
    "bad-option": 400,
    "bad-cursor": 400,
    "bad-tenant-name": 400,
    "unauthenticated": 401,
    "unknown-document": 404,
    "unknown-tenant": 404,
    "not-found": 404,
    "method-not-allowed": 405,
    "request-timeout": 408,
    "body-too-large": 413,
    "rate-limited": 429,
    "timed-out": 504,
}
"""Reason code → status, where it does not follow from the error's class."""


class Refusal(msgspec.Struct, frozen=True):
    """Why a request has no answer. `reason` is a stable code; `remedy` says what to do, and may be empty."""

    reason: str
    message: str
    remedy: str


class RateLimited(HeadraceError):
    """The caller has asked too often. `wait_s`: until it may ask again."""

    reason = "rate-limited"
    remedy = "Wait as long as `Retry-After` says."

    def __init__(self, wait_s: float) -> None:
        self.wait_s = wait_s
        super().__init__("too many requests for this credential")


def status(error: HeadraceError) -> int:
    """400 or above. A text that the model cannot read is the caller's; everything that is not known to be the caller's is ours."""
    if error.reason in STATUS:
        return STATUS[error.reason]
    return 503 if isinstance(error, Unavailable) else 400 if isinstance(error, DocumentError) else 500


def answer(error: HeadraceError) -> Response:
    """What is wrong on this side is named by its reason alone: the rest is for those who run the server."""
    code = status(error)
    ours = code >= 500
    refusal = Refusal(error.reason, "the server cannot answer this now" if ours else error.detail, "" if ours else error.remedy)
    return Response(msgspec.json.encode(refusal), code, _headers(error, code), "application/json")


def _headers(error: HeadraceError, code: int) -> dict[str, str]:
    if isinstance(error, RateLimited):
        return {"retry-after": str(int(error.wait_s) + 1)}
    return {"www-authenticate": "Bearer"} if code == 401 else {}
