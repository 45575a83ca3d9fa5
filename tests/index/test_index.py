"""The index: a reader sees a document's old version or its new one, each text is stored once, and nobody reads what they may not.

Vectors are derived from hashes (`Encoder`). The stages embed and index are as in `pipelines.stages`, over texts that are split at `|`.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event as Flag
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pgvector import HalfVector
from psycopg import sql

from core import artifacts
from core.errors import HeadraceError
from core.frames import Result
from core.ledger import ledger
from core.ledger.ledger import Entry, Stale, Step
from core.ledger.stage import Report, Session, Stage, run
from core.policy import Privacy
from core.principals import EVERYONE
from core.records import Chunk, EmbeddingModel, decode, encode
from core.sql import statements
from core.tenancy import Connection
from index import embeddings, generations, swap
from pipelines.app import Headrace
from pipelines.stages.inputs import Versioned
from retrieval import vector
from retrieval.access import Scope
from retrieval.filters import Filters
from retrieval.search import Passage, SearchRequest, search
from tests.tenant_fixture import FunctionStage, Inlet, World

pytestmark = pytest.mark.usefixtures("empty_world")

DIMENSION = 8
NAMES = ("a.md", "b.md", "c.md")
TO_INDEX = ("parse", "redact", "chunk", "embed", "index")
TEXTS = tuple(f"text {n}" for n in range(6))


@dataclass
class Encoder:
    """A model whose unit vectors are random, seeded with the text and the model's name."""

    identity: str = "model-1"
    dimension: int = DIMENSION
    meanwhile: Callable[[], Any] = lambda: None
    """Called during a search."""

    def encode(self, texts: Sequence[str], kind: Any = "passage") -> npt.NDArray[np.float32]:
        self.meanwhile()
        seeds = [int.from_bytes(hashlib.sha256(f"{self.identity} {text}".encode()).digest()[:8]) for text in texts]
        vectors = np.array([np.random.default_rng(seed).standard_normal(self.dimension) for seed in seeds], dtype=np.float32)
        unit: npt.NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


def text_hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def chunks(texts: Iterable[str]) -> tuple[Chunk, ...]:
    return tuple(Chunk(ordinal, text, text_hash(text), 2, page=ordinal + 1) for ordinal, text in enumerate(texts))


def version(name: str, texts: Iterable[str], acl: Sequence[str] = (EVERYONE,), title: str = "") -> swap.Version:
    return swap.Version(name, title, "", tuple(acl), chunks(texts))


