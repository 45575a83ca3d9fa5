"""Valid events of a schema of the contract, for properties: with and without each field, at its bounds, with extra fields."""

from __future__ import annotations

import base64
import json
from importlib.resources import files
from typing import Any

import jsonschema_rs
from hypothesis import assume
from hypothesis import strategies as st

from events.contract import DELETE, UPSERT
from events.validation import SCHEMA
from tests.events.schema_compat import Schema

NEWEST: Schema = json.loads(files("events").joinpath(SCHEMA).read_text(encoding="utf-8"))


def validator(of: Schema) -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(of, validate_formats=True, ignore_unknown_formats=False, offline=True)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
NAME = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "specversion": st.just("1.0"),
    "id": NAME,
    "source": st.sampled_from(["/wiki", "urn:x:y", "https://dms.example.com/a?b#c", "relative"]),
    "type": st.sampled_from([UPSERT, DELETE]),
    "subject": NAME | st.just("s" * 1024),
    "time": st.sampled_from(["2026-03-01T09:30:00Z", "2026-03-01t09:30:00.123456-12:30"]),
    "datacontenttype": st.sampled_from(["application/json", "text/x+JSON; charset=utf-8"]),
    "sequence": st.sampled_from([0, 1, 2**63 - 1]),
    "media_type": TEXT,
    "file_name": TEXT,
    "title": TEXT,
    "acl": st.lists(NAME | st.just("p" * 256), max_size=3) | st.just(["p"] * 10_000),
    "metadata": st.dictionaries(TEXT, TEXT, max_size=2),
    "content": st.text(max_size=8),
    "content_base64": st.binary(max_size=8).map(lambda content: base64.b64encode(content).decode()),
    "uri": st.sampled_from(["file:///srv/a", "https://x.example/a.pdf", "s3://bucket/key"]),
    "content_sha256": st.sampled_from(["ab" * 32, "0F" * 32]),
}
"""Values of known fields; any other field, of a later version or of a source's own, has any value."""
CONTENT = ("content", "content_base64", "uri")


def valued(properties: dict[str, Any], always: tuple[str, ...], never: tuple[str, ...]) -> st.SearchStrategy[dict[str, Any]]:
    sometimes = {name: FIELDS.get(name, JSON) for name in properties if name not in always + never}
    known = st.fixed_dictionaries({name: FIELDS[name] for name in always}, optional=sometimes)
    return st.builds(lambda extra, own: extra | own, st.dictionaries(st.sampled_from(["extra", "lang", "traceparent"]), JSON), known)


@st.composite
def events(draw: st.DrawFn, of: Schema) -> dict[str, Any]:
    """Events of one published schema. No value that the schema describes is null, except a delete's data."""
    whole = draw(valued(of["properties"], tuple(of["required"]), ("data", "data_base64")))
    kind = "upsert" if whole["type"] == UPSERT else "delete"
    properties = of["$defs"][kind]["properties"]
    if kind == "upsert":
        whole["data"] = draw(st.sampled_from(CONTENT).flatmap(lambda one: valued(properties, (one,), _without(one))))
    elif draw(st.booleans()):
        whole["data"] = draw(st.none() | valued(properties, (), ()))
    assume(validator(of).is_valid(whole))
    return whole


def _without(content: str) -> tuple[str, ...]:
    others = tuple(name for name in CONTENT if name != content)
    return others if content == "uri" else (*others, "content_sha256")
