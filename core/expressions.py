"""A tenant's own regular expressions, validated before use. `privacy.finders.lists` runs them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from core.entities import ENTITIES

_LONGEST = 1_000
_MEMORY = 1 << 20


def linear(pattern: str) -> Any:
    """The expression, compiled by RE2, whose time is linear in the text for every expression.

    Raises ValueError with the expression if it is invalid, needs backtracking (back references, look-around) or matches the empty text.
    """
    import re2  # native code, needed only for tenants with expressions

    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MEMORY
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        problem = error.args[0].decode(errors="replace") if isinstance(error.args[0], bytes) else str(error.args[0])
        raise ValueError(f"is no expression that RE2 runs in linear time ({problem}), was: {pattern[:200]!r}") from None
    if compiled.match(""):
        raise ValueError(f"must not match the empty text, was: {pattern[:200]!r}")
    return compiled


def _runs_linearly(pattern: str) -> str:
    linear(pattern)
    return pattern


def _entity(name: str) -> str:
    if name not in ENTITIES:
        raise ValueError(f"is no entity, was: {name[:60]!r}")
    return name


EntityName = Annotated[str, AfterValidator(_entity)]
Checksum = Literal["luhn", "mod97", "mod11_10", "verhoeff"]


class Expression(BaseModel):
    """A tenant's own pattern. `words`: one of them must occur shortly before a match; `checksum`: its digits and letters must pass it."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    pattern: Annotated[str, Field(min_length=1, max_length=_LONGEST), AfterValidator(_runs_linearly)]
    entity: EntityName = "CUSTOM"
    checksum: Checksum | None = None
    words: tuple[str, ...] = ()
