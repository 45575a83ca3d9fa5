"""The server, over real HTTP on loopback and a real Postgres: what it answers, to whom, and what nobody gets out of it."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec
import psycopg
import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

import headrace_client
from core.config import Endpoints, Settings
from core.config.sections import Jwt, Serve
from core.configuration_file import configuration_digest
from pipelines.app import Headrace
from pipelines.governance import api_keys
from pipelines.governance.tenants import add
from pipelines.operations import search, serve, web
from pipelines.operations.search import ask
from pipelines.operations.serve import Serving
from retrieval.answer import Answer
from retrieval.citations import Alike, Citation, Containing, Matched, Passage, Scores
from retrieval.documents import DocumentText, Related
from retrieval.filters import Filters
from retrieval.request import SearchRequest
from retrieval.server import examples, local, schema
from services import passwords
from services.files import layout
from tests.retrieval.issuer import AUDIENCE, Issuer, running
from tests.tenant_fixture import publish

BOARD = "# Minutes\n\nThe board will sell the turbine hall to Ottilie Vanderbeek.\n"
PAGES = {
    "seals.md": "# Seals\n\nThe shaft seal of the pump is inspected once a year.\n",
    "bearings.md": "# Bearings\n\nThe guide bearing is greased every 3 weeks by the operator on duty of the hall.\n",
}
MOST_BYTES = 4096
TIMEOUT_S = 6.0
QUESTION = {"query": "who will buy the turbine hall", "mode": "lexical"}


@dataclass(frozen=True)
class Served:
    """A running server, and two tenants that have the same pages; `acme` also has minutes for its board alone."""

    headrace: Headrace
    app: Serving
    client: httpx.Client
    issuer: Issuer
    local_key: bytes
    acme: str
    globex: str

    def key(self, *principals: str, tenant: str | None = None, rate: float = 1000) -> dict[str, str]:
        """The header with a new API key."""
        return bearer(api_keys.add(self.app, tenant or self.acme, principals, rate=rate)[1])

    def search(self, headers: dict[str, str], **asked: Any) -> httpx.Response:
        return self.client.post("/v1/search", json=QUESTION | asked, headers=headers)


def bearer(credential: str) -> dict[str, str]:
    return {"authorization": f"Bearer {credential}"}


@contextmanager
def listening(resources: Serving, key: bytes) -> Iterator[str]:
    """Uvicorn in a thread, as `headrace serve` configures it."""
    with web.listener(resources.settings.serve) as found:
        server = uvicorn.Server(web.configuration(web.built(resources, key)))
        thread = threading.Thread(target=server.run, args=([found],))
        thread.start()
        try:
            yield web.address(found)
        finally:
            server.should_exit = True
            thread.join()


@contextmanager
def resources(settings: Settings, endpoints: Endpoints, app: Headrace, **changes: Any) -> Iterator[Serving]:
    """Those of a server with these settings, with the session's models."""
    found = settings.model_copy(update={"serve": Serve(port=0, max_body_bytes=MOST_BYTES, timeout_s=TIMEOUT_S, **changes)})
    with Serving(found, endpoints) as serving:
        serving.__dict__["models"] = app.models
        yield serving


@pytest.fixture(scope="module")
def served(settings: Settings, endpoints: Endpoints, app: Headrace) -> Iterator[Served]:
    key = serve.new_local_key()
    tenants = "serve-a", "serve-g"
    for tenant in tenants:
        add(app, tenant)
        publish(app, tenant, documents=PAGES)
    publish(app, tenants[0], documents={"board.md": BOARD}, acl=["group:board"])
    for tenant in tenants:
        app.ingest(tenant)
    with running() as issuer:
        jwt = Jwt(issuer=issuer.issuer, audience=AUDIENCE, jwks_url=issuer.jwks_url, rate=1000)
        with resources(settings, endpoints, app, jwt=jwt) as found, listening(found, key) as url, httpx.Client(base_url=url) as client:
            yield Served(app, found, client, issuer, key, *tenants)