@dataclass
class Library:
    """A tenant's index: written directly (`put`, `take_out`), or by the stages embed and index over what landed (`index`)."""

    world: World
    encoder: Encoder = field(default_factory=Encoder)
    chunker: str = "chunker-1"

    @property
    def fingerprint(self) -> str:
        return f"{self.chunker}.{self.encoder.identity}"

    def open(self, connection: Connection) -> int:
        model = EmbeddingModel(self.encoder.identity, name=self.encoder.identity)
        return generations.open_generation(connection, self.fingerprint, model, self.encoder.dimension)

    def keep(self, texts: Iterable[str]) -> None:
        distinct = sorted(set(texts))
        if distinct:
            with self.world.session.transaction() as connection:
                embeddings.keep(connection, self.encoder.identity, list(map(text_hash, distinct)), self.encoder.encode(distinct))

    def put(self, versions: Mapping[str, swap.Version]) -> list[str]:
        """Swap these versions in. Returns the names of the documents that lack a vector."""
        with self.world.session.transaction() as connection:
            keys = {self.world.key(name): name for name in versions}
            by_key = {key: versions[name] for key, name in keys.items()}
            return sorted(keys[key] for key in swap.swap(connection, self.open(connection), self.encoder.identity, by_key))

    def take_out(self, *names: str) -> None:
        with self.world.session.transaction() as connection:
            swap.remove(connection, [self.world.key(name) for name in names])

    def promote(self) -> bool:
        with self.world.session.transaction() as connection:
            return generations.promote(connection, self.fingerprint)

    def find(self, *principals: str, encoder: Encoder | None = None, top: int = 100) -> list[Passage]:
        encoder = encoder or self.encoder
        return list(search(self.world.app.readers, encoder, self.world.tenant, SearchRequest("a question", principals, "vector", top)))

    def found(self, *principals: str) -> dict[str, set[str]]:
        """Text → the names it is cited from."""
        return {passage.text: {citation.document for citation in passage.citations} for passage in self.find(*principals)}

    def index(self) -> list[Report]:
        return [run(stage, self.world.session) for stage in (self.embed_stage(), self.index_stage())]

    def embed_stage(self) -> Stage:
        def compute(session: Session, rows: Sequence[Stale], _: Counter[str]) -> list[Result]:
            texts = _texts(session, rows)
            self.keep(text for of_one in texts.values() for text in of_one)
            return [Result(row.document, encode(row.input_key)) for row in rows if row.document in texts]

        return FunctionStage(Step("embed", None, "content", self.encoder.identity), compute, lambda *_: ())

    def index_stage(self) -> Stage:
        def compute(session: Session, rows: Sequence[Stale], _: Counter[str]) -> list[Result]:
            texts, acls = _texts(session, rows), {row.document: row.acl for row in rows}
            names = {self.world.key(name): name for name in NAMES}
            return [Result(document, encode(version(names[document], of_one, acls[document]))) for document, of_one in texts.items()]

        def store(connection: Connection, _: Session, payloads: Mapping[str, bytes]) -> Sequence[str]:
            versions = {document: decode(payload, swap.Version) for document, payload in payloads.items()}
            return swap.swap(connection, self.open(connection), self.encoder.identity, versions)

        def remove(connection: Connection, _: Session, documents: Sequence[str]) -> Sequence[str]:
            swap.remove(connection, documents)
            return ()

        return FunctionStage(Step("index", "embed", "acl", self.fingerprint), compute, store, remove, revalidates=False)


def _texts(session: Session, rows: Sequence[Stale]) -> dict[str, list[str]]:
    with session.transaction() as connection:
        landed = artifacts.get(connection, session.keys, "land", [row.document for row in rows])
    return {document: content.decode().split("|") for document, content in landed.items()}


@pytest.fixture
def library(world: World) -> Library:
    return Library(world)


def landed(world: World, *names: str) -> None:
    inlet = world.inlet()
    inlet.land(*[inlet.upsert(name) for name in names])


# exact duplicates


@dataclass(frozen=True)
class Put:
    """Swap these documents' texts into the generation of this chunker, after storing vectors of `embedded`."""

    versions: dict[str, list[str]]
    embedded: frozenset[str]
    chunker: str


@dataclass(frozen=True)
class TakeOut:
    names: frozenset[str]


@dataclass(frozen=True)
class Sweep:
    pass


class Model:
    """The expected index: sources by (chunker, document), and the texts with a vector."""

    def __init__(self) -> None:
        self.sources: dict[tuple[str, str], list[str]] = {}
        self.vectors: set[str] = set()

    def chunks(self, chunker: str | None = None) -> set[str]:
        return {text for (of, _), texts in self.sources.items() if chunker in (None, of) for text in texts}

    def put(self, step: Put) -> list[str]:
        self.vectors |= step.embedded
        there = self.vectors | self.chunks(step.chunker)
        lacking = {name for name, texts in step.versions.items() if not there >= set(texts)}
        before = [self.sources.get((step.chunker, name), []) for name in step.versions if name not in lacking]
        self.sources |= {(step.chunker, name): texts for name, texts in step.versions.items() if name not in lacking}
        self._drop_unused(text for texts in before for text in texts)
        return sorted(lacking)

    def take_out(self, names: Iterable[str]) -> None:
        gone = [texts for (_, name), texts in self.sources.items() if name in names]
        self.sources = {place: texts for place, texts in self.sources.items() if place[1] not in names}
        self._drop_unused(text for texts in gone for text in texts)

    def _drop_unused(self, texts: Iterable[str]) -> None:
        self.vectors -= set(texts) - self.chunks()


