"""Search over HTTP: `Client`, and `AsyncClient` for asyncio. Both are safe to share, by threads or by tasks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Any, TypeVar

import httpx
from pydantic import ValidationError

from headrace_client.answers import Answer
from headrace_client.errors import HeadraceError, Refused
from headrace_client.exchange import Came, Conversation, searched
from headrace_client.question import Question

T = TypeVar("T")

TIMEOUT_S = 30.0


class Client:
    """Searches what its credential may read. Reuse it, because it keeps connections, and close it in the end.

    `url`: of `headrace serve`. `credential`: an API key (`headrace api-key add`), or a token of the issuer that the server trusts.
    Raises HeadraceError (`bad-url`).
    """

    def __init__(self, url: str, credential: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._search = _address(url)
        self._http = httpx.Client(headers=_headers(credential), timeout=timeout_s)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def search(self, query: str, **options: Any) -> Answer:
        """The best passages, best first. `options`: the other fields of `Question`.

        Tries again, twice, if the server does not answer or asks to wait for less than ten seconds. Raises Refused, RateLimited,
        Unavailable.
        """
        return self._held(searched(self._search, _question(query, options)))

    def pages(self, query: str, **options: Any) -> Iterator[Answer]:
        """Answer after answer, of `top` passages each, until there are no more. Raises as `search`, at any of them."""
        cursor = options.pop("cursor", "")
        while True:
            answer = self.search(query, **options, cursor=cursor)
            yield answer
            cursor = answer.cursor
            if not cursor:
                return

    def _held(self, conversation: Conversation[T]) -> T:
        came: Came = None
        while True:
            try:
                step = conversation.send(came)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            came = None
            if isinstance(step, httpx.Request):
                came = self._sent(step)
            else:
                time.sleep(step)

    def _sent(self, request: httpx.Request) -> Came:
        request.headers.update(self._http.headers)
        try:
            return self._http.send(request)
        except httpx.TransportError as error:
            return error


class AsyncClient:
    """As `Client`, for asyncio."""

    def __init__(self, url: str, credential: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._search = _address(url)
        self._http = httpx.AsyncClient(headers=_headers(credential), timeout=timeout_s)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        await self._http.aclose()

    async def search(self, query: str, **options: Any) -> Answer:
        """As `Client.search`."""
        return await self._held(searched(self._search, _question(query, options)))

    async def pages(self, query: str, **options: Any) -> AsyncIterator[Answer]:
        """As `Client.pages`."""
        cursor = options.pop("cursor", "")
        while True:
            answer = await self.search(query, **options, cursor=cursor)
            yield answer
            cursor = answer.cursor
            if not cursor:
                return

    async def _held(self, conversation: Conversation[T]) -> T:
        came: Came = None
        while True:
            try:
                step = conversation.send(came)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            came = None
            if isinstance(step, httpx.Request):
                came = await self._sent(step)
            else:
                await asyncio.sleep(step)

    async def _sent(self, request: httpx.Request) -> Came:
        request.headers.update(self._http.headers)
        try:
            return await self._http.send(request)
        except httpx.TransportError as error:
            return error


def _address(url: str) -> httpx.URL:
    try:
        found = httpx.URL(url.rstrip("/") + "/v1/search")
    except (httpx.InvalidURL, AttributeError, TypeError):
        found = httpx.URL("")
    if found.scheme not in ("http", "https") or not found.host:
        remedy = "Give that of `headrace serve`, such as https://search.example.com."
        raise HeadraceError("the URL is not one of http or https", reason="bad-url", remedy=remedy)
    return found


def _headers(credential: str) -> dict[str, str]:
    if not credential or not credential.isascii() or not credential.isprintable() or " " in credential:
        raise HeadraceError("the credential is empty or has characters that no key or token has", reason="bad-credential")
    return {"authorization": f"Bearer {credential}", "user-agent": "headrace-client"}


def _question(query: str, options: dict[str, Any]) -> Question:
    """Raises Refused (`bad-request`) before anything is sent; the message names fields, and has no value."""
    try:
        return Question(query=query, **options)
    except ValidationError as error:
        found = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors(include_input=False))
        raise Refused(f"the question cannot be sent: {found}", reason="bad-request", remedy="See `Question`.") from None
