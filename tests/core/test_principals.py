"""A list of principals is taken alike and refused alike at every door: the publisher, an event, a search, the command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.errors import HeadraceError
from core.principals import EVERYONE, principals
from events.contract import UPSERT, Event, KafkaRecord, read
from events.publish import Publisher
from pipelines.cli import options
from retrieval.request import SearchRequest

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"))
LISTS = st.lists(TEXT, max_size=5)
COLLECTIONS = LISTS | LISTS.map(tuple) | LISTS.map(set) | LISTS.map(frozenset)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.binary() | st.text()
NOT_TEXT = st.text(st.characters(categories=["Cs"]), min_size=1) | TEXT.map(lambda text: f"{text}\0")
ANYTHING = st.one_of(
    SCALARS,
    st.dictionaries(TEXT, SCALARS),
    st.lists(TEXT).map(iter),
    st.lists(TEXT).map(lambda texts: dict.fromkeys(texts).keys()),
    st.builds(
        lambda texts, other, at: [*texts[:at], other, *texts[at:]],
        LISTS,
        SCALARS.filter(lambda one: not isinstance(one, str)),
        st.integers(0, 5),
    ),
    st.builds(lambda texts, other: [*texts, other], LISTS, NOT_TEXT),
)
NAME = "CN=Roe\\, Jane,OU=Groups,DC=corp"

Door = Callable[[Any], Any]


def publisher(given: Any) -> None:
    """Nobody answers at this address, and nothing is sent."""
    Publisher({"bootstrap.servers": "127.0.0.1:1"}, "acme", "/wiki").upsert("a.md", content="text", acl=given)


def search(given: Any) -> list[str]:
    return SearchRequest("a question", given).readers


DOORS: dict[str, Door] = {"the check itself": principals, "a publisher": publisher, "a search": search}


@pytest.mark.parametrize("door", DOORS)
@pytest.mark.parametrize(
    "given", ["group:*", "", b"group:a", {"group:a": 1}, range(2), 7, [7], ["a\ud800"], ["a\0"], ["a", ["b"]]], ids=ascii
)
def test_what_is_no_list_of_texts_is_refused(door: str, given: Any) -> None:
    with pytest.raises(HeadraceError) as refused:
        DOORS[door](given)
    assert refused.value.reason == "bad-principals"
    assert refused.value.remedy


@given(ANYTHING)
def test_anything_else_than_a_list_of_texts_is_refused(given: Any) -> None:
    for door in (principals, search):
        with pytest.raises(HeadraceError) as refused:
            door(given)
        assert refused.value.reason == "bad-principals"


@given(COLLECTIONS)
def test_a_list_of_texts_goes_through_unchanged(given: Any) -> None:
    assert principals(given) == list(given)
    assert set(search(given)) == {*given, EVERYONE}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


@given(JSON | st.lists(TEXT.filter(bool), max_size=3))
@example("group:*")
@example({"group:a": True})
@example([None])
def test_an_event_has_a_list_of_texts_or_none_and_no_other_value(given: Any) -> None:
    event = {
        "specversion": "1.0",
        "id": "e1",
        "source": "/wiki",
        "type": UPSERT,
        "subject": "a.md",
        "data": {"content": "text", "acl": given},
    }
    headers = (("content-type", b"application/cloudevents+json"),)
    found = read(KafkaRecord("documents.acme", 0, 0, 0, b"a.md", json.dumps(event).encode(), headers))
    is_list = isinstance(given, list) and all(isinstance(one, str) and one for one in given)
    assert isinstance(found, Event) == (is_list or given is None)
    if isinstance(found, Event):
        assert found.acl == ((EVERYONE,) if given is None else tuple(sorted(set(given))))


# the command line


def typed(*values: str) -> list[str]:
    return options.principals("--acl", values)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], []),
        ([""], []),
        (["group:a"], ["group:a"]),
        ([" group:a , user:b ,"], ["group:a", "user:b"]),
        (["group:a", "user:b,user:c"], ["group:a", "user:b", "user:c"]),
        (["role=admin"], ["role=admin"]),
        ([f'"{NAME}"'], [NAME]),
        ([f' "{NAME}" , "say ""hi""", group:a'], [NAME, 'say "hi"', "group:a"]),
        ([f'"{NAME}"', "group:a"], [NAME, "group:a"]),
        ([json.dumps([NAME, "group:a"])], [NAME, "group:a"]),
        (["[]", "group:a"], ["group:a"]),
    ],
)
def test_principals_are_typed_one_by_one_with_commas_quoted_or_as_json(values: list[str], expected: list[str]) -> None:
    assert typed(*values) == expected


