"""A search shows one passage of each cluster of near-duplicates, among those that its caller may read, and says what the others have."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import shingles
from core.policy import NearDuplicates
from core.principals import EVERYONE
from index import near_duplicates
from retrieval import collapse
from retrieval.search import Passage, SearchRequest, search
from tests.index.test_index import Library, landed, version
from tests.index.test_near_duplicates import from_scratch
from tests.tenant_fixture import World

pytestmark = pytest.mark.usefixtures("empty_world")

GREASED = "The guide bearing of the second turbine is greased every {} weeks by the operator on duty."
SEAL = "Replace the shaft seal when leakage exceeds two litres an hour, and note the date in the log."
NAMES = ("a.md", "b.md", "c.md", "d.md")
ACLS = st.sampled_from([(EVERYONE,), ("group:a",), ("group:b",), ()])
DOCUMENTS = st.dictionaries(
    st.sampled_from(NAMES),
    st.tuples(st.lists(st.sampled_from([*(GREASED.format(n) for n in "3456"), SEAL, SEAL.upper(), "short"]), max_size=4), ACLS),
    min_size=1,
)


def library(world: World, documents: Mapping[str, tuple[Sequence[str], Sequence[str]]]) -> Library:
    found = Library(world)
    landed(world, *documents)
    found.keep(text for texts, _ in documents.values() for text in texts)
    found.put({name: version(name, texts, acl) for name, (texts, acl) in documents.items()})
    return found


def only(found: list[Passage]) -> Passage:
    [passage] = found
    return passage


def test_the_best_member_is_shown_and_the_others_with_what_differs(world: World) -> None:
    found = library(world, {"a.md": ([GREASED.format(3)], ["*"]), "b.md": ([GREASED.format(4)], ["*"])})
    shown = only(found.find())
    [other] = shown.alike
    there, here = ("4", "3") if "3" in shown.text else ("3", "4")
    assert other.difference == f"greased every [-{here}-] {{+{there}+}} weeks by"
    assert [cited.document for cited in other.citations] == ["b.md" if there == "4" else "a.md"]
    assert other.similarity == shingles.similarity(GREASED.format(3), GREASED.format(4)) > 0.8
    assert (shown.more_alike, shown.boilerplate, shown.left_out, shown.within) == (0, False, 0, ())


def test_a_member_that_may_not_be_read_is_neither_shown_nor_listed_nor_counted(world: World) -> None:
    found = library(world, {"a.md": ([GREASED.format(3)], ["group:a"]), "b.md": ([GREASED.format(4)], ["*"])})
    shown = only(found.find())
    assert (shown.text, shown.alike, shown.more_alike) == (GREASED.format(4), (), 0)
    assert len(only(found.find("group:a")).alike) == 1


def test_when_what_stood_for_a_cluster_goes_another_stands_in(world: World) -> None:
    found = library(world, {name: ([GREASED.format(n)], ["*"]) for n, name in enumerate(NAMES)})
    while names := {cited.document for passage in found.find() for cited in passage.citations}:
        shown = only(found.find())
        assert len(shown.alike) == len(world.rows("SELECT FROM chunk")) - 1
        found.take_out(*names)


def test_asked_for_some_passages_a_search_returns_as_many_though_their_copies_are_nearer(world: World) -> None:
    copies = [GREASED.format(n) for n in range(40)]
    others = [SEAL, "Oil is filtered every night.", "Nobody enters the turbine hall alone."]
    found = library(world, {"a.md": ([*copies, *others], ["*"])})
    assert len(found.find(top=3)) == 3
    listed = next(passage for passage in found.find(top=3) if "greased" in passage.text)
    assert len(listed.alike) == collapse.LISTED
    assert len(listed.alike) + listed.more_alike <= 39


def test_a_passage_within_a_longer_one_is_reported_and_not_collapsed(world: World) -> None:
    longer = " ".join([GREASED.format(3), "This is done by hand while the machine stands still, and never before its oil is cold.", SEAL])
    found = library(world, {"a.md": ([SEAL], ["*"]), "b.md": ([longer], ["*"])})
    by_text = {passage.text: passage for passage in found.find()}
    assert by_text.keys() == {SEAL, longer}
    [containing] = by_text[SEAL].within
    assert [cited.document for cited in containing.citations] == ["b.md"]
    assert containing.containment == shingles.containment(SEAL, longer) == 1
    assert by_text[longer].within == ()


@pytest.mark.parametrize("setting", ["mark", "down-weight", "leave-out"])
def test_what_stands_in_many_documents_is_boilerplate(world: World, setting: str) -> None:
    names = [f"{n}.md" for n in range(collapse.BOILERPLATE_DOCUMENTS)]
    found = library(world, {name: ([GREASED.format(n)], ["*"]) for n, name in enumerate(names)} | {"seal.md": ([SEAL], ["*"])})
    before = [passage.text for passage in found.find()].index(SEAL)
    near_duplicates.catch_up(world.session.transaction, NearDuplicates.model_validate({"boilerplate": setting}))
    by_kind = {passage.boilerplate: passage for passage in found.find()}
    assert by_kind[False].text == SEAL
    if setting == "leave-out":
        assert (len(by_kind), by_kind[False].left_out) == (1, before)
    else:
        assert (len(by_kind), bool(by_kind[True].alike[0].difference)) == (2, True)
    found.take_out(names[0])
    assert [passage.boilerplate for passage in found.find()] == [False, False]


@given(DOCUMENTS, st.sampled_from([(), ("group:a",), ("group:a", "group:b")]), st.integers(1, 5))
@settings(max_examples=30)
def test_a_search_shows_every_cluster_that_may_be_read_once(
    world: World, documents: dict[str, tuple[Sequence[str], Sequence[str]]], readers: Sequence[str], top: int
) -> None:
    world.clear()
    found = library(world, documents)
    pivots = from_scratch(world).pivots
    readable = {
        row["text_hash"]
        for row in world.rows(
            "SELECT s.text_hash FROM chunk_source s JOIN indexed i USING (generation, document) JOIN access_list a ON a.number = i.access"
            " WHERE a.principals && %(readers)s::text[]",
            readers=[*readers, EVERYONE],
        )
    }
    clusters = {pivots[chunk] for chunk in readable}
    asked = SearchRequest("a question", tuple(readers), top=top)
    shown = search(world.app.readers, found.encoder, world.tenant, asked)
    assert len(shown) == min(top, len(clusters))
    assert len({pivots[passage.chunk] for passage in shown}) == len(shown)
    for passage in shown:
        members = {chunk for chunk in readable if pivots[chunk] == pivots[passage.chunk]} - {passage.chunk}
        assert passage.chunk in readable
        assert {one.chunk for one in passage.alike} <= members
        assert len(passage.alike) + passage.more_alike == len(members)
