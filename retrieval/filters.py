"""Filters: which documents a search is about. A filter is a condition on a source, as access is: only sources that pass are cited."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import msgspec
from psycopg import sql
from psycopg.types.json import Jsonb

from core.errors import HeadraceError
from core.sql import statements
from core.texts import is_unicode

MOST_VALUES = 100
"""Of one filter."""
LONGEST_VALUE = 1_000
"""In characters."""


class Filters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Conditions that one readable source of a passage must meet, all of them. An empty one is none.

    `sources`, `media_types`, `languages` (ISO 639-1): one of these. `path`: the beginning of the source's URI. `metadata`: each key has
    this value. `since`, `until`: the event's time, both included, with a time zone. Values are compared as they are stored: redacted.
    Raises HeadraceError (`bad-filter`).
    """

    sources: tuple[str, ...] = ()
    media_types: tuple[str, ...] = ()
    path: str = ""
    metadata: Mapping[str, str] = {}
    since: datetime | None = None
    until: datetime | None = None
    languages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("sources", "media_types", "languages"):
            _check_values(name, getattr(self, name))
        _check_text("path", self.path)
        _check_metadata(self.metadata)
        for name in ("since", "until"):
            _check_time(name, getattr(self, name))
        if self.since and self.until and self.since > self.until:
            raise _refused("since is later than until")

    def given(self) -> dict[str, Any]:
        """Name → value of the conditions that are set, as parameters of their fragments in sql/filters.sql."""
        values: dict[str, Any] = {name: list(getattr(self, name)) for name in ("sources", "media_types", "languages")}
        values |= {"path": self.path, "metadata": Jsonb(dict(self.metadata)) if self.metadata else None}
        values |= {"since": self.since, "until": self.until}
        return {name: value for name, value in values.items() if value}

    def condition(self) -> sql.Composable:
        """On a row `i` of `indexed`; `true` without filters. Its parameters are `given`."""
        fragments = [sql.SQL(_SQL[name]) for name in self.given()]
        return sql.SQL(" AND ").join(fragments) if fragments else sql.SQL("true")


def _check_values(name: str, values: object) -> None:
    if not isinstance(values, list | tuple | set | frozenset):
        raise _refused(f"{name} must be a list, a tuple or a set, was: {type(values).__name__}")
    if len(values) > MOST_VALUES:
        raise _refused(f"{name} has more than {MOST_VALUES} values")
    for value in values:
        _check_text(name, value)
        if not value:
            raise _refused(f"{name} has an empty value")


def _check_text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise _refused(f"a value of {name} must be text, was: {type(value).__name__}")
    if len(value) > LONGEST_VALUE or "\0" in value or not is_unicode(value):
        raise _refused(f"a value of {name} is longer than {LONGEST_VALUE} characters, or contains a NUL or a lone surrogate")


def _check_metadata(metadata: object) -> None:
    if not isinstance(metadata, Mapping):
        raise _refused(f"metadata must map keys to values, was: {type(metadata).__name__}")
    if len(metadata) > MOST_VALUES:
        raise _refused(f"metadata has more than {MOST_VALUES} keys")
    for key, value in metadata.items():
        _check_text("metadata", key)
        _check_text("metadata", value)


def _check_time(name: str, value: object) -> None:
    if value is not None and (not isinstance(value, datetime) or value.tzinfo is None):
        raise _refused(f"{name} must be a time with a time zone")


def _refused(detail: str) -> HeadraceError:
    return HeadraceError(detail, reason="bad-filter", remedy="See docs/retrieval.md.")


_SQL = statements("retrieval", "sql/filters.sql")
