"""Maintenance of the index: statistics of a young tenant's tables, promotion of a complete generation, terms and near-duplicates of
passages, HNSW indexes, vectors that nothing uses."""

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
        # asked again, of the tenant's settings as they are now: `headrace reindex` may have switched and changed them
        promoted = generations.promote(
            connection, fingerprint, lambda: _fingerprint(resources, resources.session(session.tenant)) == fingerprint
        )
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
    from index import lexical

    return {"passages": lexical.catch_up(session.transaction)}


def _lacks_signatures(connection: Connection, resources: Resources, session: Session) -> bool:  # noqa: ARG001
    from index import near_duplicates

    return near_duplicates.is_behind(connection, session.policy.near_duplicates)


def _find_near_duplicates(_: Resources, session: Session) -> Mapping[str, int]:
    from index import near_duplicates

    return near_duplicates.catch_up(session.transaction, session.policy.near_duplicates)


def _lacks_vector_index(connection: Connection, resources: Resources, session: Session) -> bool:  # noqa: ARG001
    from index import vector_index

    return bool(vector_index.wanting(connection) or vector_index.unused(connection))


def build_vector_indexes(resources: Resources, session: Session) -> Mapping[str, int]:
    """Build the HNSW indexes that are wanting, and drop those that nothing uses. Returns counts for people."""
    from index import vector_index

    with session.transaction() as connection:
        wanting, unused = vector_index.wanting(connection), vector_index.unused(connection)
    dropped = [generation for generation in unused if vector_index.drop(resources.owner_url, session.tenant, generation)]
    with session.transaction() as connection:
        for generation in dropped:
            vector_index.record(connection, generation, None)
    built = [_build_vector_index(resources, session, *of_one) for of_one in wanting.items()]
    return {"built": sum(built), "dropped": len(dropped)}


def _build_vector_index(resources: Resources, session: Session, generation: int, dimension: int) -> bool:
    """Build one, and record how far it is. Returns whether it is built: another process may be at it."""
    from index import vector_index

    def record(state: Mapping[str, object]) -> None:
        with session.transaction() as connection:
            vector_index.record(connection, generation, dict(state))

    state = vector_index.build(
        resources.owner_url, session.tenant, generation, dimension, lambda done: record({"state": "building", "done": round(done, 3)})
    )
    if state:
        record(state)
    return bool(state)


crashpoints.commit_points("promote")

TASKS = (
    # before the promotion: afterwards it might wait with the sources locked
    Task("statistics", "index", _lacks_statistics, _learn_statistics),
    Task("promotion", "index", _is_building, promote),
    Task("terms", None, _lacks_terms, _give_terms),
    Task("near-duplicates", None, _lacks_signatures, _find_near_duplicates, slow=True),
    Task("vector-index", None, _lacks_vector_index, build_vector_indexes, slow=True),
    # a full scan: deletes vectors of versions that were never swapped in
    Task("unused-vectors", None, lambda *_: True, _sweep, every_s=3600.0),
)