def test_the_client_gets_the_answer_of_the_pipeline_and_its_refusals(served: Served) -> None:
    key = served.key("group:board")["authorization"].removeprefix("Bearer ")
    with headrace_client.Client(str(served.client.base_url), key) as client:
        answer = client.search("the turbine hall", top=2, explain=True, expand="section")
        request = SearchRequest("the turbine hall", ["group:board"], top=2, explain=True, expand="section")
        expected = msgspec.json.encode(search.answer(served.headrace, served.acme, request))
        assert answer.passages == headrace_client.Answer.model_validate_json(expected).passages
        assert {len(page.passages) for page in client.pages("the turbine hall", top=1)} == {1}
        with pytest.raises(headrace_client.Refused) as refused:
            client.search("  ")
        assert (refused.value.reason, refused.value.status) == ("bad-query", 400)
    with headrace_client.Client(str(served.client.base_url), "hr_unknown") as stranger, pytest.raises(headrace_client.Refused) as refused:
        stranger.search("the turbine hall")
    assert refused.value.status == 401


@pytest.mark.parametrize("record", [Answer, Passage, Citation, Scores, Matched, Alike, Containing, SearchRequest, Filters])
def test_the_client_knows_every_field_of_every_record(record: type[msgspec.Struct]) -> None:
    theirs = getattr(headrace_client, {"SearchRequest": "Question"}.get(record.__name__, record.__name__)).model_fields
    assert {field.name for field in msgspec.structs.fields(record)} - {"principals"} == set(theirs)


def refusal(response: httpx.Response) -> tuple[int, str]:
    """Status and reason. A refusal has no other fields, and no text of a question or a document."""
    found = response.json()
    assert set(found) == {"reason", "message", "remedy"}
    assert "turbine" not in response.text
    return response.status_code, found["reason"]


def documents(response: httpx.Response) -> set[str]:
    assert response.status_code == 200, response.text
    return {cited["document"] for passage in response.json()["passages"] for cited in passage["citations"]}


# --- what it answers


def test_a_search_answers_as_the_pipeline_does(served: Served) -> None:
    response = served.search(served.key("group:board"))
    expected = ask(served.app, served.acme, QUESTION["query"], ["group:board"], mode="lexical")
    assert response.headers["content-type"] == "application/json"
    assert json.loads(msgspec.json.encode(expected)) | {"took_s": 0} == response.json() | {"took_s": 0}
    assert {"board.md", "bearings.md"} <= documents(response)
    assert documents(served.search(served.key(), mode="vector", top=1, query="when is the seal looked at?")) == {"seals.md"}


def test_a_hidden_value_finds_itself(served: Served) -> None:
    publish(served.app, served.acme, documents={"mail.md": "Write to jane.roe@example.com about the spare rotor.\n"})
    served.headrace.ingest(served.acme)
    response = served.search(served.key(), query="jane.roe@example.com")
    assert documents(response) == {"mail.md"}
    assert "jane.roe" not in response.text


def test_a_documents_passages_come_in_order_some_at_a_time(served: Served) -> None:
    long = "\n\n".join(f"# Part {number}\n\nParagraph {number}. {'The gate is oiled. ' * 40}\n" for number in range(6))
    publish(served.app, served.globex, documents={"weir/manual.md": long})
    served.headrace.ingest(served.globex)
    headers, found = served.key(tenant=served.globex), list[dict[str, Any]]()
    first: int | None = 0
    while first is not None:
        response = served.client.get("/v1/documents/weir/manual.md", params={"first": first, "most": 2}, headers=headers)
        part = response.json()
        found += part["passages"]
        first = part["next"]
    assert [passage["ordinal"] for passage in found] == list(range(len(found)))
    assert [f"Paragraph {number}" in found[number]["text"] for number in range(6)] == [True] * 6
    key = part["document"]["document_key"]
    assert served.client.get(f"/v1/documents/{key}", headers=headers).json()["document"] == part["document"]


def test_explain_says_where_a_passage_comes_from_and_how_far_it_is(served: Served) -> None:
    headers = served.key()
    [passage] = served.search(headers, query="shaft seal").json()["passages"]
    for name in (passage["chunk"], "seals.md", passage["citations"][0]["document_key"]):
        [found] = served.client.post("/v1/explain", json={"name": name}, headers=headers).json()["documents"]
        assert (found["origin"]["document"]["document"], found["verdict"], found["newest"]) == ("seals.md", "searchable", 1)
        assert found["origin"]["ordinals"] == ([0] if name == passage["chunk"] else [])
        assert {stage["status"] for stage in found["stages"]} == {"done"}
        assert "acl" not in json.dumps(found)


