"""Access lists: each is stored once and for as long as it is used; a chunk's filters, a document's decides."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.principals import EVERYONE
from retrieval import pages
from tests.index.test_index import Library, text_hash
from tests.tenant_fixture import Inlet, World

pytestmark = pytest.mark.usefixtures("empty_world")

NAMES = ("a.md", "b.md", "c.md")
ACLS = st.sampled_from([(EVERYONE,), ("jo",), ("jo", "kim"), ("kim", "jo"), ("kim",), ()])
LANDINGS = st.tuples(st.sampled_from(NAMES), st.lists(st.sampled_from(["one", "two", "three"]), min_size=1, max_size=3), ACLS)
Step = tuple[str, list[str], Sequence[str]] | str | None
STEPS: st.SearchStrategy[list[Step]] = st.lists(st.one_of(LANDINGS, LANDINGS, st.sampled_from(NAMES), st.none()), min_size=1, max_size=9)


@pytest.fixture
def library(world: World) -> Library:
    return Library(world)


def apply(library: Library, inlet: Inlet, step: Step) -> None:
    """Land a version, land a delete, or index what has landed."""
    if step is None:
        library.index()
    elif isinstance(step, str):
        inlet.land(inlet.delete(step))
    else:
        name, texts, acl = step
        inlet.land(inlet.upsert(name, "|".join(texts), acl=list(acl)))


@given(STEPS)
@settings(max_examples=60)
def test_lists_are_those_that_are_used_and_a_chunk_has_the_one_of_all_its_sources(
    world: World, steps: list[tuple[str, list[str], Sequence[str]] | str | None]
) -> None:
    world.clear()
    library, inlet = Library(world), world.inlet()
    for step in steps:
        apply(library, inlet, step)
        used = world.rows("SELECT access FROM indexed UNION SELECT access FROM chunk WHERE access <> 0")
        lists = world.rows("SELECT number, digest, principals FROM access_list")
        assert {row["number"] for row in lists} == {row["access"] for row in used}
        assert len({frozenset(row["principals"]) for row in lists}) == len(lists)
    library.index()
    joined = "chunk c JOIN chunk_source USING (generation, text_hash) JOIN indexed i USING (generation, document)"
    query = f"SELECT text_hash, c.access AS chunk, array_agg(i.access) AS documents FROM {joined} GROUP BY 1, 2"
    for row in world.rows(query):
        assert {row["chunk"]} == (set(row["documents"]) if len(set(row["documents"])) == 1 else {0})
    assert world.rows("SELECT l.text_hash FROM lexical l JOIN chunk c USING (generation, text_hash) WHERE l.access <> c.access") == []


def test_a_search_goes_on_past_what_the_filter_lets_through_and_nobody_may_read(library: Library, inlet: Inlet) -> None:
    """Passages with sources of two lists pass the filter: here there are more of them than one look ranks."""
    mixed = [text_hash(f"question {n}") for n in range(3 * pages.SPARE)]
    inlet.land(inlet.upsert("a.md", "|".join(mixed), acl=["jo"]), inlet.upsert("b.md", "|".join(mixed), acl=["kim"]))
    inlet.land(inlet.upsert("c.md", "answer", acl=["ann"]))
    library.index()
    assert [passage.text for passage in library.find("ann", top=1)] == ["answer"]
    assert set(library.found("ann")) == {"answer"}
    assert set(library.found("jo")) == set(mixed)


def test_a_list_that_was_narrowed_for_one_document_stays_as_it_was_for_others(library: Library, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "one", acl=["jo", "kim"]), inlet.upsert("b.md", "two", acl=["kim", "jo"]))
    library.index()
    assert len(library.world.rows("SELECT FROM access_list")) == 1
    inlet.land(inlet.upsert("a.md", "one", acl=["jo"]))
    assert (set(library.found("kim")), set(library.found("jo"))) == ({"two"}, {"one", "two"})
