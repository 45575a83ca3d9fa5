"""The embed stage: effects of a text's failure on its documents, what a run reports, and that an index never mixes two models.

Uses tiny models from files, and a real HTTP server whose replies depend on the texts that it receives.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from assets import metadata
from core import frames
from core.config import Chunking, Embedding, Settings
from core.errors import ConfigurationError, DocumentError, HeadraceError, Unavailable
from core.ledger.stage import Report
from core.records import Chunk, EmbeddingModel
from embedders.stage import Embedder, embed, load
from index import generations
from pipelines.dagster.runtime import Runtime
from pipelines.operations.doctor import diagnose
from pipelines.stages import embed as stage
from retrieval.search import Passage, SearchRequest, search
from tests.models.tiny_models import write_model
from tests.tenant_fixture import Inlet, World

pytestmark = pytest.mark.slow

STAGES = ("parse", "redact", "chunk", "embed", "index")
DIMENSION = 8


@pytest.fixture(scope="session")
def cache_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The cache of converted models for all of these tests."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def files(tiny_files: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model, to be modified."""
    return Path(shutil.copytree(tiny_files, tmp_path / "model"))


@pytest.fixture(scope="session")
def tiny(tiny_files: Path, cache_folder: Path) -> Iterator[Embedder]:
    embedder = load(of(tiny_files), cache_folder)
    yield embedder
    embedder.close()


def of(files: Path, **more: Any) -> Embedding:
    return Embedding.model_validate({"model": str(files), "backend": "torch", "device": "cpu", "precision": "f32", **more})


# ── an endpoint ──────────────────────────────────────────────────────────────────────────────────────────────


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        texts = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
        self.server.read.update(texts)
        status = max((status for word, status in self.server.answers.items() if any(word in text for text in texts)), default=200)
        content = json.dumps({"data": [{"index": at, "embedding": vector_of(text)} for at, text in enumerate(texts)]}).encode()
        self.send_response(status)
        # longer than the client waits: it gives up at once
        self.send_header("Retry-After", "3600")
        self.send_header("Content-Length", str(len(content) if status == 200 else 0))
        self.end_headers()
        if status == 200:
            self.wfile.write(content)

    def log_message(self, *_: object) -> None: ...


class Server(ThreadingHTTPServer):
    """Replies with status `answers[word]` to a request with a text that contains the word."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, int] = {}
        self.read: Counter[str] = Counter()
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def settings(self) -> dict[str, Any]:
        """With one lane, so that a batch is one request."""
        return {"backend": "http", "endpoint": {"url": self.url, "model": "made-up", "concurrency": 1}}


def vector_of(text: str) -> list[float]:
    return [float(byte + 1) for byte in hashlib.blake2b(text.encode(), digest_size=DIMENSION).digest()]


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as serving:
        thread = threading.Thread(target=serving.serve_forever, args=(0.01,))
        thread.start()
        yield serving
        serving.shutdown()
        thread.join()


# ── a tenant, and a Runtime with another model ─────────────────────────────────────────────────────────────────


@pytest.fixture
def open_headrace(settings: Settings, app: Runtime, cache_folder: Path) -> Iterator[Callable[[Embedding], Runtime]]:
    """Opens a Runtime with this embedding model that shares the session's other heavy resources."""
    with ExitStack() as closing:

        def opened(embedding: Embedding) -> Runtime:
            own = {"embedding": embedding, "chunking": Chunking(max_tokens=40), "cache_dir": cache_folder}
            headrace = closing.enter_context(Runtime(settings.model_copy(update=own), app.endpoints))
            headrace.models.__dict__.update({name: getattr(app.models, name) for name in ("parsers", "redactor")})
            return headrace

        yield opened


Open = Callable[[Embedding], Runtime]


@pytest.fixture
def world(app: Runtime, acme: str) -> World:
    """A tenant for each test, not for the file: a tenant's first model stays its model."""
    return World(app, acme)


def put(inlet: Inlet, **texts: str) -> None:
    """Land these texts as documents, by name."""
    inlet.land(*[inlet.upsert(name, text, media_type="text/plain") for name, text in texts.items()])