def test_related_documents_share_passages_or_have_near_duplicates(served: Served) -> None:
    text = "The sluice of the {} weir is closed by hand when the river has more than {} cubic metres a second, by two people at least."
    pages = {f"{name}.md": text.format("upper", flow) for name, flow in (("a", 40), ("b", 40), ("c", 45))}
    publish(served.app, served.acme, documents=pages)
    publish(served.app, served.acme, documents={"d.md": text.format("upper", 40)}, acl=["group:board"])
    served.headrace.ingest(served.acme)
    related = {
        readers: served.client.post("/v1/related", json={"name": "a.md"}, headers=served.key(*readers)).json()["related"]
        for readers in [(), ("group:board",)]
    }
    assert [(one["document"], one["shared"], one["alike"]) for one in related[()]] == [("b.md", 1, 0), ("c.md", 0, 1)]
    assert {one["document"] for one in related[("group:board",)]} == {"b.md", "c.md", "d.md"}


def test_many_readers_at_once_are_each_answered_their_own(served: Served) -> None:
    headers = {tenant: served.key(tenant=tenant) for tenant in (served.acme, served.globex)}
    board = served.key("group:board")

    def asks(number: int) -> bool:
        if number % 3 == 0:
            return "board.md" in documents(served.search(board))
        return "board.md" not in documents(served.search(headers[(served.acme, served.globex)[number % 2]], mode="vector"))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(asks, range(48)))


def test_health_readiness_and_metrics_need_no_credential_and_tell_of_no_tenant(served: Served) -> None:
    served.search(served.key())
    assert [served.client.get(path).status_code for path in ("/healthz", "/readyz")] == [200, 200]
    page = served.client.get("/metrics").text
    metrics = {metric.name for metric in text_string_to_metric_families(page)}
    assert {"headrace_requests", "headrace_refusals", "headrace_request_seconds", "headrace_requests_in_flight"} <= metrics
    assert 'route="/v1/documents/{name:path}"' in page or 'route="/v1/search"' in page
    assert not any(word in page for word in (served.acme, served.globex, "board", "seals"))


def test_readiness_fails_while_postgres_is_away(settings: Settings, endpoints: Endpoints, app: Headrace) -> None:
    gone = endpoints.model_copy(update={"postgres_reader": "postgresql://x:x@127.0.0.1:1/headrace"})
    nowhere = Endpoints.model_validate(gone.model_dump())
    with resources(settings, nowhere, app) as found, listening(found, b"k") as url:
        assert refusal(httpx.get(f"{url}/readyz", timeout=20))[0] in (503, 504)
        assert httpx.get(f"{url}/healthz").status_code == 200


# --- its description


def test_openapi_describes_the_records_and_its_examples_are_of_them(served: Served) -> None:
    found = served.client.get("/openapi.json").json()
    assert {"/v1/search", "/v1/documents/{name}", "/v1/explain", "/v1/related"} == set(found["paths"])
    fields = {field.name for field in msgspec.structs.fields(SearchRequest)} - schema.OWN
    assert set(found["components"]["schemas"]["Search"]["properties"]) == fields
    assert "principals" not in fields
    references = set(_references(found))
    assert references <= set(found["components"]["schemas"])
    for kind, example in (
        (schema.Search, examples.SEARCH),
        (schema.Named, examples.NAMED),
        (schema.Named, examples.PASSAGE_NAMED),
        (Answer, examples.FOUND),
        (DocumentText, examples.DOCUMENT),
        (schema.Explanations, examples.EXPLAINED),
        (Related, examples.RELATED),
    ):
        msgspec.convert(example, kind)


def _references(found: Any) -> Iterator[str]:
    for name, value in found.items() if isinstance(found, dict) else enumerate(found) if isinstance(found, list) else ():
        if name == "$ref":
            yield value.rpartition("/")[2]
        else:
            yield from _references(value)


def test_answers_have_the_headers_of_a_safe_api_and_open_nothing_to_other_origins(served: Served) -> None:
    origin = {"origin": "https://evil.example.com", "access-control-request-method": "POST"}
    for response in (
        served.search(served.key()),
        served.search({}),
        served.client.get("/nowhere"),
        served.client.options("/v1/search", headers=origin),
        served.client.get("/healthz", headers=origin),
    ):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert not [name for name in response.headers if name.startswith("access-control") or name == "server"]


# --- who asks


