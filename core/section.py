"""What the sections of the configuration share: strictness, and error messages without secrets. No setting is here."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, field_validator


def meant(value: Any) -> Any:
    """Refuse an empty string (a variable that was not filled in) and a boolean (`true` would pass for the number 1)."""
    if isinstance(value, bool) or value == "":
        raise ValueError(f"must not be empty, true or false, was: {value!r}")
    return value


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    _each = field_validator("*", mode="before")(meant)

    def __hash__(self) -> int:
        # pydantic's own fails on a mapping; every field counts, a later one too
        return hash(tuple(frozenset(value.items()) if isinstance(value, dict) else value for _, value in self))


def explain(error: ValidationError) -> str:
    """Each bad key and its value, unless that may be a secret."""
    return "; ".join(_one_problem(dict(problem)) for problem in error.errors())


def _one_problem(problem: dict[str, Any]) -> str:
    """One bad key and its value, unless that may be a secret: a misplaced one, or a whole section."""
    key = ".".join(str(part) for part in problem["loc"]) or "configuration"
    if problem["type"] == "extra_forbidden":
        return f"{key}: there is no such setting"
    message, value = str(problem["msg"]).removeprefix("Value error, "), problem["input"]
    if problem["type"] == "value_error" or any(word in key for word in ("password", "key", "url")):
        return f"{key}: {message}"
    plain = isinstance(value, str | int | float) and problem["type"] != "model_type"
    return f"{key}: {message}, was: {repr(value)[:200] if plain else f'of type {type(value).__name__}'}"
