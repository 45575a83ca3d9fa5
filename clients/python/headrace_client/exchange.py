"""What is said to the server, apart from how it is sent: both clients drive the same conversation.

A conversation yields what to do next, a request to send or seconds to wait, and is sent what came of it.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

import httpx
from pydantic import ValidationError

from headrace_client.answers import Answer, _Refusal
from headrace_client.errors import HeadraceError, RateLimited, Refused, Unavailable
from headrace_client.question import Question

T = TypeVar("T")

Step = httpx.Request | float
Came = httpx.Response | httpx.TransportError | None
"""Of a request, what came back; None of a wait."""
Conversation = Generator[Step, Came, T]

PAUSES_S = (0.2, 1.0)
"""Before the second and the third try."""
LONGEST_WAIT_S = 10.0
"""A server that asks for a longer pause has its error raised instead."""


def searched(url: httpx.URL, question: Question) -> Conversation[Answer]:
    """The answer. Searches change nothing, so that they may be sent again. Raises HeadraceError."""
    request = httpx.Request("POST", url, content=question.body(), headers={"content-type": "application/json"})
    response = yield from _sent(request)
    try:
        return Answer.model_validate_json(response.content)
    except ValidationError:
        remedy = "Check that the URL is that of `headrace serve`."
        raise Unavailable("the answer is not one of Headrace's", reason="not-headrace", remedy=remedy) from None


def _sent(request: httpx.Request) -> Conversation[httpx.Response]:
    """What the server answers, after three tries at most."""
    for pause in (*PAUSES_S, None):
        came = yield request
        if isinstance(came, httpx.Response) and came.status_code == 200:
            return came
        error = _error(came)
        wait = max(pause or 0.0, error.wait_s if isinstance(error, RateLimited) else 0.0)
        if pause is None or isinstance(error, Refused) or wait > LONGEST_WAIT_S:
            raise error
        yield wait
    raise AssertionError


def _error(came: Came) -> HeadraceError:
    if not isinstance(came, httpx.Response):
        return Unavailable(f"the server does not answer ({type(came).__name__})", remedy="Check the URL, and that `headrace serve` runs.")
    said = _said(came.content)
    text = said.message or f"the server answers {came.status_code}"
    if came.status_code == 429:
        return RateLimited(text, wait_s=_seconds(came.headers.get("retry-after")), reason=said.reason, remedy=said.remedy, status=429)
    kind = Refused if 400 <= came.status_code < 500 else Unavailable
    return kind(text, reason=said.reason, remedy=said.remedy, status=came.status_code)


def _said(content: bytes) -> _Refusal:
    """What the server says, or nothing if something else answered in its place."""
    try:
        return _Refusal.model_validate_json(content)
    except ValidationError:
        return _Refusal()


def _seconds(text: str | None) -> float:
    return float(text) if text and text.isdecimal() else 1.0