SOME = st.lists(st.sampled_from(TEXTS), max_size=4)
PUTS = st.builds(
    Put,
    versions=st.dictionaries(st.sampled_from(NAMES), SOME, min_size=1),
    embedded=st.frozensets(st.sampled_from(TEXTS), min_size=3),
    chunker=st.sampled_from(["one", "one", "two"]),
)
STEPS = st.one_of(PUTS, PUTS, st.builds(TakeOut, st.frozensets(st.sampled_from(NAMES), min_size=1, max_size=2)), st.builds(Sweep))


def test_many_principals_of_many_chunks_are_no_more_than_a_statement_takes(library: Library) -> None:
    # 36 chunks with 8 MB of principals: once for each chunk, they would be more than the 256 MB that a jsonb holds
    principals = tuple(f"group {number} ".ljust(80_000, "x") for number in range(100))
    texts = [f"text {number}" for number in range(36)]
    landed(library.world, "a.md")
    library.keep(texts)
    assert library.put({"a.md": version("a.md", texts, principals)}) == []
    joined = "chunk_source JOIN indexed USING (generation, document) JOIN access_list ON number = access"
    assert library.world.rows(f"SELECT count(*) AS chunks, min(cardinality(principals)) AS principals FROM {joined}") == [
        {"chunks": 36, "principals": 100}
    ]


@given(st.lists(STEPS, min_size=1, max_size=9))
@settings(max_examples=50)
def test_each_text_is_stored_once_with_exactly_the_documents_that_contain_it(world: World, steps: list[Put | TakeOut | Sweep]) -> None:
    world.clear()
    landed(world, *NAMES)
    library, model = Library(world), Model()
    for step in steps:
        if isinstance(step, Put):
            library.chunker = step.chunker
            library.keep(step.embedded)
            assert library.put({name: version(name, texts) for name, texts in step.versions.items()}) == model.put(step)
        elif isinstance(step, TakeOut):
            library.take_out(*step.names)
            model.take_out(step.names)
        else:
            with world.session.transaction() as connection:
                swap.sweep(connection, 0.0)
            model.vectors &= model.chunks()
        _as_modelled(world, model)


def _as_modelled(world: World, model: Model) -> None:
    generation = "(SELECT fingerprint FROM generation g WHERE g.generation = t.generation) AS fingerprint"
    sources = world.rows(f"SELECT t.*, {generation} FROM chunk_source t")
    assert sorted((row["fingerprint"], row["document"], row["ordinal"], row["text_hash"], row["page"]) for row in sources) == sorted(
        (f"{chunker}.model-1", world.key(name), ordinal, text_hash(text), ordinal + 1)
        for (chunker, name), texts in model.sources.items()
        for ordinal, text in enumerate(texts)
    )
    stored = [(row["fingerprint"], row["text"]) for row in world.rows(f"SELECT t.text, {generation} FROM chunk t")]
    assert sorted(stored) == sorted((f"{chunker}.model-1", text) for chunker in ("one", "two") for text in model.chunks(chunker))
    listed = {(row["fingerprint"], row["name"]) for row in world.rows(f"SELECT t.name, {generation} FROM indexed t")}
    assert listed == {(f"{chunker}.model-1", name) for chunker, name in model.sources}
    assert {row["text_hash"] for row in world.rows("SELECT text_hash FROM embedding")} == set(map(text_hash, model.vectors))


def test_removing_one_source_leaves_the_others_copy(library: Library) -> None:
    landed(library.world, "a.md", "b.md")
    library.keep(TEXTS)
    library.put({"a.md": version("a.md", TEXTS[:2]), "b.md": version("b.md", TEXTS[1:3])})
    assert library.found()[TEXTS[1]] == {"a.md", "b.md"}
    library.take_out("a.md")
    assert library.found() == {TEXTS[1]: {"b.md"}, TEXTS[2]: {"b.md"}}