def test_a_token_of_the_issuer_is_answered_for_its_tenant_and_groups(served: Served) -> None:
    assert "board.md" in documents(served.search(bearer(served.issuer.token(served.acme, groups=["board"]))))
    assert "board.md" not in documents(served.search(bearer(served.issuer.token(served.acme, groups=["staff"]))))
    assert "board.md" not in documents(served.search(bearer(served.issuer.token(served.globex, groups=["board"]))))
    assert refusal(served.search(bearer(served.issuer.token("nobody-here")))) == (401, "unauthenticated")


def test_a_local_credential_is_answered_until_it_is_old(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    fresh = local.signed(served.local_key, served.acme, ("group:board",))
    assert "board.md" in documents(served.search(bearer(fresh)))
    monkeypatch.setattr(local, "VALID_S", -1)
    for credential in (
        local.signed(served.local_key, served.acme, ()),
        local.signed(b"another" * 5, served.acme, ()),
        fresh.replace(fresh.split(".")[0], local.signed(b"", served.globex, ()).split(".")[0]),
        fresh[:-6],
        local.PREFIX,
        f"{local.PREFIX}.",
    ):
        assert refusal(served.search(bearer(credential))) == (401, "unauthenticated")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": ""},
        {"authorization": "Bearer"},
        {"authorization": "Bearer hr_"},
        {"authorization": f"Bearer hr_000000000000_{'A' * 43}"},
        {"authorization": "Basic YWNtZTpib2FyZA=="},
        {"x-api-key": "hr_000000000000_x"},
        {"cookie": "authorization=Bearer hr_000000000000_x"},
    ],
)
def test_who_has_no_valid_credential_is_told_so_and_nothing_else(served: Served, headers: dict[str, str]) -> None:
    for response in (
        served.search(headers),
        served.client.get("/v1/documents/seals.md", headers=headers),
        served.client.post("/v1/explain", json={"name": "seals.md"}, headers=headers),
        served.client.post("/v1/related", content=b"not JSON", headers=headers),
    ):
        assert refusal(response) == (401, "unauthenticated")
        assert response.headers["www-authenticate"] == "Bearer"


def test_a_revoked_or_expired_key_is_refused_at_once(served: Served) -> None:
    made, text = api_keys.add(served.app, served.acme, ())
    assert served.search(bearer(text)).status_code == 200
    api_keys.revoke(served.app, made.key)
    assert refusal(served.search(bearer(text))) == (401, "unauthenticated")


def test_a_cursor_goes_on_for_its_own_caller_until_the_key_is_revoked(served: Served) -> None:
    made, text = api_keys.add(served.app, served.acme, ["group:board"], rate=1000)
    first = served.search(bearer(text), top=1).json()
    second = served.search(bearer(text), top=1, cursor=first["cursor"])
    assert {one["chunk"] for one in second.json()["passages"]}.isdisjoint(one["chunk"] for one in first["passages"])
    for other in (served.key(), served.key("group:board", tenant=served.globex)):
        assert refusal(served.search(other, top=1, cursor=first["cursor"])) == (400, "bad-cursor")
    api_keys.revoke(served.app, made.key)
    assert refusal(served.search(bearer(text), top=1, cursor=first["cursor"])) == (401, "unauthenticated")


# --- what nobody can say or find out


FORGED: list[dict[str, Any]] = [
    {"tenant": "serve-g"},
    {"principals": ["group:board"]},
    {"readers": ["group:board"]},
    {"filters": {"tenant": "serve-g"}},
    {"filters": {"principals": ["group:board"]}},
]
HEADERS = [
    {"x-tenant": "serve-g"},
    {"x-principals": "group:board"},
    {"x-forwarded-user": "user:board"},
    {"x-headrace-tenant": "serve-g"},
    {"host": "serve-g.example.com"},
    {"x-http-method-override": "GET"},
]


@pytest.mark.parametrize("body", FORGED, ids=str)
def test_a_tenant_or_principals_in_a_body_are_refused(served: Served, body: dict[str, Any]) -> None:
    assert refusal(served.search(served.key(), **body)) == (400, "bad-request")


@pytest.mark.parametrize("forged", HEADERS)
def test_a_tenant_or_principals_in_headers_or_parameters_change_nothing(served: Served, forged: dict[str, str]) -> None:
    headers = served.key()
    expected = served.search(headers).json()
    response = served.client.post("/v1/search", json=QUESTION, headers=headers | forged, params={"tenant": served.globex, **forged})
    assert response.json() | {"took_s": 0} == expected | {"took_s": 0}
    assert "board.md" not in json.dumps(expected)


