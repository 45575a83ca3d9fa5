"""The HNSW index of a large generation: built beside reads and writes, used, resumed after a kill, and gone with its generation."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import get_args

import psycopg
import pytest
from pgvector import HalfVector
from psycopg import sql

from core.errors import Unavailable
from core.principals import EVERYONE
from index import vector_index
from pipelines import maintenance
from pipelines.operations import checks
from retrieval import vector
from retrieval.access import Scope
from retrieval.filters import Filters
from tests.faults.harness import eventually
from tests.index.test_index import Library, landed, text_hash, version
from tests.tenant_fixture import World

pytestmark = pytest.mark.usefixtures("empty_world")

TEXTS = [text_hash(f"one of many: {n}") for n in range(300)]  # no two of them are nearly alike


@pytest.fixture
def library(world: World, monkeypatch: pytest.MonkeyPatch) -> Iterator[Library]:
    monkeypatch.setattr(vector_index, "NEEDED_FROM", 300)
    library = Library(world)
    landed(world, "a.md", "b.md")
    library.keep(TEXTS)
    library.put({"a.md": version("a.md", TEXTS[:200]), "b.md": version("b.md", TEXTS[150:], ["jo"])})
    yield library
    for row in world.rows("SELECT generation FROM generation"):
        vector_index.drop(owner_url(library), world.tenant, row["generation"])


def owner_url(library: Library) -> str:
    return library.world.app.endpoints.postgres_owner.get_secret_value()


def build(library: Library) -> int:
    with library.world.session.transaction() as connection:
        [(generation, dimension)] = vector_index.wanting(connection).items()
    state = vector_index.build(owner_url(library), library.world.tenant, generation, dimension)
    with library.world.session.transaction() as connection:
        vector_index.record(connection, generation, state)
        assert vector_index.wanting(connection) == {}
    return generation


def indexes(library: Library) -> list[tuple[str, bool]]:
    query = """SELECT c.relname, i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
        WHERE c.relname ~ '^hnsw_' AND c.relnamespace = %s::regnamespace ORDER BY 1"""
    with psycopg.connect(owner_url(library)) as owner:
        return owner.execute(query, (f'"tenant_{library.world.tenant}"',)).fetchall()


def ranked(library: Library, plan: vector.Plan, *principals: str, look: int = 10) -> dict[str, float]:
    asked = HalfVector(library.encoder.encode(["a question"])[0]).to_text()
    with library.world.app.readers.snapshot(library.world.tenant) as connection:
        generation = vector.active_generation(connection, library.encoder.identity)
        assert generation
        return vector.ranked(connection, plan, generation, asked, Scope(generation.generation, [*principals, EVERYONE]), look)


def test_a_small_generation_wants_no_index(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vector_index, "NEEDED_FROM", 301)
    with library.world.session.transaction() as connection:
        assert vector_index.wanting(connection) == {}


def test_a_large_generation_gets_an_index_and_it_is_used(library: Library) -> None:
    generation = build(library)
    assert indexes(library) == [(f"hnsw_{generation}", True)]
    [row] = library.world.rows("SELECT vector_index FROM generation")
    assert row["vector_index"].items() >= {"state": "ready", "m": 16, "ef_construction": 200, "done": 1.0}.items()
    with library.world.app.readers.tenant(library.world.tenant) as connection:
        connection.execute("SET LOCAL enable_sort = off")  # 300 chunks are sorted sooner than an index is opened
        active = vector.active_generation(connection, library.encoder.identity)
        assert active is not None
        assert active.indexed
        within = Scope(active.generation, [EVERYONE])
        vector.ranked(connection, "indexed", active, str([0.0] * active.dimension), within, 1)  # sets how to search
        statement = sql.SQL("EXPLAIN ") + vector.statement("indexed", active, within)
        values = {"readers": [EVERYONE], "look": 10, "vector": str([0.0] * active.dimension)}
        plan = "\n".join(row["QUERY PLAN"] for row in connection.execute(statement, values))
    assert f"Index Scan using hnsw_{generation}" in plan


@pytest.mark.parametrize("principals", [(), ("jo",)])
def test_answers_by_the_index_are_those_of_comparing_every_chunk(library: Library, principals: tuple[str, ...]) -> None:
    build(library)
    assert ranked(library, "indexed", *principals) == pytest.approx(ranked(library, "exact", *principals))


def test_a_search_by_the_index_finds_what_an_exact_one_finds(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    before = library.find(top=20)
    build(library)
    monkeypatch.setattr("retrieval.access.FEW_PASSAGES", 10)  # as if there were more than are compared one by one
    assert library.find(top=20) == before
    assert len(library.find(top=1000)) == 200
    assert len(library.find("jo", top=1000)) == 300


def test_a_search_that_the_index_gives_up_compares_every_chunk(library: Library, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("retrieval.access.FEW_PASSAGES", 10)
    before = library.find(top=60)
    build(library)
    monkeypatch.setattr(vector, "MOST_SCANNED", 1)
    assert library.find(top=60) == before


def test_a_build_that_was_cut_off_is_begun_again(library: Library) -> None:
    """It waits for a transaction that writes; there its backend is ended, as by a kill of its process."""
    with library.world.session.transaction() as connection:
        [(generation, dimension)] = vector_index.wanting(connection).items()
    with ThreadPoolExecutor(1) as threads:
        with library.world.session.transaction() as writing:
            writing.execute("UPDATE chunk SET token_count = token_count WHERE text_hash = (SELECT min(text_hash) FROM chunk)")
            building = threads.submit(vector_index.build, owner_url(library), library.world.tenant, generation, dimension)
            with psycopg.connect(owner_url(library), autocommit=True) as owner:
                ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_progress_create_index WHERE phase ~ 'waiting for writers'"
                eventually(lambda: owner.execute(ended).fetchall() == [(True,)], "the build never waited for a writer")
        with pytest.raises(Unavailable):
            building.result(30)
    assert indexes(library) == [(f"hnsw_{generation}", False)]
    with library.world.session.transaction() as connection:
        vector_index.record(connection, generation, {"state": "building", "done": 0.4})
    assert build(library) == generation
    assert indexes(library) == [(f"hnsw_{generation}", True)]


def test_of_two_builders_one_gives_up(library: Library) -> None:
    generation = build(library)
    home = sql.Identifier(f"tenant_{library.world.tenant}")
    with psycopg.connect(owner_url(library)) as other:
        other.execute(sql.SQL("LOCK TABLE {}.chunk IN SHARE UPDATE EXCLUSIVE MODE").format(home))
        assert vector_index.build(owner_url(library), library.world.tenant, generation, 8) is None
        assert not vector_index.drop(owner_url(library), library.world.tenant, generation)
    assert indexes(library) == [(f"hnsw_{generation}", True)]


def test_maintenance_builds_the_index_records_it_and_drops_it(library: Library) -> None:
    app, session = library.world.app, library.world.session
    assert "vector-index" in maintenance.due(app, session)
    assert maintenance.run_due(app, session)["vector-index"] == {"built": 1, "dropped": 0}
    assert [row["vector_index"]["state"] for row in library.world.rows("SELECT vector_index FROM generation")] == ["ready"]
    assert "vector-index" not in maintenance.due(app, session)
    with session.transaction() as connection:
        connection.execute("UPDATE generation SET state = 'retired'")
    assert maintenance.run_due(app, session)["vector-index"] == {"built": 0, "dropped": 1}
    assert indexes(library) == []
    assert "vector-index" not in maintenance.due(app, session)


def test_the_recall_of_an_index_is_checked_and_an_exact_search_has_none(library: Library) -> None:
    checked = checks.check(library.world.app, library.world.tenant, "vector_recall")
    assert (checked.passed, checked.measured) == (True, {"questions": 0})
    maintenance.run_due(library.world.app, library.world.session)
    checked = checks.check(library.world.app, library.world.tenant, "vector_recall")
    assert (checked.passed, checked.measured) == (True, {"questions": 30, "recall_at_10": 1.0, "lowest": 1.0})


def test_a_slow_task_is_started_and_not_waited_for(library: Library) -> None:
    started: list[str] = []
    done = maintenance.run_due(library.world.app, library.world.session, start=lambda task: started.append(task.name))
    assert started == ["vector-index"]
    assert "vector-index" not in done


def test_an_index_goes_with_its_generation(library: Library) -> None:
    generation = build(library)
    with library.world.session.transaction() as connection:
        assert vector_index.unused(connection) == []
        connection.execute("UPDATE generation SET state = 'retired'")
        assert vector_index.unused(connection) == [generation]
    assert vector_index.drop(owner_url(library), library.world.tenant, generation)
    assert indexes(library) == []


def test_a_dimension_that_no_index_takes_is_searched_exactly(library: Library) -> None:
    with library.world.session.transaction() as connection:
        connection.execute("UPDATE generation SET dimension = 4001")
        assert vector_index.wanting(connection) == {}


def test_the_statements_of_a_search_differ_by_generation(library: Library) -> None:
    """A prepared statement keeps its plan: a text must never serve two plans."""
    with library.world.app.readers.tenant(library.world.tenant) as connection:
        active = vector.active_generation(connection, library.encoder.identity)
    assert active is not None
    scopes = [Scope(active.generation, [EVERYONE], filters) for filters in (Filters(), Filters(path="/"), Filters(sources=("/wiki",)))]
    texts = {vector.statement(plan, active, within).as_string(None) for plan in get_args(vector.Plan) for within in scopes}
    assert len(texts) == 11, "two read whatever passes, of which the filters are known"
    assert all(f"generation = {active.generation}" in text for text in texts)
