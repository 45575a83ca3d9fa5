"""The lock of a tenant's index: one swap at a time, and nothing else that changes what swaps keep."""

from __future__ import annotations

from core.sql import statements
from core.tenancy import Connection


def lock_swaps(connection: Connection) -> None:
    """Wait for the tenant's other swaps. Others wait for the end of this transaction; readers do not."""
    connection.execute(_SQL["lock"])


_SQL = statements("core", "sql/swap_lock.sql")