def run(headrace: Runtime, tenant: str, *stages: str) -> dict[str, Report]:
    return {stage: headrace.run(tenant, stage) for stage in stages or STAGES}


def find(headrace: Runtime, tenant: str) -> list[Passage]:
    return list(search(headrace.readers, headrace.models.embedder, tenant, SearchRequest("rain falls", mode="vector", top=50)))


# ── the frame ────────────────────────────────────────────────────────────────────────────────────────────────


def texts_of(*texts: str) -> pl.DataFrame:
    return pl.DataFrame({"text_hash": [str(at) for at in range(len(texts))], "text": texts}, schema=dict(frames.TEXTS))


def test_each_hash_has_a_vector_or_a_reason(tiny: Embedder) -> None:
    texts = ["the mill", "rain " * 47, "wheel"]
    tally: Counter[str] = Counter()
    out = embed(texts_of(*texts), tiny, tally)
    assert out.schema == {
        "text_hash": pl.String,
        "embedding": pl.Array(pl.Float32, 32),
        "token_count": pl.Int64,
        "reason": pl.String,
        "detail": pl.String,
    }
    assert out["text_hash"].to_list() == ["0", "1", "2"]
    assert out["token_count"].to_list() == tiny.count_tokens(texts) == [4, 49, 3]
    assert out["reason"].to_list() == [None, "text-too-long", None]
    assert out["detail"][1].startswith("a text has 49 tokens, the model reads 48")
    assert out["embedding"].is_null().to_list() == [False, True, False]
    sound = out.filter(pl.col("reason").is_null())["embedding"].to_numpy()
    assert np.abs(sound - tiny.encode([texts[0], texts[2]], "passage")).max() < 1e-5
    assert (tally["embedded"], tally["tokens"]) == (2, 7)
    assert tally["padded_tokens"] >= 7
    assert tally["milliseconds"] > 0


def test_an_empty_frame_needs_no_model(tiny_files: Path, cache_folder: Path) -> None:
    embedder = load(of(tiny_files), cache_folder)
    out = embed(texts_of(), embedder, Counter())
    assert (out.height, out.schema["embedding"]) == (0, pl.Array(pl.Float32, 32))


def test_a_long_question_has_the_direction_of_its_parts(tiny: Embedder) -> None:
    parts = ["rain " * 40, "stone " * 40]
    mean = tiny.encode([part.strip() for part in parts], "query").mean(axis=0)
    [whole, short] = tiny.encode(["".join(parts), "rain"], "query")
    assert np.allclose(whole, mean / np.linalg.norm(mean), atol=1e-5)
    assert np.allclose(short, tiny.encode(["rain"], "query")[0], atol=1e-5)


@pytest.mark.parametrize("question", ["rain " * 47 * 16, "ra-" * 500], ids=["more parts", "one word"])
def test_a_question_that_is_too_long_for_its_parts_is_an_error_of_the_question(tiny: Embedder, question: str) -> None:
    with pytest.raises(DocumentError) as caught:
        tiny.encode(["rain", question], "query")
    assert caught.value.reason == "text-too-long"


def test_a_passage_is_never_embedded_in_parts(tiny: Embedder) -> None:
    with pytest.raises(DocumentError) as caught:
        tiny.encode(["rain " * 47], "passage")
    assert caught.value.reason == "text-too-long"