def test_what_is_another_tenants_or_not_ones_own_is_as_if_it_were_not_there(served: Served) -> None:
    board = served.search(served.key("group:board")).json()["passages"]
    [secret] = [passage for passage in board if "board.md" in json.dumps(passage)]
    mine, theirs = served.key(), served.key("group:board", tenant=served.globex)
    names = ["board.md", secret["citations"][0]["document_key"], secret["chunk"], "there-is-none.md", "0" * 32]
    for headers in (mine, theirs):
        answers = [served.client.get(f"/v1/documents/{name}", headers=headers) for name in names]
        for path in ("/v1/explain", "/v1/related"):
            answers += [served.client.post(path, json={"name": name}, headers=headers) for name in names]
        assert {refusal(answer) for answer in answers} == {(404, "unknown-document")}
        assert len({answer.content for answer in answers}) == 1, "the answers differ"


def test_a_document_that_is_no_longer_readable_is_gone_with_the_landing(served: Served) -> None:
    headers = served.key()
    publish(served.app, served.acme, documents={"plan.md": "The plan of the canal.\n"})
    served.headrace.ingest(served.acme)
    assert served.client.get("/v1/documents/plan.md", headers=headers).status_code == 200
    publish(served.app, served.acme, 2, documents={"plan.md": "The plan of the canal.\n"}, acl=["group:board"])
    served.headrace.land(served.acme)
    assert refusal(served.client.get("/v1/documents/plan.md", headers=headers)) == (404, "unknown-document")


@given(name=st.text(min_size=1, max_size=60))
def test_any_name_of_a_document_is_answered_or_unknown(served: Served, name: str) -> None:
    headers = bearer(local.signed(served.local_key, served.acme, ()))
    response = served.client.post("/v1/explain", content=json.dumps({"name": name}), headers=headers)
    assert response.status_code in (400, 404), response.text
    refusal(response)


@given(body=st.binary(max_size=200) | st.recursive(st.none() | st.text(), st.lists).map(lambda v: json.dumps(v).encode()))
def test_any_body_is_refused_in_the_same_form(served: Served, body: bytes) -> None:
    headers = bearer(local.signed(served.local_key, served.acme, ()))
    assert refusal(served.client.post("/v1/search", content=body, headers=headers)) == (400, "bad-request")


