"""The rule of docs/events.md: within a version of the contract, what was valid stays valid.

Every published schema stays in `events/schema/`, with its digest. A published file is never edited, because users validate with copies
of it. A change of the contract is a new file with the next number, a line in SHA256SUMS, and `events.validation.SCHEMA` pointing to it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from copy import deepcopy
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from events import validation
from events.contract import DELETE, UPSERT, Event, KafkaRecord, read
from tests.events.schema_compat import Schema, incompatibilities
from tests.events.schema_events import events, validator

FOLDER = Path(validation.__file__).parent / "schema"
STRUCTURED = (("content-type", b"application/cloudevents+json"),)


def number(name: str) -> tuple[int, int]:
    """The major version, which the events' `type` names, and the revision."""
    found = re.fullmatch(r"document-event\.v(\d+)\.(\d+)\.json", name)
    assert found, name
    return int(found[1]), int(found[2])


def manifest() -> dict[str, str]:
    """File → SHA-256, as `sha256sum --check` reads it."""
    lines = (FOLDER / "SHA256SUMS").read_text(encoding="utf-8").splitlines()
    return {name: digest for digest, name in (line.split() for line in lines)}


def schema(name: str) -> Schema:
    return dict(json.loads((FOLDER / name).read_text(encoding="utf-8")))


PUBLISHED = sorted(manifest(), key=number)
NEWEST = schema(PUBLISHED[-1])
OF_THIS_MAJOR = [name for name in PUBLISHED if number(name)[0] == number(PUBLISHED[-1])[0]]


# the rule


def test_a_published_schema_is_never_edited_and_none_is_unpublished() -> None:
    """If this fails, restore the file and publish the change under the next number."""
    assert {path.name: sha256(path.read_bytes()).hexdigest() for path in FOLDER.glob("*.json")} == manifest()


def test_events_are_validated_with_the_newest_published_schema() -> None:
    assert Path(validation.SCHEMA).name == PUBLISHED[-1]


@pytest.mark.parametrize("older", OF_THIS_MAJOR)
def test_the_newest_schema_takes_everything_that_a_published_one_of_its_version_takes(older: str) -> None:
    assert incompatibilities(schema(older), NEWEST) == []


@pytest.mark.slow
@pytest.mark.parametrize("older", OF_THIS_MAJOR)
@given(data=st.data())
def test_every_event_of_a_published_schema_is_accepted(older: str, data: st.DataObject) -> None:
    event = data.draw(events(schema(older)))
    assert validator(NEWEST).is_valid(event)
    record = KafkaRecord("documents.acme", 0, 5, 1_700_000_000_000, event["subject"].encode(), json.dumps(event).encode(), STRUCTURED)
    assert isinstance(read(record), Event)


# the comparison itself


def _set(*path: str, to: Any) -> Callable[[Schema], None]:
    def change(of: Schema) -> None:
        for step in path[:-1]:
            of = of[step]
        of[path[-1]] = to

    return change


