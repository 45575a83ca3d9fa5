"""What a search may find, counted: one of few passages runs other statements than one of nearly all.

A chunk's list only filters. Which sources may be cited is decided by each document's own list and by the filters, in the statement that
cites: a chunk whose sources have several lists, or one that a landing has narrowed since, passes the filter and has no citation.
"""

from __future__ import annotations

from typing import Any

import msgspec
from psycopg import sql

from core.sql import statements
from core.tenancy import Connection
from retrieval.filters import Filters

FEW_LISTS = 1_000
FEW_DOCUMENTS = 1_000
FEW_PASSAGES = 10_000
"""Comparing this many vectors takes a few milliseconds: less than an index that has to pass over all others."""


class Scope(msgspec.Struct, frozen=True):
    """What one search may find in a generation: what one of `readers` may read and what passes `filters`.

    `documents`: all of those, if they and their passages are few and there are filters. `lists`: the numbers of the access lists that let
    the readers in, if they and their passages are few.
    """

    generation: int
    readers: list[str]
    filters: Filters = Filters()
    documents: list[str] | None = None
    lists: list[int] | None = None

    @property
    def values(self) -> dict[str, Any]:
        """The parameters of a statement of this scope."""
        own = {"generation": self.generation, "readers": self.readers, "documents": self.documents, "lists": self.lists}
        return {**own, **self.filters.given()}

    def statement(self, text: str) -> sql.Composed:
        """A statement with `{filter}` in its text, a condition on `i`, a row of `indexed`, or with `{passing}`."""
        return sql.SQL(text).format(filter=self.filters.condition(), passing=self.passing(_GENERATION))

    def passing(self, generation: sql.Composable) -> sql.Composed:
        """A condition on a chunk `c`: one of its sources is in the scope. `generation`: the number as the statement has it."""
        return sql.SQL(_SQL["passing"]).format(generation=generation, filter=self.filters.condition())


def scope(connection: Connection, generation: int, readers: list[str], filters: Filters) -> Scope:
    """Reads at most `FEW_LISTS` lists, `FEW_PASSAGES` index entries and, with filters, one row for each document."""
    found = Scope(generation, readers, filters)
    if filters.given():
        found = msgspec.structs.replace(found, documents=_few_documents(connection, found))
    return found if found.documents is not None else msgspec.structs.replace(found, lists=_few_lists(connection, found))


def _few_documents(connection: Connection, scope: Scope) -> list[str] | None:
    values = {**scope.values, "most": FEW_DOCUMENTS + 1}
    documents = [row["document"] for row in connection.execute(scope.statement(_SQL["documents"]), values)]
    if len(documents) > FEW_DOCUMENTS:
        return None
    [row] = connection.execute(_SQL["passages_of"], {**values, "documents": documents, "most": FEW_PASSAGES + 1})
    return documents if row["passages"] <= FEW_PASSAGES else None


def _few_lists(connection: Connection, scope: Scope) -> list[int] | None:
    lists = [row["number"] for row in connection.execute(_SQL["lists"], {"readers": scope.readers, "most": FEW_LISTS + 1})]
    if len(lists) > FEW_LISTS:
        return None
    [row] = connection.execute(_SQL["count"], {"generation": scope.generation, "lists": lists, "most": FEW_PASSAGES + 1})
    return lists if row["passages"] <= FEW_PASSAGES else None


def undescribed(connection: Connection, scope: Scope) -> int:
    """With filters: how many documents that may be read have no values to filter by yet, and are left out for that."""
    if not scope.filters.given():
        return 0
    return int(connection.execute(_SQL["undescribed"], scope.values).fetchall()[0]["documents"])


_GENERATION = sql.Placeholder("generation")
_SQL = statements("retrieval", "sql/access.sql")
