"""What a document is called counts in the vectors and terms of its passages, as a function of the sources that remain."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.principals import EVERYONE
from core.records import Chunk, EmbeddingModel, document_context, text_hash
from index import embeddings, generations, swap
from retrieval.search import SearchRequest, search
from tests.index.test_index import Encoder, landed
from tests.tenant_fixture import World

pytestmark = pytest.mark.usefixtures("empty_world")

DIMENSION = 8
NAMES = tuple(f"{n}.md" for n in range(6))
PUTS = st.tuples(
    st.sampled_from(NAMES),
    st.lists(st.sampled_from(["pump", "seal", "valve"]), min_size=1, max_size=3).map(tuple),
    st.sampled_from(["", "Aldermere 2022", "Borealis 2021", "Castlegate", "Dunmore", "Eastwick"]),
    st.sampled_from([(EVERYONE,), (EVERYONE,), ("group:a",)]),
)
Put = tuple[str, tuple[str, ...], str, tuple[str, ...]]


def vector(text: str) -> npt.NDArray[np.float32]:
    made = np.random.default_rng(int(text_hash(text)[:8], 16)).standard_normal(DIMENSION).astype(np.float32)
    return made / np.linalg.norm(made)


def put(world: World, step: Put) -> list[str]:
    name, texts, context, acl = step
    chunks = tuple(Chunk(n, text, text_hash(text), 1) for n, text in enumerate(texts))
    with world.session.transaction() as connection:
        generation = generations.open_generation(connection, "f", EmbeddingModel("m", name="m"), DIMENSION)
        every = sorted({*texts, *([context] if context else [])})
        embeddings.keep(connection, "m", [text_hash(text) for text in every], np.stack([vector(text) for text in every]))
        return swap.swap(connection, generation, "m", {world.key(name): swap.Version(name, context, "", acl, chunks, "en", context)})


def expected(text: str, sources: list[tuple[str, tuple[str, ...]]]) -> npt.NDArray[np.float32]:
    contexts = {context for context, _ in sources} - {""}
    one_list = len({acl for _, acl in sources}) == 1
    if not contexts or not one_list or len({context for context, _ in sources}) > swap.MOST_CONTEXTS:
        return vector(text)
    mixed = vector(text) + np.mean([vector(context) for context in contexts], axis=0)
    return mixed / np.linalg.norm(mixed)  # type: ignore[no-any-return]


@given(st.lists(st.one_of(PUTS, PUTS, PUTS, st.sampled_from(NAMES)), min_size=1, max_size=10))
@settings(max_examples=60)
def test_a_vector_is_that_of_the_text_and_the_contexts_of_the_sources_that_remain(world: World, steps: list[Put | str]) -> None:
    world.clear()
    landed(world, *NAMES)
    there: dict[str, Put] = {}
    for step in steps:
        if isinstance(step, str):
            there.pop(step, None)
            with world.session.transaction() as connection:
                swap.remove(connection, [world.key(step)])
        else:
            there[step[0]] = step
            assert put(world, step) == []
    sources: dict[str, list[tuple[str, tuple[str, ...]]]] = {}
    for _, texts, context, acl in there.values():
        for text in texts:
            sources.setdefault(text, []).append((context, acl))
    found = {row["text"]: np.array(row["vector"]) for row in world.rows("SELECT text, embedding::real[] AS vector FROM chunk")}
    assert found.keys() == sources.keys()
    for text, own in found.items():
        assert own == pytest.approx(expected(text, sources[text]), abs=4e-3), text
    # and what no document is called and no passage says is not kept
    kept = {row["text_hash"] for row in world.rows("SELECT text_hash FROM embedding")}
    assert kept == {text_hash(one) for one in (*sources, *(step[2] for step in there.values() if step[2]))}


def lexical(world: World, query: str, *principals: str) -> set[str]:
    asked = SearchRequest(query, principals, "lexical")
    return {one.text for one in search(world.app.readers, Encoder(), world.tenant, asked)}


def test_a_passage_is_found_by_what_its_document_is_called_until_it_is_called_otherwise(world: World) -> None:
    landed(world, *NAMES)
    put(world, ("0.md", ("pump",), "Aldermere 2022", (EVERYONE,)))
    assert lexical(world, "aldermere") == {"pump"}
    put(world, ("0.md", ("pump",), "Borealis 2021", (EVERYONE,)))
    assert (lexical(world, "aldermere"), lexical(world, "borealis"), lexical(world, "pump")) == (set(), {"pump"}, {"pump"})


def test_what_a_document_is_called_is_never_found_by_who_may_not_read_it(world: World) -> None:
    landed(world, *NAMES)
    put(world, ("0.md", ("pump",), "Aldermere 2022", (EVERYONE,)))
    put(world, ("1.md", ("pump",), "Borealis 2021", ("group:a",)))
    assert (lexical(world, "borealis"), lexical(world, "aldermere"), lexical(world, "pump")) == (set(), set(), {"pump"})
    with world.session.transaction() as connection:
        swap.remove(connection, [world.key("0.md")])
    assert (lexical(world, "borealis"), lexical(world, "borealis", "group:a")) == (set(), {"pump"})


def test_a_context_without_a_vector_is_embedded_first(world: World) -> None:
    landed(world, *NAMES)
    put(world, ("0.md", ("pump",), "", (EVERYONE,)))
    chunk = Chunk(0, "pump", text_hash("pump"), 1)
    version = swap.Version("0.md", "T", "", (EVERYONE,), (chunk,), "en", "T")
    with world.session.transaction() as connection:
        [generation] = [row["generation"] for row in connection.execute("SELECT generation FROM generation")]
        assert swap.swap(connection, generation, "m", {world.key("0.md"): version}) == [world.key("0.md")]


def test_a_vector_that_retention_deleted_is_asked_for_when_the_contexts_change(world: World) -> None:
    landed(world, *NAMES)
    put(world, ("0.md", ("pump",), "Aldermere 2022", (EVERYONE,)))
    put(world, ("1.md", ("pump",), "Borealis 2021", (EVERYONE,)))
    with world.session.transaction() as connection:
        connection.execute(
            "INSERT INTO stage_record (document, stage, input_key, fingerprint, output_key, status)"
            " SELECT document, stage, 'i', 'f', 'o', 'done' FROM indexed, unnest(ARRAY['embed', 'index']) AS stage"
        )
        connection.execute("DELETE FROM embedding")
        swap.remove(connection, [world.key("0.md")])
        behind = connection.execute("SELECT document, stage FROM stage_record WHERE status = 'behind' ORDER BY stage").fetchall()
    assert [(row["document"], row["stage"]) for row in behind] == [(world.key("1.md"), "embed"), (world.key("1.md"), "index")]


@pytest.mark.parametrize(
    ("title", "name", "context"),
    [
        ("Annual report", "x.pdf", "Annual report"),
        ("", "reports/3M_2018_10K.pdf", "3M 2018 10K"),
        ("  \n ", "guide/", "guide"),
        ("", "", ""),
        ("x" * 500, "a", "x" * 120),
        ("two\nlines", "a", "two lines"),
        ("", ".env", "env"),
        ("", "rows/00412", ""),
        ("", "2024-03-01.txt", ""),
        ("1984", "x.txt", "1984"),
    ],
)
def test_a_document_is_called_by_its_title_else_its_name(title: str, name: str, context: str) -> None:
    assert document_context(title, name) == context