def test_swaps_at_the_same_time_lose_no_source_and_leave_no_orphan(library: Library) -> None:
    landed(library.world, "a.md", "b.md")

    def swap_repeatedly(name: str) -> None:
        for round_ in range(25):
            texts = TEXTS[round_ % 3 : round_ % 3 + 3]
            library.keep(texts)
            if library.put({name: version(name, texts)}):
                # the other document's swap took the vector with it in between
                library.keep(texts)
                library.put({name: version(name, texts)})
            if round_ % 5 == 4:
                library.take_out(name)
        library.keep(TEXTS)
        library.put({name: version(name, TEXTS[:2])})

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(swap_repeatedly, ("a.md", "b.md")))
    library.keep(TEXTS[:2])
    library.put({name: version(name, TEXTS[:2]) for name in ("a.md", "b.md")})
    assert library.found() == {text: {"a.md", "b.md"} for text in TEXTS[:2]}
    assert {row["text"] for row in library.world.rows("SELECT text FROM chunk")} == set(TEXTS[:2])


def test_two_workers_may_store_the_same_vectors_at_once(library: Library) -> None:
    hashes = [text_hash(f"passage {n}") for n in range(1500)]
    vectors = library.encoder.encode(hashes)

    def keep(order: int) -> None:
        with library.world.session.transaction() as connection:
            embeddings.keep(connection, "model-1", hashes[::order], vectors[::order])

    with ThreadPoolExecutor(2) as threads:
        list(threads.map(keep, (1, -1)))
    with library.world.session.transaction() as connection:
        assert embeddings.unknown(connection, "model-1", [*hashes, "another", "another"]) == ["another"]
        assert embeddings.unknown(connection, "model-2", hashes[:2]) == hashes[:2]


# the swap


def test_a_reader_always_sees_a_whole_version_the_old_one_or_the_new_one(library: Library) -> None:
    """The same holds for what a citation shows, and for another document that shares a passage."""
    shared = "shared by all"
    whole = {title: {f"{title} {n}" for n in range(5)} | {shared} for title in ("old", "new")}
    landed(library.world, "a.md", "b.md")
    library.keep({text for texts in whole.values() for text in texts})
    library.put({"a.md": version("a.md", sorted(whole["old"]), title="old"), "b.md": version("b.md", [shared])})
    done, seen = Flag(), Counter[str]()

    def read() -> None:
        while not done.is_set() or not seen:
            cited = {(p.text, c.title) for p in library.find() for c in p.citations if c.document == "a.md"}
            titles = {title for _, title in cited}
            assert len(titles) == 1, f"a mix of {len(titles)} versions"
            title = titles.pop()
            assert {text for text, _ in cited} == whole[title]
            seen[title] += 1

    with ThreadPoolExecutor(2) as threads:
        readers = [threads.submit(read) for _ in range(2)]
        try:
            for round_ in range(60):
                title = ("new", "old")[round_ % 2]
                library.keep(whole[title])
                assert not library.put({"a.md": version("a.md", sorted(whole[title]), title=title)})
        finally:
            done.set()
        for reader in readers:
            reader.result(30)
    assert set(seen) == {"old", "new"}


def test_nothing_of_a_swap_is_seen_before_its_commit(library: Library) -> None:
    landed(library.world, "a.md")
    library.keep(TEXTS)
    library.put({"a.md": version("a.md", TEXTS[:2])})
    with library.world.session.transaction() as connection:
        swap.swap(connection, library.open(connection), "model-1", {library.world.key("a.md"): version("a.md", TEXTS[2:4])})
        assert set(library.found()) == set(TEXTS[:2])
    assert set(library.found()) == set(TEXTS[2:4])


