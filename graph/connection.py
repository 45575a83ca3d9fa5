"""The Neo4j driver: connected at the first call, its log silenced, its errors translated, its waits bounded. Statements are elsewhere.

Neo4j's messages quote property values, so they are never passed on: an error names Neo4j's status code instead.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, LiteralString, TypeVar

from core.config import Endpoints
from core.errors import ConfigurationError, HeadraceError, Unavailable

if TYPE_CHECKING:
    from neo4j import Driver, ManagedTransaction

CONNECT_TIMEOUT_S = 5.0
ACQUIRE_TIMEOUT_S = 5.0
# one retry, after about a second
RETRY_TIME_S = 1.0
# a connection that has been idle for longer is tested before it is used
LIVENESS_CHECK_S = 15.0
TRANSACTION_TIMEOUT_S = 60.0

# the driver's HTTP schemes are another protocol, in preview
_ADDRESS = re.compile(r"(?:bolt|neo4j)(?:\+s|\+ssc)?://")

Result = TypeVar("Result")
Run = Callable[..., list[dict[str, Any]]]
"""Runs one statement with the transaction's `$tenant` and returns its rows."""

_ALREADY_EXISTS = {f"Neo.ClientError.Schema.{what}AlreadyExists" for what in ("EquivalentSchemaRule", "Constraint", "Index")}
_REMEDY = "See `headrace status`; the graph catches up when Neo4j is back."
_NO_ADDRESS = "neo4j.url is not an address of Neo4j; it must begin with bolt:// or neo4j://, with +s for TLS"
_REFUSED_REMEDY = "Check Neo4j's user name and password in the configuration."


class Connection:
    """A driver that connects when it is first used. Thread-safe once it is connected."""

    def __init__(self, endpoints: Endpoints) -> None:
        self._endpoints = endpoints
        self._driver: Driver | None = None

    def close(self) -> None:
        driver, self._driver = self._driver, None
        if driver:
            driver.close()

    def write(self, tenant: str, work: Callable[[Run], Result]) -> Result:
        """Run `work` in one write transaction. It is called again if the transaction is retried; only one call is committed."""
        with _translated_errors(), self._open().session() as session:
            return session.execute_write(_bounded(tenant, work))

    def read(self, tenant: str, work: Callable[[Run], Result]) -> Result:
        with _translated_errors(), self._open().session() as session:
            return session.execute_read(_bounded(tenant, work))

    def run(self, statement: LiteralString) -> None:
        """Run a schema statement, which concerns no tenant. If another process creates the same thing meanwhile, that is success."""
        with _translated_errors(), self._open().session() as session, _ignoring_existing():
            # a managed transaction is retried: processes that create the schema at the same time may deadlock
            session.execute_write(_bounded("", lambda run: run(statement)))

    def _open(self) -> Driver:
        if self._driver is None:
            self._driver = _driver(self._endpoints)
        return self._driver


def _driver(endpoints: Endpoints) -> Driver:
    from neo4j import GraphDatabase, NotificationMinimumSeverity

    if not _ADDRESS.match(endpoints.neo4j_url):
        raise ConfigurationError(_NO_ADDRESS)
    _silence()
    return GraphDatabase.driver(
        endpoints.neo4j_url,
        auth=(endpoints.neo4j_username, endpoints.neo4j_password.get_secret_value()),
        connection_timeout=CONNECT_TIMEOUT_S,
        connection_acquisition_timeout=ACQUIRE_TIMEOUT_S,
        max_transaction_retry_time=RETRY_TIME_S,
        liveness_check_timeout=LIVENESS_CHECK_S,
        notifications_min_severity=NotificationMinimumSeverity.OFF,
        user_agent="headrace",
    )


def _silence() -> None:
    """The driver logs server messages, which quote values. A level that was set already is kept."""
    logger = logging.getLogger("neo4j")
    if logger.level == logging.NOTSET:
        logger.setLevel(logging.CRITICAL)


def _bounded(tenant: str, work: Callable[[Run], Result]) -> Callable[[ManagedTransaction], Result]:
    from neo4j import unit_of_work

    @unit_of_work(timeout=TRANSACTION_TIMEOUT_S)
    def transaction(tx: ManagedTransaction) -> Result:
        def run(statement: LiteralString, **parameters: Any) -> list[dict[str, Any]]:
            return tx.run(statement, tenant=tenant, **parameters).data()

        return work(run)

    return transaction


@contextmanager
def _ignoring_existing() -> Iterator[None]:
    """`IF NOT EXISTS` does not see what another transaction has yet to commit."""
    from neo4j.exceptions import ClientError

    try:
        yield
    except ClientError as error:
        if error.code not in _ALREADY_EXISTS:
            raise


@contextmanager
def _translated_errors() -> Iterator[None]:
    from neo4j.exceptions import DriverError, Neo4jError

    try:
        yield
    except DriverError as error:
        raise _driver_error(error) from error
    except Neo4jError as error:
        raise _server_error(error) from (error if error.is_retryable() else None)


def _driver_error(error: Any) -> HeadraceError:
    import neo4j.exceptions as errors

    if isinstance(error, errors.ServiceUnavailable | errors.SessionExpired | errors.ConnectionPoolError | errors.IncompleteCommit):
        return Unavailable("Neo4j does not answer.", remedy=_REMEDY)
    if isinstance(error, errors.ConfigurationError):
        return ConfigurationError(_NO_ADDRESS)
    return _failed(type(error).__name__)


def _server_error(error: Any) -> HeadraceError:
    from neo4j.exceptions import AuthError, Forbidden

    if isinstance(error, AuthError | Forbidden):
        return Unavailable("Neo4j refuses this user.", reason="graph-refused", remedy=_REFUSED_REMEDY)
    if error.is_retryable() or "TimedOut" in str(error.code):
        return Unavailable(f"Neo4j did not finish in time or is busy ({error.code}).", remedy=_REMEDY)
    return _failed(str(error.code))


def _failed(code: str) -> HeadraceError:
    return HeadraceError(f"Neo4j refused a statement ({code}).", reason="graph-write-failed")
