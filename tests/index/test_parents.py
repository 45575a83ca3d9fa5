"""Parents: a small chunk is found, the text around it answers, and the citation is the small chunk's."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from core.principals import EVERYONE
from index import swap
from tests.index.test_index import Library, chunks, landed
from tests.tenant_fixture import World

pytestmark = pytest.mark.usefixtures("empty_world")


@pytest.fixture
def library(world: World) -> Library:
    return Library(world)


def version(name: str, parents: Sequence[Sequence[str]], acl: Sequence[str] = (EVERYONE,)) -> swap.Version:
    """A document of these parents' children."""
    children = chunks(child for parent in parents for child in parent)
    ranges, first = [], 0
    for parent in parents:
        ranges += [(first, first + len(parent) - 1)] * len(parent)
        first += len(parent)
    return swap.Version(name, "", "", tuple(acl), tuple(replace(child, parent=own) for child, own in zip(children, ranges, strict=True)))


def put(library: Library, **versions: swap.Version) -> None:
    library.keep(chunk.text for one in versions.values() for chunk in one.chunks)
    library.put({f"{name}.md": one for name, one in versions.items()})


def test_a_parent_answers_once_for_its_children_and_the_citation_is_a_childs(library: Library) -> None:
    landed(library.world, "a.md")
    put(library, a=version("a.md", [["one", "two"], ["three"]]))
    found = library.find()
    assert sorted(passage.text for passage in found) == ["one\ntwo", "three"]
    cited = {passage.text: [citation.ordinal for citation in passage.citations] for passage in found}
    assert cited["three"] == [2]
    assert cited["one\ntwo"] in ([0], [1])


def test_a_chunk_without_parent_answers_for_itself(library: Library) -> None:
    landed(library.world, "a.md")
    put(library, a=swap.Version("a.md", "", "", (EVERYONE,), chunks(["one", "two"])))
    assert sorted(passage.text for passage in library.find()) == ["one", "two"]


PARENTS = st.lists(st.lists(st.sampled_from(["shared", "b1", "b2", "b3"]), min_size=1, max_size=3), min_size=1, max_size=3)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(secret=PARENTS, shown=PARENTS)
def test_a_shared_child_shows_no_parent_that_its_reader_may_not_read(
    library: Library, secret: list[list[str]], shown: list[list[str]]
) -> None:
    landed(library.world, "a.md", "b.md")
    hidden = [[f"hidden {text}" if text != "shared" else text for text in parent] for parent in secret]
    put(library, a=version("a.md", hidden, ["user:ann"]), b=version("b.md", shown, ["user:bob"]))
    assert {passage.text for passage in library.find("user:bob")} <= {"\n".join(parent) for parent in shown}
    assert all(citation.document == "b.md" for passage in library.find("user:bob") for citation in passage.citations)
