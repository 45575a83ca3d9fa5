"""Reindex: another generation of a tenant's index, with another model or chunker, is built beside the active one, compared, and switched
to.

Both receive every change meanwhile: the active one by the ordinary stages, the other by the stage `reindex`, which maintenance runs.
Neither can hold up the other. The switch is one transaction. It takes place when the comparison passes and the new generation has every
live document of the active one, but for those that failed with a reason. The one before stands by: it is kept up to date, and answers those
who still search with its model, until `retention.standby_days` have passed; so it can be switched back to. After a switch the ordinary
stages find their fingerprints changed and run once more: what they write is what the active generation has, and no text is embedded again.

Killed anywhere, all of this goes on where it was: the table `reindex` has what is wanted, and the ledger what is done.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from core import crashpoints
from core.errors import HeadraceError, LostRace, Unavailable
from core.ledger.stage import Progress, Session, run
from core.policy import Policy
from core.tenancy import Connection
from pipelines.governance import audit
from pipelines.governance.legal_hold import held
from pipelines.operations.comparison import Comparison, Side, compare
from pipelines.resources import Resources
from pipelines.stages import beside, rebuild
from pipelines.stages.beside import Beside
from pipelines.stages.index_tasks import build_vector_indexes, promote
from pipelines.tasks import Task

ROUNDS = 20
"""How often documents that changed meanwhile are taken before the switch is left to the next run."""

CRASH_POINTS = crashpoints.commit_points(rebuild.NAME, "switch")


@dataclass(frozen=True)
class Status:
    """Where a tenant's reindex is. `documents`: how many the generation beside the active one lists, `of` how many the active one does.

    `settings`: of the generation beside the active one. `drops_at`: when one that stands by is dropped.
    """

    tenant: str
    state: beside.State
    reason: str
    settings: Mapping[str, Any]
    documents: int
    of: int
    requested_at: datetime
    changed_at: datetime
    drops_at: datetime | None
    comparison: Comparison | None


def status(resources: Resources, tenant: str) -> Status | None:
    """Where the tenant's last reindex is; None if there was none. Raises TenantError."""
    from index import generations

    session = resources.session(tenant)
    with session.transaction() as connection:
        found = beside.read(connection)
        if found is None:
            return None
        mine, active = generations.find(connection, found.fingerprint), generations.active(connection)
    counts = mine.documents if mine else 0, active.documents if active else 0
    drops_at = _drops_at(session, found) if found.state == "standby" else None
    compared = msgspec.convert(found.comparison, Comparison) if found.comparison else None
    return Status(tenant, found.state, found.reason, found.settings, *counts, found.requested_at, found.changed_at, drops_at, compared)


def known(resources: Resources, tenant: str) -> Status:
    """As `status`, of a tenant that has had a reindex. Raises HeadraceError `no-standby` if it has not."""
    found = status(resources, tenant)
    if found is None:
        raise _nothing_beside()
    return found


def _nothing_beside() -> HeadraceError:
    remedy = "A generation is kept for `retention.standby_days` after `headrace reindex` has switched to another one."
    return HeadraceError("this tenant has no generation to go back to", reason="no-standby", remedy=remedy)


# what an operator asks for


def request(resources: Resources, tenant: str, model: str | None = None, revision: str | None = None, chunker: str | None = None) -> None:
    """Let a generation be built with these settings, and with the tenant's own where one is None; maintenance builds it (`advance`).

    What was built with other settings, or stands by, is dropped. Without any setting, what is under way or was refused is taken up again.
    Raises PolicyError if the settings cannot work; HeadraceError `nothing-indexed`, `index-unfinished` if the index does not have the
    tenant's settings yet, `reindex-unchanged` if it has these already; TenantError.
    """
    session = resources.session(tenant)
    with session.transaction() as connection:
        found = beside.read(connection)
    given = {"model": model, "revision": revision, "chunker": chunker}
    again = not any(given.values()) and found is not None and found.state in ("building", "refused")
    target = found.policy(session.policy) if again and found else _target(session.policy, model, revision, chunker)
    fingerprint = _checked(resources, session, target)
    with audit.recorded(resources, "reindex", tenant, settings=sorted(name for name, value in given.items() if value)):
        _begin(session, target, fingerprint)


def _begin(session: Session, target: Policy, fingerprint: str) -> None:
    with session.transaction() as connection:
        beside.begin(connection, beside.settings_of(target), fingerprint)