def test_a_missing_vector_keeps_the_old_version_and_makes_the_embedding_stale(library: Library, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "one|two"), inlet.upsert("b.md", "three"))
    library.index()
    inlet.land(inlet.upsert("a.md", "one|four"), inlet.upsert("b.md", "five"))
    run(library.embed_stage(), library.world.session)
    library.world.rows("DELETE FROM embedding WHERE text_hash = %(lost)s RETURNING 1", lost=text_hash("four"))
    report = run(library.index_stage(), library.world.session)
    assert (report.done, report.superseded) == (1, 1)
    assert library.found() == {"one": {"a.md"}, "two": {"a.md"}, "five": {"b.md"}}
    assert library.world.record("embed", "a.md")["status"] == "behind"
    assert [report.done for report in library.index()] == [1, 1]
    assert library.found() == {"one": {"a.md"}, "four": {"a.md"}, "five": {"b.md"}}


def test_a_document_without_chunks_is_listed_and_found_by_nothing(library: Library) -> None:
    landed(library.world, "a.md")
    library.keep(TEXTS)
    library.put({"a.md": version("a.md", TEXTS)})
    library.put({"a.md": version("a.md", [])})
    assert library.found() == {}
    assert [row["name"] for row in library.world.rows("SELECT name FROM indexed")] == ["a.md"]


def test_the_nearest_passage_comes_first_and_no_more_than_asked_for(library: Library) -> None:
    landed(library.world, "a.md")
    library.keep(TEXTS)
    library.put({"a.md": version("a.md", TEXTS)})
    question, passages = library.encoder.encode(["a question"])[0], library.encoder.encode(TEXTS)
    expected = sorted(zip((passages @ question).tolist(), TEXTS, strict=True), reverse=True)[:4]
    found = library.find(top=4)
    assert [passage.text for passage in found] == [text for _, text in expected]
    assert [passage.score for passage in found] == pytest.approx([score for score, _ in expected], abs=2e-3)
    assert {citation.page for passage in found for citation in passage.citations} <= set(range(1, 7))


def test_a_search_reads_each_chunk_and_source_once_without_statistics_of_the_tenant(library: Library) -> None:
    texts = [f"one of many: {n}" for n in range(400)]
    landed(library.world, "a.md", "b.md")
    library.keep(texts)
    library.put({"a.md": version("a.md", texts), "b.md": version("b.md", texts[::2])})
    with psycopg.connect(library.world.app.endpoints.postgres_owner.get_secret_value(), autocommit=True) as owner:
        owner.execute(
            "SELECT pg_clear_attribute_stats(%(home)s, c.relname, a.attname, false)"
            " FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid"
            " WHERE c.relnamespace = quote_ident(%(home)s)::regnamespace AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped",
            {"home": f"tenant_{library.world.tenant}"},
        )
        # nor of the tables' sizes, which an earlier test may have left behind: a new tenant has neither
        owner.execute(
            "SELECT pg_clear_relation_stats(%(home)s, c.relname) FROM pg_class c"
            " WHERE c.relnamespace = quote_ident(%(home)s)::regnamespace AND c.relkind IN ('r', 'i')",
            {"home": f"tenant_{library.world.tenant}"},
        )
    question = HalfVector(library.encoder.encode(["a question"])[0]).to_text()
    values: dict[str, Any] = {"vector": question, "readers": [EVERYONE], "look": 20, "lists": [], "top": 5}
    values["chunks"] = [text_hash(text) for text in texts[:20]]
    values["documents"] = [library.world.key("a.md")]
    steps = [("access", "lists"), ("access", "count"), ("access", "documents"), ("access", "passages_of"), ("citations", "cite")]
    with library.world.app.readers.tenant(library.world.tenant) as connection:
        active = vector.active_generation(connection, library.encoder.identity)
        assert active is not None
        values |= {"generation": active.generation, "most": 10}
        one, filtered = Scope(active.generation, [EVERYONE]), Scope(active.generation, [EVERYONE], Filters(path="/"))
        own: list[sql.Composable] = [one.statement(statements("retrieval", f"sql/{file}.sql")[name]) for file, name in steps]
        own += [sql.SQL(statements("retrieval", "sql/vector.sql")[name]) for name in ("cosines", "mean")]
        values |= {"sample": 256, "path": "/"}
        ways = [("exact", one), ("exact_of_few", one), ("exact_of_documents", one), ("exact_filtered", filtered)]
        for text in (*own, *(vector.statement(cast("vector.Plan", plan), active, within) for plan, within in ways)):
            query = sql.SQL("EXPLAIN (ANALYZE, FORMAT JSON) {}").format(text)
            [row] = connection.execute(query, values).fetchall()
            assert rows_seen(row["QUERY PLAN"][0]["Plan"]) < 5 * (400 + 600), text