@pytest.mark.parametrize(
    "value",
    [
        "CN=HR,OU=Groups,DC=corp",
        "CN=HR\\,OU=Groups\\,DC=corp",
        "group:a,DC=corp",
        "UID=jo,group:a",
        ",OU=Groups",
        "group:a\\,b",
        "user:Roe\\, Jane",
        '"CN=HR",OU=Groups',
        'CN="HR,OU=Groups"',
        '"group:a',
        'group:a"b',
        '{"group:a": true}',
        "[group:a",
        '["group:a"',
        "[" * 100_000,
        "[1]",
        '[["a"]]',
        '["a\\ud800"]',
        "group:\udce9",
    ],
)
def test_what_may_have_been_meant_as_another_list_is_refused_with_both_ways_to_write_it(value: str) -> None:
    with pytest.raises(HeadraceError) as refused:
        typed(value)
    assert refused.value.reason == "bad-principals"
    assert refused.value.remedy


DIRECTORY = ["CN=HR,OU=Groups,DC=corp", "UID=jo, O=Acme", "2.5.4.3=Jo,DC=corp", "CN=Roe\\, Jane,OU=Site Collections,DC=corp"]


@pytest.mark.parametrize("name", DIRECTORY)
def test_a_directorys_name_is_one_principal_of_a_caller_and_grants_nothing(name: str) -> None:
    """A document's access list says who reads, so it has to be unambiguous; a caller can only be found in it or not."""
    assert options.callers_principals("--as", [name, f" {name} ", "group:a,user:b", f'"{name}"']) == [name, name, "group:a", "user:b", name]
    with pytest.raises(HeadraceError):
        typed(name)


@pytest.mark.parametrize(
    "value", ["CN=HR,OU=Groups,group:a", "group:a,CN=HR,OU=Groups", "CN=HR\\,OU=Groups\\,DC=corp", 'CN="HR,OU=Groups"', "=a,=b"]
)
def test_a_directorys_name_among_others_is_refused_of_a_caller_too(value: str) -> None:
    with pytest.raises(HeadraceError) as refused:
        options.callers_principals("--as", [value])
    assert refused.value.reason == "bad-principals"


@given(LISTS)
def test_a_callers_principals_are_typed_as_a_documents_otherwise(given: list[str]) -> None:
    for values in ([json.dumps(given)], ['"' + principal.replace('"', '""') + '"' for principal in given]):
        assert options.callers_principals("--as", values) == typed(*values) == given


def test_the_remedy_shows_the_repeated_option_and_the_json() -> None:
    with pytest.raises(HeadraceError) as refused:
        typed("CN=HR,OU=Groups,DC=corp")
    for example_of_it in (['"CN=HR,OU=Groups,DC=corp"', "group:a"], ['["CN=HR,OU=Groups,DC=corp", "group:a"]']):
        assert typed(*example_of_it) == ["CN=HR,OU=Groups,DC=corp", "group:a"]
        assert all(f"--acl '{one}'" in refused.value.remedy or f"--acl {one}" in refused.value.remedy for one in example_of_it)


@given(LISTS)
def test_any_principals_can_be_typed_in_json_and_quoted(given: list[str]) -> None:
    assert typed(json.dumps(given)) == given
    quoted = ['"' + principal.replace('"', '""') + '"' for principal in given]
    assert typed(*quoted) == given
    assert not given or typed(",".join(quoted)) == given


@given(st.text('ab=,\\" [{', max_size=12))
def test_no_principal_is_ever_a_part_of_what_was_typed_where_that_was_a_name_with_commas(value: str) -> None:
    """Whatever is typed, each principal stands in it whole: between commas and without an equals sign, or quoted, or alone."""
    try:
        found = typed(value)
    except HeadraceError:
        return
    for principal in found:
        assert (
            f'"{principal.replace(chr(34), chr(34) * 2)}"' in value
            or ("=" not in principal and "," not in principal)
            or value.strip(" ") == principal
        )
