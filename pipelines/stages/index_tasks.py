"""Maintenance of the index: statistics of a young tenant's tables, promotion of a complete generation, terms of passages, vectors that
nothing uses."""

from __future__ import annotations

from collections.abc import Mapping

from core import crashpoints, outcomes
from core.ledger.stage import Session
from core.tenancy import Connection
from pipelines.resources import Resources
from pipelines.stages import registry
from pipelines.tasks import Task


def _lacks_statistics(connection: Connection, resources: Resources, session: Session) -> bool:  # noqa: ARG001
    from index import generations

    return generations.lacks_statistics(connection)


def _learn_statistics(_: Resources, session: Session) -> Mapping[str, int]:
    from index import generations

    with session.transaction() as connection:
        generations.learn_statistics(connection)
    return {"runs": 1}


def _is_building(connection: Connection, resources: Resources, session: Session) -> bool:  # noqa: ARG001
    """Loads no model: `headrace status` asks too."""
    from index import generations

    return generations.is_building(connection)


def promote(resources: Resources, session: Session) -> Mapping[str, int]:
    """Switch to the generation that the index stage builds, if it is complete; its documents' outcomes are decided with it.

    Its commit is the crash point `promote`.
    """
    from index import generations

    fingerprint = _fingerprint(resources, session)
    with session.transaction("promote") as connection:
        promoted = generations.promote(connection, fingerprint)
        if promoted:
            outcomes.indexed(connection)
    return {"generations": int(promoted)}


def _fingerprint(resources: Resources, session: Session) -> str:
    return registry.step("index", resources, session.policy, session.keys.epoch).fingerprint


def _sweep(_: Resources, session: Session) -> Mapping[str, int]:
    from index import swap

    with session.transaction() as connection:
        return {"vectors": swap.sweep(connection)}


def _lacks_terms(connection: Connection, resources: Resources, session: Session) -> bool:  # noqa: ARG001
    from index import lexical

    return lexical.is_behind(connection)


def _give_terms(_: Resources, session: Session) -> Mapping[str, int]:
    from index import lexical, swap

    return {"passages": lexical.catch_up(session.transaction, swap.lock)}


crashpoints.commit_points("promote")

TASKS = (
    # before the promotion: afterwards it might wait with the sources locked
    Task("statistics", "index", _lacks_statistics, _learn_statistics),
    Task("promotion", "index", _is_building, promote),
    Task("terms", None, _lacks_terms, _give_terms),
    # a full scan: deletes vectors of versions that were never swapped in
    Task("unused-vectors", None, lambda *_: True, _sweep, every_s=3600.0),
)