def test_a_new_tenants_tables_get_statistics_before_autovacuum_runs(app: Headrace, acme: str) -> None:
    texts, library = [f"one of many: {n}" for n in range(600)], Library(World(app, acme))
    landed(library.world, "a.md")
    library.keep(texts)
    library.put({"a.md": version("a.md", texts)})
    with library.world.session.transaction() as connection:
        assert generations.lacks_statistics(connection)
        generations.learn_statistics(connection)
        assert not generations.lacks_statistics(connection)
    known = "SELECT relname FROM pg_class WHERE relnamespace = %(home)s::regnamespace AND reltuples = 600"
    assert {row["relname"] for row in library.world.rows(known, home=f'"tenant_{acme}"')} >= {"embedding", "chunk", "chunk_source"}


def rows_seen(node: Mapping[str, Any]) -> float:
    """The rows that a plan's node and all below it read in all loops, whether they were kept or filtered out."""
    own = sum(node.get(rows, 0) for rows in ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Join Filter"))
    return float(own * node["Actual Loops"] + sum(map(rows_seen, node.get("Plans", ()))))


# generations


def test_a_second_generation_is_built_beside_the_first_and_searched_only_when_it_is_complete(library: Library, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "one|two"), inlet.upsert("b.md", "three"))
    library.index()
    assert not library.promote(), "the first one is active already"
    second = Library(library.world, Encoder("model-2", 16), "chunker-2")
    run(second.embed_stage(), library.world.session)
    only = [library.world.key("a.md")]
    assert run(second.index_stage(), library.world.session, only=only).done == 1
    assert not second.promote()
    assert set(library.found()) == {"one", "two", "three"}
    assert run(second.index_stage(), library.world.session).done == 1
    assert set(library.found()) == {"one", "two", "three"}
    assert second.promote()
    assert set(second.found()) == {"one", "two", "three"}
    states = {row["fingerprint"]: row["state"] for row in library.world.rows("SELECT * FROM generation")}
    assert states == {library.fingerprint: "retired", second.fingerprint: "active"}
    assert {row["generation"] for row in library.world.rows("SELECT generation FROM chunk UNION SELECT generation FROM indexed")} == {
        row["generation"] for row in library.world.rows("SELECT generation FROM generation WHERE state = 'active'")
    }
    assert not second.promote()


def test_a_search_with_another_model_than_the_indexs_is_refused(library: Library, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "one"))
    library.index()
    with pytest.raises(HeadraceError) as refusal:
        library.find(encoder=Encoder("model-2"))
    assert refusal.value.reason == "model-mismatch"


def test_vectors_of_two_models_are_never_compared_though_a_promotion_happens_during_a_search(library: Library, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "one"))
    library.index()
    second = Library(library.world, Encoder("model-2"))
    second.index()
    with pytest.raises(HeadraceError) as refusal:
        library.find(encoder=Encoder(meanwhile=second.promote))
    assert refusal.value.reason == "model-mismatch"


def test_a_generation_can_be_switched_back(library: Library, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "one|two"))
    library.index()
    second = Library(library.world, Encoder("model-2", 16))
    second.index()
    second.promote()
    library.index()
    assert library.promote()
    assert set(library.found()) == {"one", "two"}


