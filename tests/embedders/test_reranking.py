"""Rerankers: a cross-encoder with random weights that is made here, and a real server that answers well, late, wrongly or not at all."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Literal

import pytest

from core.config import Reranking
from core.errors import ConfigurationError, HeadraceError
from embedders.stage import Reranker, load_reranker
from retrieval.rerank import TIMED_OUT
from tests.models.tiny_models import write_cross_encoder

pytestmark = pytest.mark.slow

TEXTS = ["the old mill", "water turns the wheel", "rain falls on a long stone race", "flour"] * 5
KEY = "sk-secret-8311"
Play = Callable[["Handler", Any], None]


def length(text: str) -> float:
    return float(len(text))


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, self.headers.get("Authorization"), asked))
        self.server.play(self, asked)

    def log_message(self, *_: object) -> None: ...


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[tuple[str, str | None, Any]] = []
        self.play: Play = tei

    def handle_error(self, *_: object) -> None:
        """Ignore clients that hang up."""

    def reranker(self, protocol: Literal["tei", "cohere"] = "tei", **endpoint: Any) -> Reranker:
        url = f"http://127.0.0.1:{self.server_address[1]}/v1"
        keys = {"endpoint": {"url": url, "protocol": protocol, **endpoint}, "timeout_s": 0.5, "candidates": 7}
        found = load_reranker(Reranking.model_validate(keys))
        assert found
        return found


def reply(handler: Handler, content: Any, status: int = 200) -> None:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


def ranked(texts: Sequence[str], field: str) -> list[dict[str, float]]:
    """Best first, as servers answer."""
    return sorted(({"index": at, field: length(text)} for at, text in enumerate(texts)), key=lambda row: -row[field])


def tei(handler: Handler, asked: Any) -> None:
    reply(handler, ranked(asked["texts"], "score"))


def cohere(handler: Handler, asked: Any) -> None:
    reply(handler, {"id": "x", "results": ranked(asked["documents"], "relevance_score"), "meta": {}})


def late(handler: Handler, asked: Any) -> None:
    sleep(1.5)
    tei(handler, asked)


def drop_by_drop(handler: Handler, _: Any) -> None:
    handler.send_response(200)
    handler.send_header("Content-Length", "1000")
    handler.end_headers()
    for _ in range(15):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        sleep(0.1)


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize(("protocol", "play"), [("tei", tei), ("cohere", cohere)])
def test_a_server_gives_every_text_its_score_in_the_texts_order(server: Server, protocol: Any, play: Play) -> None:
    server.play = play
    reranker = server.reranker(protocol, api_key=KEY, model="some-reranker")
    assert reranker.scores("why", TEXTS) == list(map(length, TEXTS))
    assert reranker.candidates == 7
    [(path, authorization, asked)] = server.asked
    assert (path, authorization, asked["query"]) == ("/v1/rerank", f"Bearer {KEY}", "why")
    assert asked.get("model") == ("some-reranker" if protocol == "cohere" else None)
    reranker.close()


@pytest.mark.parametrize("play", [late, drop_by_drop])
def test_a_server_that_takes_too_long_is_given_up_in_time(server: Server, play: Play) -> None:
    server.play = play
    reranker, started = server.reranker(), monotonic()
    with pytest.raises(HeadraceError) as refused:
        reranker.scores("why", TEXTS)
    assert refused.value.reason == TIMED_OUT
    assert monotonic() - started < 1.4
    reranker.close()


WRONG: list[tuple[Any, int]] = [
    ({"results": []}, 200),
    ([], 200),
    ([{"index": 0, "score": 1}], 200),
    ([{"index": at, "score": "high"} for at in range(len(TEXTS))], 200),
    ([{"index": at} for at in range(len(TEXTS))], 200),
    (b"not json", 200),
    (b"[" * 100_000, 200),
    (b" " * 10_000_000, 200),
    ({"error": TEXTS[0]}, 500),
    ({"error": TEXTS[0]}, 400),
    ({"error": TEXTS[0]}, 404),
    ({"error": KEY}, 401),
]


@pytest.mark.parametrize(("content", "status"), WRONG, ids=lambda value: str(value)[:20])
def test_a_server_that_answers_otherwise_is_an_error_without_a_text_or_key(server: Server, content: Any, status: int) -> None:
    server.play = lambda handler, _: reply(handler, content, status)
    reranker = server.reranker(api_key=KEY)
    with pytest.raises(HeadraceError) as refused:
        reranker.scores("why", TEXTS)
    assert not any(secret in str(refused.value) for secret in (TEXTS[0], KEY, "why"))
    assert len(server.asked) == 1, "nothing is tried twice"
    reranker.close()


def test_a_server_that_is_away_is_an_error(server: Server) -> None:
    reranker = server.reranker()
    server.shutdown()
    server.server_close()
    with pytest.raises(HeadraceError) as refused:
        reranker.scores("why", TEXTS)
    assert refused.value.reason == "endpoint-unavailable"
    reranker.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_cross_encoder(tmp_path_factory.mktemp("reranker"))


def test_a_cross_encoder_scores_as_sentence_transformers_does_whatever_the_batch(folder: Path) -> None:
    from sentence_transformers import CrossEncoder

    reranker = load_reranker(Reranking(model=str(folder), timeout_s=60))
    assert reranker
    whole = reranker.scores("the water", TEXTS)
    own = CrossEncoder(str(folder), device="cpu", local_files_only=True, num_labels=1)
    alone = [float(own.predict([("the water", text)], show_progress_bar=False)[0]) for text in TEXTS]
    assert whole == pytest.approx(alone, abs=1e-5)
    assert len(set(whole[:4])) == 4
    assert reranker.scores("the water", TEXTS) == whole
    assert reranker.scores("the water", []) == []


def test_a_cross_encoder_stops_when_its_time_is_over(folder: Path) -> None:
    reranker = load_reranker(Reranking(model=str(folder), timeout_s=1e-9))
    assert reranker
    with pytest.raises(HeadraceError) as refused:
        reranker.scores("the water", TEXTS)
    assert refused.value.reason == TIMED_OUT


def test_there_is_no_reranker_by_default_and_a_wrong_one_is_refused(tmp_path: Path) -> None:
    assert load_reranker(Reranking()) is None
    with pytest.raises(ConfigurationError):
        load_reranker(Reranking(model=str(tmp_path / "nothing")))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    broken = load_reranker(Reranking(model=str(tmp_path)))
    assert broken
    with pytest.raises(ConfigurationError) as refused:
        broken.scores("why", TEXTS)
    assert refused.value.reason == "model-not-loadable"


@pytest.mark.parametrize(
    "keys",
    [
        {"model": "m", "endpoint": {"url": "http://127.0.0.1:1"}},
        {"revision": "r"},
        {"endpoint": {"model": "m"}},
        {"endpoint": {"api_key": "k"}},
        {"endpoint": {"url": "ftp://x"}},
        {"endpoint": {"url": "http://x", "protocol": "openai"}},
        {"timeout_s": 0},
        {"candidates": 0},
        {"candidates": 1001},
    ],
    ids=str,
)
def test_settings_that_cannot_work_are_refused(keys: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        Reranking.model_validate(keys)
