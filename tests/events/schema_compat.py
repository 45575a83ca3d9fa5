"""Compares two JSON Schemas keyword by keyword, to find what the later one refuses and the earlier one accepts.

It may report an incompatibility that is none, never the reverse: it reports what it cannot compare. Objects are open by default, so a
property that one side does not name has the schema of its `additionalProperties`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

Schema = dict[str, Any]

ANNOTATIONS = {"$schema", "$id", "$defs", "$comment", "title", "description", "default", "examples", "deprecated"}
LOWER_BOUNDS = {"minLength", "minItems", "minProperties", "minimum", "exclusiveMinimum"}
UPPER_BOUNDS = {"maxLength", "maxItems", "maxProperties", "maximum", "exclusiveMaximum"}
UNCHANGED = {"pattern", "format", "contentEncoding", "multipleOf", "uniqueItems", "not"}
"""Keywords whose changes are all reported. They may be removed."""
BRANCHES = {"then", "else"}


def incompatibilities(old: Schema, new: Schema) -> list[str]:
    """Where the later schema accepts less, as `path: keyword`; empty if it accepts everything that the earlier one does."""
    return list(dict.fromkeys(_Comparison(old, new).compare(old, new, "event")))


class _Comparison:
    def __init__(self, old_root: Schema, new_root: Schema) -> None:
        self._old_root, self._new_root = old_root, new_root

    def compare(self, old_raw: Any, new_raw: Any, at: str) -> Iterator[str]:
        old, new = resolved(old_raw, self._old_root), resolved(new_raw, self._new_root)
        if self._accepts_nothing(old):
            return
        yield from (f"{at}.{name}: the property is removed" for name in old.get("properties", {}) if name not in new.get("properties", {}))
        yield from self._condition(old, new, at)

    def _condition(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        """As `compare`, for a later schema that is only a condition: it need not describe the properties."""
        if not self._accepts_nothing(old):
            for keyword in new:
                yield from self._keyword(keyword, old, new, at)

    def _keyword(self, keyword: str, old: Schema, new: Schema, at: str) -> Iterator[str]:
        if keyword in _CHECKS:
            if not _CHECKS[keyword](old, new):
                yield f"{at}: {keyword}"
        elif keyword in LOWER_BOUNDS | UPPER_BOUNDS:
            if not _loosened(keyword, old, new):
                yield f"{at}: {keyword}"
        elif keyword in UNCHANGED:
            if _differs(old.get(keyword), new[keyword]):
                yield f"{at}: {keyword}"
        elif keyword in ("items", "propertyNames"):
            yield from self.compare(old.get(keyword, True), new.get(keyword, True), f"{at}[{keyword}]")
        elif keyword in ("properties", "additionalProperties"):
            yield from self._properties(old, new, at)
        elif keyword == "allOf":
            yield from self._all_of(old, new, at)
        elif keyword == "oneOf":
            yield from self._one_of(old, new, at)
        elif keyword == "if":
            yield from self._conditional(old, new, at)
        elif keyword not in ANNOTATIONS | BRANCHES:
            yield f"{at}: {keyword} is an unknown keyword"

    def _properties(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        rest_before, rest_after = old.get("additionalProperties", True), new.get("additionalProperties", True)
        for name in sorted(before.keys() | after.keys()):
            yield from self.compare(before.get(name, rest_before), after.get(name, rest_after), f"{at}.{name}")
        yield from self.compare(rest_before, rest_after, f"{at}.*")

    def _all_of(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        """Each condition of the later schema must follow from one condition of the earlier one, or from what else it says."""
        for number, part in enumerate(new["allOf"]):
            name = f"{at}(allOf {number})"
            found = [list(self.compare(one, part, name)) for one in old.get("allOf", [])]
            found.append(list(self._condition(old, resolved(part, self._new_root), name)))
            yield from min(found, key=len)

    def _one_of(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        """The same choices in the same order: each accepts what the earlier one does in this place, and nothing that it does not."""
        before, after = old.get("oneOf", []), new["oneOf"]
        if len(before) != len(after) or not all(map(_implies, after, before)):
            yield f"{at}: oneOf"
            return
        for number, (earlier, later) in enumerate(zip(before, after, strict=True)):
            yield from self._condition(_where(old, earlier), later, f"{at}(oneOf {number})")

    def _conditional(self, old: Schema, new: Schema, at: str) -> Iterator[str]:
        if "if" not in old and "else" not in new:
            yield from self._condition(_where(old, new["if"]), resolved(new.get("then", True), self._new_root), f"{at}(then)")
            return
        if _differs(old.get("if"), new["if"]):
            yield f"{at}: if"
            return
        for branch in ("then", "else"):
            yield from self.compare(old.get(branch, True), new.get(branch, True), f"{at}({branch})")

    def _accepts_nothing(self, of: Schema) -> bool:
        properties = of.get("properties", {})
        required = [resolved(properties.get(name, True), self._old_root) for name in of.get("required", [])]
        return of.get("not") == {} or (of.get("type") == "object" and any(one.get("not") == {} for one in required))


def _where(old: Schema, condition: Schema) -> Schema:
    """A schema of what the earlier one accepts where a condition holds. It may accept more than that, never less."""
    named = condition.get("required", [])
    brought = [name for one in named for name in old.get("dependentRequired", {}).get(one, [])]
    properties = dict(old.get("properties", {}))
    for name, conditional in condition.get("properties", {}).items():
        plain = properties.get(name, {})
        properties[name] = plain | conditional if "$ref" not in plain and conditional.keys() <= {"type"} else conditional
    return old | {"required": [*old.get("required", []), *named, *brought], "properties": properties}


def _implies(later: Schema, earlier: Schema) -> bool:
    """Whether the later condition accepts nothing that the earlier one refuses, of conditions that only require and describe properties."""
    described = earlier.get("properties", {})
    return (
        earlier.keys() <= {"required", "properties"}
        and set(earlier.get("required", [])) <= set(later.get("required", []))
        and not any(_differs(of, later.get("properties", {}).get(name)) for name, of in described.items())
    )


def resolved(schema: Any, root: Schema) -> Schema:
    """The schema merged with the one that it refers to. AssertionError if the merge could mean something else."""
    if isinstance(schema, bool):
        return {} if schema else {"not": {}}
    if "$ref" not in schema:
        return dict(schema)
    referred = resolved(root["$defs"][schema["$ref"].removeprefix("#/$defs/")], root)
    own = {keyword: value for keyword, value in schema.items() if keyword != "$ref"}
    assert not (referred.keys() & own.keys()) - ANNOTATIONS, schema
    assert not own.keys() & {"properties", "additionalProperties", "if", "then", "else"}, schema
    return referred | own


def _differs(before: Any, after: Any) -> bool:
    """A reference always counts as different: its target may have changed."""
    return bool(before != after) or "$ref" in str(after)


def _loosened(keyword: str, old: Schema, new: Schema) -> bool:
    if keyword not in old:
        return False
    return bool(new[keyword] <= old[keyword] if keyword in LOWER_BOUNDS else new[keyword] >= old[keyword])


def _type_widened(old: Schema, new: Schema) -> bool:
    before, after = _types(old), _types(new)
    return before <= after | ({"integer"} if "number" in after else set())


def _types(schema: Schema) -> set[str]:
    named = schema.get("type", ["object", "array", "string", "number", "integer", "boolean", "null"])
    return {named} if isinstance(named, str) else set(named)


def _values_grown(old: Schema, after: list[Any]) -> bool:
    before = [old["const"]] if "const" in old else old.get("enum")
    return before is not None and all(value in after for value in before)


def _required_shrunk(old: Schema, new: Schema) -> bool:
    return set(new["required"]) <= set(old.get("required", []))


def _dependents_shrunk(old: Schema, new: Schema) -> bool:
    before = old.get("dependentRequired", {})
    return all(set(names) <= set(before.get(name, [])) for name, names in new["dependentRequired"].items())


_CHECKS: dict[str, Callable[[Schema, Schema], bool]] = {
    "type": _type_widened,
    "enum": lambda old, new: _values_grown(old, new["enum"]),
    "const": lambda old, new: _values_grown(old, [new["const"]]),
    "required": _required_shrunk,
    "dependentRequired": _dependents_shrunk,
}
