"""Every passage of a generation, a page at a time: for what gives passages of before what the swap gives new ones."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import TypeVar

from core.sql import statements
from core.swap_lock import lock_swaps
from core.tenancy import Connection

PAGE = 100

Result = TypeVar("Result")
Transaction = Callable[[], AbstractContextManager[Connection]]
"""Opens a transaction under the tenant's role."""


def each_page(transaction: Transaction, generation: int, work: Callable[[Connection, list[str]], Result]) -> Iterator[tuple[int, Result]]:
    """Let `work` have the text hashes of each page, in a transaction of its own, under the swap lock: their number, and its result."""
    page = [""]
    while page:
        with transaction() as connection:
            lock_swaps(connection)
            values = {"generation": generation, "after": page[-1], "limit": PAGE}
            page = [row["text_hash"] for row in connection.execute(_SQL["page"], values)]
            done = work(connection, page)
        yield len(page), done


_SQL = statements("index", "sql/pages.sql")