def test_a_chunk_limit_over_the_models_own_is_refused(tiny: Embedder) -> None:
    tiny.check_limit(48)
    with pytest.raises(ConfigurationError, match="at most the model's 48, was: 49"):
        tiny.check_limit(49)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"model": "/no/such/folder"}, "model-not-found"),
        ({"backend": "http", "endpoint": {"url": "http://bad host"}}, "bad-endpoint"),
    ],
)
def test_a_model_that_cannot_be_loaded_is_a_configuration_error(given: dict[str, Any], reason: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(Embedding.model_validate(given))
    assert caught.value.reason == reason


def over_http(server: Server, tiny_files: Path, cache_folder: Path) -> Embedder:
    return load(Embedding.model_validate({"model": str(tiny_files), **server.settings}), cache_folder)


@pytest.mark.parametrize(("status", "reason"), [(503, "unavailable"), (400, "endpoint-refused")])
@pytest.mark.parametrize("at", [0, 3, 6])
def test_a_text_on_which_the_server_always_fails_fails_alone(
    server: Server, tiny_files: Path, cache_folder: Path, status: int, reason: str, at: int
) -> None:
    server.answers = {"poison": status}
    texts = [f"rain {'poison ' * (n == at)}{n}" for n in range(7)]
    embedder = over_http(server, tiny_files, cache_folder)
    out = embed(texts_of(*texts), embedder, Counter())
    embedder.close()
    assert out["reason"].to_list() == [reason if n == at else None for n in range(7)]
    expected = np.array([vector_of(text) for text in texts])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert all(np.abs(np.array(row) - expected[n]).max() < 1e-6 for n, row in enumerate(out["embedding"].to_list()) if row is not None)
    assert not any("poison" in detail for detail in out["detail"].drop_nulls())


@pytest.mark.parametrize(("status", "kind"), [(503, Unavailable), (401, ConfigurationError)])
def test_a_server_that_fails_on_everything_fails_no_text(
    server: Server, tiny_files: Path, cache_folder: Path, status: int, kind: type[HeadraceError]
) -> None:
    embedder = over_http(server, tiny_files, cache_folder)
    assert embedder.dimension == DIMENSION
    server.answers = {"": status}
    with pytest.raises(kind):
        embed(texts_of("rain", "mill", "wheel"), embedder, Counter())
    embedder.close()


# ── the stage ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_text_that_fails_holds_up_its_documents_and_no_other(
    server: Server, tiny_files: Path, open_headrace: Open, world: World, inlet: Inlet
) -> None:
    server.answers = {"refused": 400, "away": 503}
    headrace = open_headrace(Embedding.model_validate({"model": str(tiny_files), **server.settings}))
    put(inlet, good="the old mill", bad="refused water", waits="rain is away", also_bad="refused water", more="the long race")
    reports = run(headrace, world.tenant)
    assert (reports["embed"].done, reports["embed"].failed, reports["embed"].waiting) == (2, 2, 1)
    assert reports["embed"].reasons == {"endpoint-refused": 2, "unavailable": 1}
    assert {passage.text for passage in find(headrace, world.tenant)} == {"the old mill", "the long race"}
    assert [letter["reason"] for letter in world.letters()] == ["endpoint-refused"] * 2
    assert not any(word in letter["detail"] for letter in world.letters() for word in ("refused water", "is away"))

    server.answers = {}
    world.rows("UPDATE stage_record SET next_attempt = now() WHERE status = 'waiting' RETURNING 1")
    retried = run(headrace, world.tenant, "embed", "index")
    assert (retried["embed"].done, retried["index"].done) == (1, 1)
    assert "rain is away" in {passage.text for passage in find(headrace, world.tenant)}


def test_while_its_server_is_away_the_stage_waits_and_nothing_becomes_a_dead_letter(
    server: Server, tiny_files: Path, open_headrace: Open, world: World, inlet: Inlet
) -> None:
    headrace = open_headrace(Embedding.model_validate({"model": str(tiny_files), **server.settings}))
    assert headrace.models.embedder.dimension == DIMENSION
    server.answers = {"": 503}
    put(inlet, one="the old mill", two="rain falls")
    report = run(headrace, world.tenant)["embed"]
    assert (report.moved, report.about) == (0, {})
    assert "127.0.0.1" in str(report.unavailable)
    assert world.letters() == []
    server.answers = {}
    assert run(headrace, world.tenant, "embed")["embed"].done == 2


def test_a_wrong_key_stops_the_stage_and_nothing_becomes_a_dead_letter(
    server: Server, tiny_files: Path, open_headrace: Open, world: World, inlet: Inlet
) -> None:
    headrace = open_headrace(Embedding.model_validate({"model": str(tiny_files), **server.settings}))
    assert headrace.models.embedder.dimension == DIMENSION
    server.answers = {"": 401}
    put(inlet, one="the old mill", two="rain falls")
    with pytest.raises(ConfigurationError) as caught:
        run(headrace, world.tenant)
    assert caught.value.reason == "endpoint-misconfigured"
    assert world.letters() == []