UPSERTS = ("$defs", "upsert", "properties")
REFUSED = {
    "a field is required": _set("required", to=["specversion", "id", "source", "type", "subject", "time"]),
    "a field of the data is required": _set("$defs", "upsert", "required", to=["title"]),
    "a type is gone": _set("properties", "type", "enum", to=[UPSERT]),
    "a constant becomes an empty enum": _set("properties", "specversion", "enum", to=[]),
    "a bound is lower": _set("properties", "subject", "maxLength", to=1000),
    "a bound is new": _set(*UPSERTS, "title", "maxLength", to=100),
    "a bound is higher": _set("$defs", "sequence", "minimum", to=1),
    "an item is narrower": _set(*UPSERTS, "acl", "items", "maxLength", to=255),
    "a type of value is narrower": _set("$defs", "delete", "type", to="object"),
    "a pattern is another": _set("$defs", "text", "pattern", to="^[a-z]*$"),
    "a format is new": _set("properties", "id", "format", to="uuid"),
    "an open object is closed": _set("$defs", "upsert", "additionalProperties", to=False),
    "a new field has a type": _set(*UPSERTS, "lang", to={"type": "string"}),
    "a property is gone": lambda of: of["$defs"]["upsert"]["properties"].pop("title"),
    "a fourth way to give content": lambda of: of["$defs"]["upsert"]["oneOf"].append({"required": ["content_ref"]}),
    "one field needs another": _set("$defs", "upsert", "dependentRequired", to={"title": ["file_name"]}),
    "a field needs another under a condition": _set("$defs", "upsert", "then", "required", to=["uri", "title"]),
    "a choice needs more": _set("$defs", "upsert", "oneOf", 0, "required", to=["content", "title"]),  # type: ignore[arg-type]
    "a choice refuses values": _set("$defs", "upsert", "oneOf", 2, "properties", "uri", "type", to="null"),  # type: ignore[arg-type]
    "two choices at once": _set("$defs", "upsert", "oneOf", 0, "properties", "content", "type", to=["string", "null"]),  # type: ignore[arg-type]
    "another condition for every event": lambda of: of["allOf"].append({"required": ["time"]}),
    "data for another condition": _set("allOf", 0, "if", "properties", to={}),  # type: ignore[arg-type]
    "keys of metadata are bounded": _set(*UPSERTS, "metadata", "propertyNames", to={"$ref": "#/$defs/name"}),
    "an unknown keyword": _set("$defs", "upsert", "unevaluatedProperties", to=False),
}
ACCEPTED = {
    "nothing": lambda of: None,
    "a description": _set("description", to="Other words."),
    "a field is optional": _set("required", to=["specversion", "id", "type", "subject"]),
    "a type is new": _set("properties", "type", "enum", to=[DELETE, UPSERT, "headrace.document.move.v1"]),
    "a bound is looser": _set(*UPSERTS, "acl", "maxItems", to=20_000),
    "a bound is gone": lambda of: of["$defs"]["sequence"].pop("maximum"),
    "a value may be null": _set(*UPSERTS, "acl", "type", to=["array", "null"]),
    "a new field takes anything": _set(*UPSERTS, "lang", to={"description": "A language tag; anything else is ignored."}),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_change_that_refuses_what_was_valid_is_found(what: str) -> None:
    changed = deepcopy(NEWEST)
    REFUSED[what](changed)
    assert incompatibilities(NEWEST, changed) != []


@pytest.mark.parametrize("what", ACCEPTED)
def test_a_change_that_accepts_more_is_compatible(what: str) -> None:
    changed = deepcopy(NEWEST)
    ACCEPTED[what](changed)
    assert incompatibilities(NEWEST, changed) == []


def places(of: Any) -> list[Schema]:
    """Every object within a schema, itself first."""
    inner = of.values() if isinstance(of, dict) else of if isinstance(of, list) else ()
    return ([of] if isinstance(of, dict) else []) + [place for value in inner for place in places(value)]


@st.composite
def changed(draw: st.DrawFn) -> Schema:
    """The newest schema with random changes; most results are still schemas."""
    of = deepcopy(NEWEST)
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(places(of)))
        key = draw(st.sampled_from([*place, "lang", "title", "minLength", "maxLength", "required", "additionalProperties", "type", "enum"]))
        value = draw(st.sampled_from([None, 0, 1, 300, [], ["title"], ["string", "null"], {}, {"type": "string"}, True, False, "object"]))
        if value is None:
            place.pop(key, None)
        else:
            place[key] = value
    return of


@pytest.mark.slow
@given(changed(), st.data())
@settings(max_examples=200)
def test_if_the_comparison_finds_no_break_every_event_stays_valid(changed: Schema, data: st.DataObject) -> None:
    try:
        after, broken = validator(changed), incompatibilities(NEWEST, changed)
    except (ValueError, KeyError, TypeError, AttributeError, AssertionError):
        return  # no schema, or one that the comparison refuses
    if not broken:
        assert after.is_valid(data.draw(events(NEWEST)))
