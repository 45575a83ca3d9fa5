"""Both clients: what they send, what they make of answers, and when they try again."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from headrace_client import Answer, AsyncClient, Client, Filters, HeadraceError, RateLimited, Refused, Unavailable
from headrace_client.exchange import PAUSES_S
from tests.clients.server import Server, found, refused

KEY = "hr_secret"
Search = Callable[..., Answer]


def _sync(url: str, query: str, **options: Any) -> Answer:
    with Client(url, KEY) as client:
        return client.search(query, **options)


def _async(url: str, query: str, **options: Any) -> Answer:
    async def run() -> Answer:
        async with AsyncClient(url, KEY) as client:
            return await client.search(query, **options)

    return asyncio.run(run())


@pytest.fixture(params=[_sync, _async])
def search(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Search:
    monkeypatch.setattr("headrace_client.exchange.PAUSES_S", (0.01, 0.01))
    return request.param  # type: ignore[no-any-return]


def test_a_search_sends_the_credential_and_only_what_was_asked_for(server: Server, search: Search) -> None:
    server.says = [found(2)]
    answer = search(server.url + "/", "guide bearing", top=2, filters=Filters(sources=("/wiki",), since=datetime(2026, 1, 1, tzinfo=UTC)))
    [(path, headers, body)] = server.heard
    assert (path, headers["authorization"]) == ("/v1/search", f"Bearer {KEY}")
    assert body == {"query": "guide bearing", "top": 2, "filters": {"sources": ["/wiki"], "since": "2026-01-01T00:00:00Z"}}
    assert [one.text for one in answer.passages] == ["passage 0", "passage 1"]
    first = answer.passages[0]
    assert (first.citations[0].sequence, first.scores.cosine, first.matched and first.matched.highlights) == (3, 0.5, ((0, 4),))


@pytest.mark.parametrize(
    "fault", [refused(503, "unavailable"), refused(429, "rate-limited", retry_after="0"), (502, {}, b"<html>bad gateway")]
)
def test_what_may_pass_is_tried_again_and_then_said(server: Server, search: Search, fault: Any) -> None:
    server.says = [fault, fault, found(1)]
    assert len(search(server.url, "a").passages) == 1
    server.says = [fault]
    with pytest.raises((Unavailable, RateLimited)):
        search(server.url, "a")
    assert len(server.heard) == 3 + 1 + len(PAUSES_S)


def test_what_cannot_be_meant_is_refused_once_with_the_servers_reason(server: Server, search: Search) -> None:
    server.says = [refused(400, "bad-query"), found(1)]
    with pytest.raises(Refused) as caught:
        search(server.url, "a")
    assert (caught.value.reason, caught.value.status, str(caught.value)) == ("bad-query", 400, "no. Ask for something.")
    assert len(server.heard) == 1


def test_a_long_wait_is_the_callers_decision(server: Server, search: Search) -> None:
    server.says = [refused(429, "rate-limited", retry_after="3600")]
    with pytest.raises(RateLimited) as caught:
        search(server.url, "a")
    assert (caught.value.wait_s, len(server.heard)) == (3600, 1)


def test_nobody_there_and_something_else_there_are_said(server: Server, search: Search) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(Unavailable, match="does not answer") as caught:
        search(f"http://127.0.0.1:{port}", "a")
    assert KEY not in str(caught.value)
    server.says = [(200, {}, b"<html>welcome")]
    with pytest.raises(Unavailable) as other:
        search(server.url, "a")
    assert other.value.reason == "not-headrace"


@pytest.mark.parametrize("options", [{"top": "many"}, {"tenant": "globex"}, {"principals": ["user:jo"]}, {"filters": {"acl": "*"}}])
def test_what_is_no_field_of_a_question_is_refused_before_anything_is_sent(server: Server, search: Search, options: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        search(server.url, "a secret question", **options)
    assert caught.value.reason == "bad-request"
    assert "secret" not in str(caught.value)
    assert server.heard == []


@pytest.mark.parametrize("url", ["", "search.example.com", "ftp://search.example.com", "http://", None])
def test_a_url_that_is_none_is_refused(url: Any) -> None:
    with pytest.raises(HeadraceError) as caught:
        Client(url, KEY)
    assert caught.value.reason == "bad-url"


@pytest.mark.parametrize("credential", ["", "two words", "line\nbreak", "schlüssel"])
def test_a_credential_that_no_header_can_carry_is_refused_without_being_shown(credential: str) -> None:
    with pytest.raises(HeadraceError) as caught:
        AsyncClient("http://localhost", credential)
    assert caught.value.reason == "bad-credential"
    assert not credential or credential not in str(caught.value)


def test_pages_follow_the_cursor_to_the_end(server: Server) -> None:
    pages = [found(2, "c1"), found(2, "c2"), found(1)]

    async def every() -> list[Answer]:
        async with AsyncClient(server.url, KEY) as client:
            return [answer async for answer in client.pages("a", top=2)]

    server.says = list(pages)
    with Client(server.url, KEY) as client:
        assert [len(answer.passages) for answer in client.pages("a", top=2)] == [2, 2, 1]
    server.says = list(pages)
    assert [len(answer.passages) for answer in asyncio.run(every())] == [2, 2, 1]
    assert [body.get("cursor", "") for _, _, body in server.heard] == ["", "c1", "c2"] * 2


def test_an_answer_can_be_stored_and_read_again(server: Server, search: Search) -> None:
    server.says = [found(3)]
    answer = search(server.url, "a")
    assert Answer.model_validate_json(json.dumps(answer.model_dump(mode="json"))) == answer