def _target(policy: Policy, model: str | None, revision: str | None, chunker: str | None) -> Policy:
    settings = beside.settings_of(policy)
    if model or revision:
        settings["embedding"] |= {"model": model or policy.embedding.model, "revision": revision}
    if chunker:
        settings["chunking"] |= {"strategy": chunker}
    try:
        return policy.model_copy(update={name: type(getattr(policy, name)).model_validate(section) for name, section in settings.items()})
    except ValueError as error:
        raise _bad_settings(error) from None


def _bad_settings(error: ValueError) -> HeadraceError:
    from pydantic import ValidationError

    from core.errors import PolicyError
    from core.section import explain

    return PolicyError(explain(error) if isinstance(error, ValidationError) else str(error), remedy="See docs/configuration.md.")


def _checked(resources: Resources, session: Session, target: Policy) -> str:
    """The fingerprint of a generation with this policy, which can be built. Raises as `request` does."""
    from index import generations

    with session.transaction() as connection:
        active = generations.active(connection)
    if active is None:
        remedy = f"Give the tenant these settings: `headrace tenant set {session.tenant} embedding.model=…`; then `headrace ingest`."
        raise HeadraceError("nothing of this tenant is indexed yet", reason="nothing-indexed", remedy=remedy)
    if active.fingerprint != rebuild.fingerprint_of(resources, session, session.policy):
        raise HeadraceError(
            "this tenant's index is still being built with its present settings",
            reason="index-unfinished",
            remedy=f"`headrace ingest --tenant {session.tenant}`, or a stream, finishes it.",
        )
    fingerprint = rebuild.fingerprint_of(resources, session, target)
    if active.fingerprint == fingerprint:
        remedy = "Name another --model or --chunker."
        raise HeadraceError("this tenant's index has these settings already", reason="reindex-unchanged", remedy=remedy)
    resources.models.embedder_of(target.embedding).check_limit(target.chunking.max_tokens)
    return fingerprint


def rollback(resources: Resources, tenant: str, progress: Progress = lambda _: None) -> bool:
    """Go back: switch to the generation that stands by, or give up one that was not switched to yet.

    Returns whether that is done; it is not while a server is unavailable, or documents keep changing. Raises HeadraceError `no-standby`.
    """
    session = resources.session(tenant)
    with session.transaction() as connection:
        found = beside.read(connection)
    if found is None or found.state == "ended":
        raise _nothing_beside()
    with audit.recorded(resources, "reindex-rollback", tenant, state=found.state):
        if found.state == "standby":
            return _switched(resources, session, found, "rolled-back", progress)
        with session.transaction() as connection:
            beside.end(connection, found, "cancelled")
    return True


# what maintenance does


def advance(resources: Resources, session: Session, progress: Progress = lambda _: None) -> Mapping[str, int]:
    """Build what is wanted, as far as possible; compare, and switch if the comparison passes. Returns counts for people.

    Safe to cut off anywhere, to repeat, and beside others. Trouble that will not pass by itself refuses the generation, with its reason.
    """
    with session.transaction() as connection:
        found = beside.read(connection)
    if found is None or found.state != "building":
        return {}
    try:
        return _advanced(resources, session, found, progress)
    except (Unavailable, LostRace):
        raise
    except HeadraceError as error:
        with session.transaction() as connection:
            beside.refuse(connection, found, error.reason)
        return {"refused": 1}


def _advanced(resources: Resources, session: Session, found: Beside, progress: Progress) -> Mapping[str, int]:
    if _is_configured(resources, session, found):
        promote(resources, session)
    found = _opened(resources, session, found)
    if found.state != "building":
        return {"ended": 1}
    report = run(rebuild.build(resources, session, found.policy(session.policy)), session, progress)
    counts = {"documents": report.done, "failed": report.failed, "embedded": report.tally["embedded"], "switched": 0, "refused": 0}
    if report.unavailable:
        raise Unavailable(report.unavailable)
    build_vector_indexes(resources, session)
    comparison = _compared(resources, session, found)
    if comparison is None:
        return counts
    if comparison.failed:
        with session.transaction() as connection:
            beside.refuse(connection, found, ", ".join(comparison.failed), msgspec.to_builtins(comparison))
        return counts | {"refused": 1}
    return counts | {"switched": int(_switched(resources, session, found, "switched", progress, comparison))}


def _is_configured(resources: Resources, session: Session, found: Beside) -> bool:
    """Whether an operator has given the tenant the settings of this generation: then the ordinary stages write it, and it is promoted."""
    return rebuild.fingerprint_of(resources, session, session.policy) == found.fingerprint


