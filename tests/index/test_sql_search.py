"""`search` and `passage` in a tenant's schema: the answers of a hybrid search, to a login that has nothing but SQL."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pgvector import HalfVector

from core.principals import EVERYONE
from retrieval.filters import Filters
from retrieval.search import SearchRequest
from tests.index.test_hybrid import DOCUMENTS, MODES, QUERIES, READERS, TEXTS, Document, ask, by_hand, library, simple
from tests.index.test_index import Library
from tests.tenant_fixture import World

pytestmark = pytest.mark.usefixtures("empty_world")


def select(world: World, query: str, **values: Any) -> list[dict[str, Any]]:
    with world.app.readers.tenant(world.tenant) as connection:
        return connection.execute(query, values).fetchall()


def in_sql(found: Library, asked: SearchRequest) -> list[dict[str, Any]]:
    vector = None if asked.mode == "lexical" else HalfVector(found.encoder.encode([asked.query])[0]).to_text()
    text = None if asked.mode == "vector" else asked.query
    query = "SELECT * FROM search(%(vector)s::halfvec, %(text)s, %(principals)s, %(top)s)"
    return select(found.world, query, vector=vector, text=text, principals=list(asked.principals), top=asked.top)


@given(DOCUMENTS, READERS, MODES, st.sampled_from(QUERIES))
@settings(max_examples=40)
def test_answers_are_those_of_scoring_every_passage_that_may_be_read(
    world: World, documents: dict[str, Document], readers: tuple[str, ...], mode: Any, query: str
) -> None:
    found = library(world, documents)
    asked = SearchRequest(query, readers, mode, 100, Filters())
    rows, expected = in_sql(found, asked), by_hand(found, documents, asked)
    assert {row["text"]: {cited["document"] for cited in row["documents"]} for row in rows} == {
        text: names for text, (_, names) in expected.items()
    }
    for row in rows:
        assert row["score"] == pytest.approx(expected[row["text"]][0], abs=4e-3)
    assert [(-row["score"], row["chunk"]) for row in rows] == sorted((-row["score"], row["chunk"]) for row in rows)


@pytest.mark.parametrize("name", ["CVE-2024-3094", "wg-quick", "bm25/okapi", "IL-2", "E-1234", "/etc/hosts", "C++", "東京都"])
def test_a_name_finds_its_passage_as_in_a_search(world: World, name: str) -> None:
    found = simple(world, f"what {name} is for", *TEXTS[:3])
    query = f"about {name}, please"
    [first, *_] = in_sql(found, SearchRequest(query, mode="lexical"))
    assert first["chunk"] == ask(found, query, mode="lexical").passages[0].chunk
    assert name in first["text"]


def test_pruned_and_indexed_searches_find_what_an_unpruned_one_does(world: World) -> None:
    found = simple(world, *TEXTS[:5])
    [state] = world.rows("SELECT generation, dimension FROM generation WHERE state = 'active'")
    before = in_sql(found, SearchRequest("pump seal valve"))
    owner = world.app.endpoints.postgres_owner.get_secret_value()
    with psycopg.connect(owner, autocommit=True) as connection:
        home = psycopg.sql.Identifier(f"tenant_{world.tenant}")
        connection.execute(
            psycopg.sql.SQL(
                "CREATE INDEX hnsw_test ON {}.chunk USING hnsw ((embedding::halfvec({})) halfvec_cosine_ops) WHERE generation = {}"
            ).format(home, psycopg.sql.Literal(state["dimension"]), psycopg.sql.Literal(state["generation"]))
        )
        world.rows("UPDATE generation SET vector_index = '{\"state\": \"ready\"}' WHERE state = 'active' RETURNING 1")
        try:
            assert in_sql(found, SearchRequest("pump seal valve")) == before
        finally:
            connection.execute(psycopg.sql.SQL("DROP INDEX {}.hnsw_test").format(home))


@pytest.mark.parametrize(
    ("reason", "arguments"),
    [
        ("bad-query", "NULL, '  ', '{}'"),
        ("bad-top", "NULL, 'pump', '{}', 0"),
        ("bad-top", "NULL, 'pump', '{}', 101"),
        ("bad-option", "NULL, 'pump', '{}', 5, 2"),
        ("model-mismatch", "'[1,0]'::halfvec, 'pump', '{}'"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_its_reason(world: World, reason: str, arguments: str) -> None:
    simple(world)
    with world.app.readers.tenant(world.tenant) as connection, pytest.raises(psycopg.errors.InvalidParameterValue, match=reason):
        connection.execute(psycopg.sql.SQL(f"SELECT * FROM search({arguments})"))


def test_nobody_is_no_principal_and_no_index_is_no_answer(world: World) -> None:
    Library(world)
    assert select(world, "SELECT * FROM search(NULL, 'pump', '{}')") == []
    found = library(world, {"a.md": Document((TEXTS[0],), ("group:hr",))})
    assert select(world, "SELECT * FROM search(NULL, 'pump', NULL)") == []
    assert select(world, "SELECT * FROM search(NULL, 'pump', '{}')") == []
    assert len(select(world, "SELECT * FROM search(NULL, 'pump', '{group:hr}')")) == 1
    assert found.find("group:hr")


@pytest.mark.parametrize("text", ["'; DROP TABLE chunk; --", "\\", "a & b | !c <-> d:*", "☃" * 5000, "%s %(a)s {0}", "' | '", "'''"])
def test_a_text_is_a_text_whatever_it_says(world: World, text: str) -> None:
    simple(world)
    assert isinstance(select(world, "SELECT * FROM search(NULL, %(text)s, '{}')", text=text or " "), list)


def test_the_view_has_every_passage_with_its_sources_and_who_may_read_them(world: World) -> None:
    library(world, {"a.md": Document((TEXTS[0], TEXTS[1]), ("group:hr",)), "b.md": Document((TEXTS[0],))})
    rows = select(world, "SELECT text, document, ordinal, principals FROM passage ORDER BY document, ordinal")
    assert [(row["text"], row["document"], row["ordinal"], row["principals"]) for row in rows] == [
        (TEXTS[0], "a.md", 0, ["group:hr"]),
        (TEXTS[1], "a.md", 1, ["group:hr"]),
        (TEXTS[0], "b.md", 0, [EVERYONE]),
    ]