def test_a_run_reports_what_it_computed_and_with_what(tiny_files: Path, open_headrace: Open, world: World, inlet: Inlet) -> None:
    headrace = open_headrace(of(tiny_files))
    put(inlet, one="the old mill", two="rain falls", copy="rain falls")
    report = run(headrace, world.tenant)["embed"]
    assert (report.tally["texts"], report.tally["embedded"], report.tally["cache_hits"]) == (3, 2, 1)
    assert report.tally["tokens"] == sum(headrace.models.embedder.count_tokens(["the old mill", "rain falls"]))
    found = metadata.of_stage(report, headrace.stage_counts(world.tenant, "embed"))
    assert (found["embed/backend"], found["embed/device"], found["embed/precision"]) == ("torch", "cpu", "f32")
    assert found["embed/tokens_per_second"] > 0
    assert 0 <= found["embed/padding_share"] < 1
    assert found["embed/cache_hits"] == 1
    assert report.followed_by(Report("embed", world.tenant)).about["backend"] == "torch"


def test_no_model_is_loaded_if_every_text_is_cached(tiny_files: Path, open_headrace: Open, world: World, inlet: Inlet) -> None:
    put(inlet, one="the old mill")
    run(open_headrace(of(tiny_files)), world.tenant)
    inlet.land(inlet.upsert("copy", "the old mill", title="one"))
    headrace = open_headrace(of(tiny_files))
    report = run(headrace, world.tenant)["embed"]
    assert (report.done, report.tally["cache_hits"], report.tally["embedded"], report.about) == (1, 1, 0, {})
    assert headrace.models.embedder._embedder._loaded is None
    assert "embed/tokens_per_second" not in metadata.of_stage(report, headrace.stage_counts(world.tenant, "embed"))


def test_many_texts_are_embedded_and_stored_in_small_batches_and_each_once(
    server: Server, tiny_files: Path, open_headrace: Open, world: World, inlet: Inlet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "EMBED_TEXTS", 3)
    headrace = open_headrace(Embedding.model_validate({"model": str(tiny_files), **server.settings}))
    long = "\n\n".join(f"# Part {letter}\n\n" + f"rain {letter} " * 12 for letter in "abcdefgh")
    inlet.land(inlet.upsert("long", long, media_type="text/markdown"), *[inlet.upsert(f"s{n}", f"the mill {n}") for n in range(5)])
    run(headrace, world.tenant, *STAGES[:3])
    server.read.clear()
    seen: list[int] = []
    report = headrace.run(world.tenant, "embed", lambda so_far: seen.append(so_far.done))
    assert report.done == seen[-1] == 6
    assert len(seen) > 2
    assert report.tally["embedded"] == report.tally["texts"] > 8
    assert report.tally["texts"] + report.tally["contexts"] == len(world.rows("SELECT FROM embedding"))
    assert max(server.read.values()) == 1


@given(st.dictionaries(st.text("abc", min_size=1, max_size=2), st.integers(0, 9), max_size=9), st.integers(1, 12))
def test_a_batch_is_the_first_documents_that_fit_and_at_least_one(sizes: dict[str, int], limit: int) -> None:
    chunks = {document: (Chunk(0, "", "", 1),) * size for document, size in sizes.items()}
    rows: Sequence[Any] = [type("Row", (), {"document": document}) for document in sizes]
    taken = stage.first(chunks, rows, limit)
    assert list(taken) == list(sizes)[: len(taken)]
    assert bool(taken) == bool(sizes)
    assert len(taken) == 1 or sum(map(len, taken.values())) <= limit
    more = list(sizes)[: len(taken) + 1]
    assert taken.keys() == sizes.keys() or sum(sizes[document] for document in more) > limit


# ── one index, one model ─────────────────────────────────────────────────────────────────────────────────────