def _opened(resources: Resources, session: Session, found: Beside) -> Beside:
    """The generation, open to be written to, with the fingerprint that its settings give now."""
    from index import generations

    policy = found.policy(session.policy)
    fingerprint, embedder = rebuild.fingerprint_of(resources, session, policy), resources.models.embedder_of(policy.embedding)
    dimension = embedder.dimension  # loads the model
    with session.transaction() as connection:
        if fingerprint != found.fingerprint:
            beside.follow(connection, found, fingerprint)
            found = msgspec.structs.replace(found, fingerprint=fingerprint)
        there = generations.find(connection, fingerprint)
        if there and there.state == "active":
            beside.end(connection, found, "configured")
            return msgspec.structs.replace(found, state="ended")
        generations.open_generation(connection, fingerprint, embedder.model, dimension, session.keys.epoch)
    return found


def _compared(resources: Resources, session: Session, found: Beside) -> Comparison | None:
    """The comparison with the active generation; None if that is not the one of the tenant's settings, or an HNSW index is still built."""
    from index import generations, vector_index

    expected = rebuild.fingerprint_of(resources, session, session.policy)
    with session.transaction() as connection:
        active, new = generations.active(connection), generations.find(connection, found.fingerprint)
        refused, unready = generations.refused(connection, found.fingerprint), vector_index.wanting(connection)
    if active is None or new is None or active.fingerprint != expected or new.generation in unready:
        return None
    embedders = [resources.models.embedder_of(policy.embedding) for policy in (session.policy, found.policy(session.policy))]
    return compare(session, Side(active, embedders[0]), Side(new, embedders[1]), refused)


def _switched(
    resources: Resources, session: Session, found: Beside, reason: str, progress: Progress, comparison: Comparison | None = None
) -> bool:
    """Bring the other generation up to date and switch to it. Returns whether it is done.

    Documents may change between the two: then once more. The session's policy has to be that of the active generation.
    """
    active, expected = beside.settings_of(session.policy), rebuild.fingerprint_of(resources, session, session.policy)
    stage = rebuild.build(resources, session, found.policy(session.policy))
    for _ in range(ROUNDS):
        if run(stage, session, progress).unavailable:
            return False
        with session.transaction("switch") as connection:
            compared = None if comparison is None else msgspec.to_builtins(comparison)
            if beside.switch(connection, found, active, expected, reason, compared):
                return True
    return False


def keep(resources: Resources, session: Session) -> Mapping[str, int]:
    """Bring the generation that stands by up to date; drop it if its time is over, or it cannot be kept up to date any more."""
    with session.transaction() as connection:
        found = beside.read(connection)
    if found is None or found.state != "standby":
        return {}
    stage = rebuild.build(resources, session, found.policy(session.policy))
    if reason := _over(resources, session, found, stage.step.fingerprint):
        with session.transaction() as connection:
            beside.end(connection, found, reason)
        return {"dropped": 1}
    if _is_configured(resources, session, found):
        return promote(resources, session)
    report = run(stage, session)
    return {"documents": report.done, "failed": report.failed, "dropped": 0}


def _over(resources: Resources, session: Session, found: Beside, fingerprint: str) -> str | None:
    """Why a generation does not stand by any longer; None if it does."""
    from index import generations

    with session.transaction() as connection:
        mine = generations.find(connection, found.fingerprint)
    if mine is None or mine.state != "standby":
        return "configured" if mine and mine.state == "active" else "surrogates-rotated"
    if fingerprint != found.fingerprint:
        # chunks of two versions of the code do not meet in one generation
        return "code-changed"
    if datetime.now(UTC) >= _drops_at(session, found) and not held(resources, session.tenant):
        return "expired"
    return None


def _drops_at(session: Session, found: Beside) -> datetime:
    return found.changed_at + timedelta(days=session.policy.retention.standby_days)


def _is_building(connection: Connection, resources: Resources, session: Session) -> bool:  # noqa: ARG001
    return beside.is_in(connection, "building")


def _stands_by(connection: Connection, resources: Resources, session: Session) -> bool:  # noqa: ARG001
    return beside.is_in(connection, "standby")


TASKS = (
    Task("reindex", None, _is_building, advance, slow=True),
    # by the clock: to know whether there is anything to do costs a look at every document
    Task("standby", None, _stands_by, keep, every_s=60.0, slow=True),
)
