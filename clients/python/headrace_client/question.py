"""A question, as `POST /v1/search` takes it. The tenant and the principals are the credential's."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

Mode = Literal["hybrid", "vector", "lexical"]
Expand = Literal["none", "neighbours", "section", "table"]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Filters(_Model):
    """Conditions that one readable source of a passage must meet, all of them. An empty one is none.

    `sources`, `media_types`, `languages` (ISO 639-1): one of these. `path`: the beginning of the document's URI. `metadata`: each key has
    this value. `since`, `until`: of the event, both included, with a time zone.
    """

    sources: tuple[str, ...] = ()
    media_types: tuple[str, ...] = ()
    path: str = ""
    metadata: Mapping[str, str] = Field(default_factory=dict)
    since: datetime | None = None
    until: datetime | None = None
    languages: tuple[str, ...] = ()


class Question(_Model):
    """What to search for. `docs/retrieval.md` explains each field; those that are not given are the server's to choose.

    `mode`: the nearest in meaning (`vector`), what has the query's words (`lexical`), or both. `top`: passages, 1 to 1000. `cursor`: of the
    answer before, to go on. `least`: no passage with a lower score. `weight`: of the meaning in `hybrid`, 0 to 1.
    """

    query: str
    mode: Mode = "hybrid"
    top: int = 5
    filters: Filters = Filters()
    cursor: str = ""
    expand: Expand = "none"
    rerank: bool = False
    diversity: float = 0.0
    fusion: Literal["scores", "rrf"] = "scores"
    weight: float | None = None
    least: float | None = None
    explain: bool = False

    def body(self) -> str:
        """JSON of what differs from the defaults: a field that an older server does not know is sent only if it is asked for."""
        return self.model_dump_json(exclude_defaults=True)