def change(files: Path) -> None:
    """Change the weights under the same name."""
    weights = files / "model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def test_a_changed_file_under_the_same_name_is_refused_and_the_index_stays_searchable(
    files: Path, open_headrace: Open, world: World, inlet: Inlet
) -> None:
    tenant, old = world.tenant, open_headrace(of(files))
    put(inlet, one="the old mill")
    run(old, tenant)
    original = (files / "model.safetensors").read_bytes()
    before = world.everything()

    change(files)
    changed = open_headrace(of(files))
    with pytest.raises(HeadraceError) as caught:
        run(changed, tenant, "embed")
    assert caught.value.reason == "model-changed"
    assert "embedding.revision" in caught.value.remedy
    with pytest.raises(HeadraceError, match="model-changed"):
        run(changed, tenant, "index")
    assert world.everything() == before
    with pytest.raises(HeadraceError, match="model-mismatch"):
        find(changed, tenant)
    assert [passage.text for passage in find(old, tenant)] == ["the old mill"]

    (files / "model.safetensors").write_bytes(original)
    restored = open_headrace(of(files))
    put(inlet, two="rain falls")
    run(restored, tenant)
    assert {passage.text for passage in find(restored, tenant)} == {"the old mill", "rain falls"}


def test_a_change_under_another_revision_gets_an_index_of_its_own(files: Path, open_headrace: Open, world: World, inlet: Inlet) -> None:
    tenant, old = world.tenant, open_headrace(of(files))
    put(inlet, one="the old mill", two="rain falls")
    run(old, tenant)
    change(files)
    revised = open_headrace(of(files, revision="2"))
    run(revised, tenant, "embed")
    assert len(find(old, tenant)) == 2
    run(revised, tenant, "index")
    assert len(find(revised, tenant)) == 2
    found = world.rows("SELECT model_name, model_revision, state FROM generation ORDER BY generation")
    assert [(row["model_revision"], row["state"]) for row in found] == [(None, "retired"), ("2", "active")]
    assert {row["model_name"] for row in found} == {str(files)}

    change(files)
    with pytest.raises(HeadraceError, match="at revision 2"):
        run(open_headrace(of(files, revision="2")), tenant)


def test_another_dimension_of_the_same_files_is_another_model(files: Path, open_headrace: Open, world: World, inlet: Inlet) -> None:
    put(inlet, one="the old mill")
    run(open_headrace(of(files)), world.tenant)
    shorter = open_headrace(of(files, dimension=16))
    run(shorter, world.tenant)
    assert [passage.text for passage in find(shorter, world.tenant)] == ["the old mill"]
    assert world.rows("SELECT dimension FROM generation WHERE state = 'active'") == [{"dimension": 16}]


def test_a_generation_without_a_model_name_is_accepted_and_gets_it_with_the_next_text(
    files: Path, open_headrace: Open, world: World, inlet: Inlet
) -> None:
    tenant, headrace = world.tenant, open_headrace(of(files))
    put(inlet, one="the old mill")
    run(headrace, tenant)
    world.rows("UPDATE generation SET model_name = NULL RETURNING 1")
    other = EmbeddingModel("0" * 32, str(files))
    with world.session.transaction() as connection:
        generations.refuse_changed(connection, other)
    put(inlet, two="rain falls")
    run(headrace, tenant, *STAGES[:4])
    assert world.rows("SELECT model_name FROM generation") == [{"model_name": str(files)}]
    with world.session.transaction() as connection, pytest.raises(HeadraceError):
        generations.refuse_changed(connection, other)


def test_a_delete_reaches_the_index_even_if_the_model_was_changed(files: Path, open_headrace: Open, world: World, inlet: Inlet) -> None:
    put(inlet, one="the old mill", two="rain falls")
    run(open_headrace(of(files)), world.tenant)
    inlet.land(inlet.delete("one"), inlet.delete("two"))
    change(files)
    run(open_headrace(of(files)), world.tenant, "embed", "index")
    assert world.rows("SELECT FROM chunk") == []


def test_the_doctor_gives_a_remedy_for_a_changed_model(files: Path, open_headrace: Open, world: World, inlet: Inlet) -> None:
    headrace = open_headrace(of(files))
    put(inlet, one="the old mill")
    run(headrace, world.tenant)
    change(files)
    given = headrace.settings.model_copy(update={"data_dir": world.app.settings.data_dir})
    # of this tenant; other tests' may have an index of another model
    (finding,) = [finding for finding in diagnose(given) if finding.what == "tenants' roles" and world.tenant in finding.found]
    assert not finding.well
    assert "embedding.revision" in finding.remedy