@given(query=st.text())
def test_any_question_is_answered_or_refused_as_the_callers(served: Served, query: str) -> None:
    headers = bearer(local.signed(served.local_key, served.acme, ()))
    body = json.dumps({"query": query, "mode": "lexical"})
    response = served.client.post("/v1/search", content=body, headers=headers)
    assert response.status_code == 200 or refusal(response)[0] in (400, 413)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"query": ""}, "bad-query"),
        ({"query": " \n"}, "bad-query"),
        ({"top": 0}, "bad-top"),
        ({"top": 1001}, "bad-top"),
        ({"top": "5"}, "bad-request"),
        ({"top": True}, "bad-request"),
        ({"mode": "sql"}, "bad-request"),
        ({"filters": {"since": "2026-01-01"}}, "bad-request"),
        ({"filters": {"since": "2026-01-01T00:00:00"}}, "bad-filter"),
        ({"filters": {"metadata": {"a": 1}}}, "bad-request"),
        ({"filters": {"path": "\0"}}, "bad-filter"),
        ({"cursor": "'; DROP TABLE chunk; --"}, "bad-cursor"),
        ({"diversity": 2}, "bad-option"),
        ({"query": None}, "bad-request"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_reason(served: Served, asked: dict[str, Any], reason: str) -> None:
    assert refusal(served.search(served.key(), **asked)) == (400, reason)


def test_other_paths_methods_and_parameters_are_refused_in_the_same_form(served: Served) -> None:
    headers = served.key()
    assert refusal(served.client.get("/v1/nothing")) == (404, "not-found")
    assert refusal(served.client.get("/docs")) == (404, "not-found")
    assert refusal(served.client.get("/v1/search", headers=headers)) == (405, "method-not-allowed")
    for params in ({"first": -1}, {"most": 0}, {"most": 501}, {"first": 2**40}, {"first": "x"}):
        assert refusal(served.client.get("/v1/documents/seals.md", params=params, headers=headers)) == (400, "bad-request")


# --- limits


def test_who_asks_too_often_waits(served: Served) -> None:
    headers = served.key(rate=0.5)
    assert served.search(headers).status_code == 200
    response = served.search(headers)
    assert refusal(response) == (429, "rate-limited")
    assert 1 <= int(response.headers["retry-after"]) <= 3
    assert served.search(served.key(rate=0.5)).status_code == 200


def test_a_large_body_is_refused_before_it_is_read(served: Served) -> None:
    headers = served.key()
    large = json.dumps({"query": "x" * MOST_BYTES}).encode()
    assert refusal(served.client.post("/v1/search", content=large, headers=headers)) == (413, "body-too-large")
    chunks = (b"x" * 100 for _ in range(MOST_BYTES))
    assert refusal(served.client.post("/v1/search", content=chunks, headers=headers)) == (413, "body-too-large")
    deep = b'{"query": ' + b"[" * 4000
    assert refusal(served.client.post("/v1/search", content=deep, headers=headers)) == (400, "bad-request")


def test_a_body_that_does_not_arrive_ends_its_request(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(web, "BODY_S", 0.5)
    with listening(served.app, b"k") as url:
        target = httpx.URL(url)
        authorization = served.key()["authorization"]
        with socket.create_connection((target.host, target.port or 0), timeout=20) as slow:
            head = f"POST /v1/search HTTP/1.1\r\nhost: x\r\nauthorization: {authorization}\r\ncontent-length: 100\r\n\r\n"
            slow.sendall(head.encode() + b'{"query"')
            answered = slow.recv(10_000).decode()
    assert answered.startswith("HTTP/1.1 408")
    assert "request-timeout" in answered


def test_headers_are_bounded(served: Served) -> None:
    response = served.client.get("/healthz", headers={"x-long": "x" * 600_000})
    assert response.status_code == 400


@contextmanager
def locked(served: Served) -> Iterator[psycopg.Connection[Any]]:
    """Nobody reads acme's passages meanwhile."""
    password = passwords.read(layout(served.app.settings))["postgres_superuser"].get_secret_value()
    where = served.app.endpoints.postgres_owner.get_secret_value().split("@")[1]
    with psycopg.connect(f"postgresql://postgres:{password}@{where}") as connection:
        connection.execute(f'LOCK TABLE "tenant_{served.acme}".chunk')
        yield connection


def test_a_search_that_takes_too_long_is_cancelled_in_postgres(served: Served) -> None:
    headers = served.key()
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND usename = 'headrace_reader'"
    with locked(served) as connection:
        assert refusal(served.client.post("/v1/search", json=QUESTION, headers=headers, timeout=30)) == (504, "timed-out")
        until = time.monotonic() + 20
        while connection.execute(waiting).fetchone() != (0,):
            assert time.monotonic() < until, "the statement still waits"
            time.sleep(0.05)
            connection.execute("SELECT pg_stat_clear_snapshot()")
    assert served.search(headers).status_code == 200


# --- what it writes down


def test_no_log_has_a_question_a_document_or_a_credential(
    served: Served, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    headers = served.key("group:board")
    served.search(headers)
    served.search(headers, top="x")
    served.client.get("/v1/documents/board.md", headers=headers)
    served.client.get("/v1/documents/Ottilie-Vanderbeek.md", headers=headers)
    with locked(served):
        served.client.post("/v1/search", json=QUESTION, headers=headers, timeout=30)
    ours = [record.getMessage() for record in caplog.records if not record.name.startswith(("httpx", "httpcore"))]
    assert any("timed-out" in message for message in ours)
    written = "\n".join(ours) + "".join(capfd.readouterr())
    assert not any(word in written for word in ("turbine", "board", "Ottilie", "hr_"))


def test_an_unexpected_error_shows_nothing_of_itself(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("turbine hall")

    monkeypatch.setattr(search, "answer", broken)
    with listening(served.app, b"k") as url:
        response = httpx.post(f"{url}/v1/search", json=QUESTION, headers=served.key())
    assert refusal(response) == (500, "bug")
    assert "turbine" not in caplog.text
    assert "RuntimeError at" in caplog.text


def test_it_is_announced_to_its_own_user_alone_until_it_ends(settings: Settings) -> None:
    path: Path = serve.state_file(settings)
    with serve.announced(settings, "http://127.0.0.1:1", b"key"):
        assert path.stat().st_mode & 0o777 == 0o600
        assert local.read(path) == local.RunningServer("http://127.0.0.1:1", b"key", configuration_digest())
        with serve.announced(settings, "http://127.0.0.1:2", b"other"):
            pass
        assert not path.exists()
