"""Validation of an event against the newest published schema. What a record means is in `events.contract`."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any

import jsonschema_rs

from core.errors import ContractError

SCHEMA = "schema/document-event.v1.2.json"
"""The newest published schema. What is valid under an older one of its version is valid under it: see docs/events.md."""


def check_schema(instance: dict[str, Any]) -> None:
    """Raises ContractError if the event violates the schema. The detail quotes no value of the event."""
    try:
        _validator().validate(instance)
    except jsonschema_rs.ValidationError as error:
        raise ContractError(_explained(error)) from None
    except UnicodeEncodeError:
        raise ContractError("unicode: lone surrogate") from None
    except ValueError:
        raise ContractError("value: nested too deep") from None


def _explained(error: jsonschema_rs.ValidationError) -> str:
    """The path and the keyword that failed. Names outside the contract (in metadata, or of unknown fields) become `*`."""
    names = [name if name in _property_names() else "*" for name in error.instance_path if isinstance(name, str)]
    if isinstance(error.kind, jsonschema_rs.ValidationErrorKind.Required):
        names.append(error.kind.property)
    return f"{'.'.join(names) or 'event'}: {error.kind.name}"


@cache
def _schema() -> dict[str, Any]:
    schema: dict[str, Any] = json.loads(files("events").joinpath(SCHEMA).read_text(encoding="utf-8"))
    return schema


@cache
def _validator() -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(_schema(), validate_formats=True, ignore_unknown_formats=False, offline=True)


@cache
def _property_names() -> frozenset[str]:
    places = (_schema(), *_schema()["$defs"].values())
    return frozenset(name for place in places for name in place.get("properties", {}))