@pytest.mark.parametrize(
    ("stage", "status", "promoted"),
    [
        ("parse", "failed", True),
        ("parse", "waiting", False),
        ("project", "failed", False),
        ("project", "waiting", False),
    ],
)
def test_a_generation_waits_for_documents_that_will_be_retried_and_for_no_others(
    library: Library, inlet: Inlet, stage: str, status: Any, promoted: bool
) -> None:
    inlet.land(inlet.upsert("a.md", "one"), inlet.upsert("b.md", "two"))
    library.index()
    second = Library(library.world, Encoder("model-2"))
    only = [library.world.key("a.md")]
    for built in (second.embed_stage(), second.index_stage()):
        run(built, library.world.session, only=only)
    with library.world.session.transaction() as connection:
        entry = Entry(library.world.key("b.md"), "", status, attempts=1, retry_in_s=60 if status == "waiting" else None, reason="away")
        ledger.record(connection, Step(stage, None, None, ""), [entry])
    assert second.promote() == promoted


def test_a_deleted_document_leaves_every_generation(library: Library, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "one|shared"), inlet.upsert("b.md", "shared"))
    library.index()
    second = Library(library.world, Encoder("model-2"))
    second.index()
    inlet.land(inlet.delete("a.md"))
    second.index()
    assert {row["document"] for row in library.world.rows("SELECT document FROM chunk_source UNION SELECT document FROM indexed")} == {
        library.world.key("b.md")
    }
    assert {row["text"] for row in library.world.rows("SELECT text FROM chunk")} == {"shared"}
    assert {row["text_hash"] for row in library.world.rows("SELECT text_hash FROM embedding")} == {text_hash("shared")}
    assert library.found() == {"shared": {"b.md"}}


# the index and the graph read more of a document than its chunks


def test_a_title_that_is_redacted_again_reaches_the_index_though_no_chunk_changes(app: Headrace, library: Library, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "# Guide\n\nGrease the bearing.\n", title="A letter from Angela Merkel to Barack Obama"))
    for stage in TO_INDEX:
        app.run(library.world.tenant, stage)
    assert "Merkel" in _title(library)
    stricter = app.settings.model_copy(update={"privacy": Privacy(profile="names", names_model="en_core_web_sm")})
    with Headrace(stricter, app.endpoints) as other:
        assert other.run(library.world.tenant, "redact").done == 1
    reports = {stage: app.run(library.world.tenant, stage) for stage in ("chunk", "embed", "index")}
    assert (reports["index"].done, reports["embed"].tally["embedded"]) == (1, 0)
    assert "Merkel" not in _title(library)


def _title(library: Library) -> str:
    return str(library.world.rows("SELECT title FROM indexed")[0]["title"])


def test_a_link_that_points_elsewhere_reaches_the_graph_though_no_chunk_changes(app: Headrace, library: Library, inlet: Inlet) -> None:
    def targets(page: str) -> list[str]:
        inlet.land(inlet.upsert("a.md", f"# Guide\n\nRead the [manual](https://wiki.example/{page}) first.\n", media_type="text/markdown"))
        for stage in (*TO_INDEX, "graph"):
            app.run(library.world.tenant, stage)
        contribution = decode(library.world.artifact("graph", "a.md") or b"", Versioned).contribution
        return [relation.target for relation in contribution.relations] if contribution else []

    assert (targets("one"), targets("two")) == (["URL:https://wiki.example/one"], ["URL:https://wiki.example/two"])


# who may read

ACLS = st.lists(st.sampled_from(["jo", "kim", "group:hr", EVERYONE]), max_size=3, unique=True)
CALLERS = st.frozensets(st.sampled_from(["jo", "kim", "group:hr", "nobody", EVERYONE]), max_size=3)


def may_read(acl: Iterable[str], principals: Iterable[str]) -> bool:
    return bool({*acl} & {*principals, EVERYONE})


@given(st.dictionaries(st.sampled_from(NAMES), st.tuples(SOME, ACLS), min_size=1), st.lists(CALLERS, min_size=1, max_size=4))
@settings(max_examples=35)
def test_a_passage_is_found_if_one_of_its_sources_may_be_read_and_only_those_are_cited(
    world: World, documents: dict[str, tuple[list[str], list[str]]], callers: list[frozenset[str]]
) -> None:
    world.clear()
    landed(world, *documents)
    library = Library(world)
    library.keep(TEXTS)
    library.put({name: version(name, texts, acl) for name, (texts, acl) in documents.items()})
    for principals in callers:
        expected: dict[str, set[str]] = {}
        for name, (texts, acl) in documents.items():
            for text in texts if may_read(acl, principals) else ():
                expected.setdefault(text, set()).add(name)
        assert library.found(*principals) == expected


@given(st.lists(st.tuples(ACLS, st.booleans()), min_size=2, max_size=5))
@settings(max_examples=20)
def test_access_that_a_landing_revokes_ends_at_once_and_access_that_it_grants_starts_with_the_swap(
    world: World, changes: list[tuple[list[str], bool]]
) -> None:
    world.clear()
    library, inlet = Library(world), world.inlet()
    inlet.land(inlet.upsert("b.md", "shared", acl=["kim"]))
    readable: set[str] = set()
    for acl, runs in changes:
        inlet.land(inlet.upsert("a.md", "shared", acl=acl))
        readable = {principal for principal in readable if may_read(acl, [principal])}
        if runs:
            library.index()
            readable = {principal for principal in ("jo", "kim", "group:hr", "guest") if may_read(acl, [principal])}
        readers = {principal for principal in ("jo", "kim", "group:hr", "guest") if "a.md" in library.found(principal).get("shared", ())}
        assert readers == readable
    library.index()
    assert "b.md" in library.found("kim")["shared"], "the other source keeps its own readers"


def test_a_landed_delete_hides_the_document_at_once(library: Library, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "one|shared"), inlet.upsert("b.md", "shared"))
    library.index()
    inlet.land(inlet.delete("a.md"))
    assert library.found() == {"shared": {"b.md"}}
    inlet.land(inlet.upsert("a.md", "one|shared"))
    assert library.found() == {"shared": {"b.md"}}, "until the swap"
    library.index()
    assert library.found() == {"one": {"a.md"}, "shared": {"a.md", "b.md"}}


def test_a_null_value_hides_the_document_at_once(library: Library, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "one"))
    library.index()
    inlet.land(inlet.null("a.md"))
    assert library.found() == {}


def test_content_that_lands_with_wider_access_does_not_open_the_old_version(library: Library, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "secret", acl=["jo"]))
    library.index()
    inlet.land(inlet.upsert("a.md", "public", acl=[EVERYONE]))
    run(library.index_stage(), library.world.session)
    assert library.found() == {}
    assert library.found("jo") == {"secret": {"a.md"}}
    library.index()
    assert library.found() == {"public": {"a.md"}}


def test_a_tenant_with_nothing_indexed_finds_nothing(library: Library) -> None:
    assert library.find() == []


def test_access_that_is_narrowed_during_a_swap_stays_narrowed(library: Library, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "one", acl=["jo", "kim"]))
    run(library.embed_stage(), library.world.session)
    stage = library.index_stage()

    def compute(session: Session, rows: Sequence[Stale], tally: Counter[str]) -> Sequence[Result]:
        result = stage.compute(session, rows, tally)
        if "kim" in rows[0].acl:
            inlet.land(inlet.upsert("a.md", "one", acl=["jo"]))
        return result

    racing = FunctionStage(stage.step, compute, stage.store, stage.remove, revalidates=False)
    assert run(racing, library.world.session).superseded == 1
    library.index()
    assert (library.found("kim"), library.found("jo")) == ({}, {"one": {"a.md"}})
