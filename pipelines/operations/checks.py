"""The checks of a tenant: each reads, under the tenant's role, what the function of its name in `quality` judges. Samples are newest rows.

Their names, assets and questions are declared in `quality.catalogue`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import polars as pl

from core import artifacts
from core.errors import HeadraceError
from core.records import decode
from core.sql import statements
from core.tenancy import Connection, Tenant
from pipelines.each_tenant import Attempt, each_tenant
from pipelines.resources import Resources
from pipelines.stages.acceptance import Measured
from pipelines.stages.inputs import Versioned

if TYPE_CHECKING:
    from pipelines.operations.lag import Lag
    from quality import Check

SAMPLE = 10_000
DOCUMENTS = 200
QUESTIONS, NEAREST = 30, 10
JUDGED = 200
"""Queries that `retrieval_quality` asks."""


def check(resources: Resources, tenant: str, name: str) -> Check:
    """Run the check of that name for one tenant. Raises HeadraceError `unknown-check`."""
    if name not in BY_NAME:
        raise HeadraceError(f"there is no check {name!r}", reason="unknown-check", remedy=f"Checks are: {', '.join(BY_NAME)}.")
    return BY_NAME[name](resources, tenant)


def contract(resources: Resources, tenant: str) -> Check:
    import quality

    return quality.contract(pl.DataFrame(_rows(resources, tenant, "landed", limit=SAMPLE), schema=quality.landed_schema()))


def freshness(resources: Resources, tenant: str) -> Check:
    from pipelines.operations.lag import lag

    return _freshness(resources.database.get(tenant), lag(resources, tenant))


def nothing_lost(resources: Resources, tenant: str) -> Check:
    with resources.session(tenant).transaction() as connection:
        return _nothing_lost(connection)


def watch(resources: Resources, tenants: Collection[str]) -> Iterator[Attempt[Check]]:
    """`nothing_lost` and `freshness` of each of these tenants that exists. Two queries each, and a few requests to Kafka for all of them.

    Omits the freshness of a tenant whose topic Kafka does not answer for. Raises Unavailable.
    """
    from pipelines.operations.lag import combined, unlanded

    found = [tenant for tenant in resources.tenants() if tenant.tenant in tenants]
    waiting = unlanded(resources, [tenant.tenant for tenant in found])

    def lost(tenant: Tenant) -> Check:
        with resources.database.tenant(tenant.tenant) as connection:
            return _nothing_lost(connection)

    def fresh(tenant: Tenant) -> Check:
        with resources.database.tenant(tenant.tenant) as connection:
            return _freshness(tenant, combined(waiting[tenant.tenant], connection))

    yield from each_tenant(resources, lost, found)
    yield from each_tenant(resources, fresh, [tenant for tenant in found if tenant.tenant in waiting])


def _freshness(tenant: Tenant, behind: Lag) -> Check:
    import quality
    from core.freshness import target_s

    return quality.freshness(behind.oldest, datetime.now(UTC), target_s(tenant.configuration), behind.events or 0, behind.documents)


def _nothing_lost(connection: Connection) -> Check:
    import quality
    from events.positions import losses

    return quality.nothing_lost(Counter(row["reason"] for row in losses(connection)))


def parse_quality(resources: Resources, tenant: str) -> Check:
    import quality

    measured = [decode(payload, Measured) for payload in _newest(resources, tenant, "parse").values()]
    signals, languages = [one.signals for one in measured], [one.language for one in measured]
    return quality.parse_quality(signals, languages, resources.session(tenant).policy.reading)


def residual_pii(resources: Resources, tenant: str) -> Check:
    from pipelines.operations import residual_sample

    return residual_sample.residual_pii(resources.session(tenant))


def chunk_quality(resources: Resources, tenant: str) -> Check:
    import quality

    columns = {"text_hash": pl.String, "token_count": pl.Int64, "text": pl.String, "ordinal": pl.Int64, "sources": pl.Int64}
    frame = quality.describe_texts(pl.DataFrame(_rows(resources, tenant, "chunks", limit=SAMPLE), schema=columns))
    return quality.chunk_quality(frame, resources.session(tenant).policy.chunking.max_tokens)


def embedding_health(resources: Resources, tenant: str) -> Check:
    import numpy as np
    from pgvector import HalfVector

    import quality

    embedder = resources.models.embedder_of(resources.session(tenant).policy.embedding)
    rows = _rows(resources, tenant, "vectors", model=embedder.identity, limit=SAMPLE)
    vectors = np.array([HalfVector.from_text(row["embedding"]).to_numpy() for row in rows], dtype=np.float32)
    return quality.embedding_health(vectors.reshape(len(rows), -1) if rows else np.empty((0, embedder.dimension)), embedder.dimension)


def index_completeness(resources: Resources, tenant: str) -> Check:
    import quality

    return quality.index_completeness(_rows(resources, tenant, "completeness")[0])


def vector_recall(resources: Resources, tenant: str) -> Check:
    """Passages' own vectors are the questions: each is nearest to itself, and the others of its ten are what an index may miss."""
    import quality
    from quality.rankings import recall
    from retrieval import vector
    from retrieval.compare import nearest

    with resources.readers.snapshot(tenant) as connection:
        active = vector.active_generation(connection)
        if active is None or not active.indexed:
            return quality.vector_recall([])
        questions = connection.execute(_SQL["questions"], {"generation": active.generation, "limit": QUESTIONS}).fetchall()
        asked = [row["embedding"] for row in questions]
        exact = [nearest(connection, active, one, NEAREST, exact=True) for one in asked]
        found = [nearest(connection, active, one, NEAREST, exact=False) for one in asked]
    return quality.vector_recall([recall(a, b) for a, b in zip(found, exact, strict=True)])


def retrieval_quality(resources: Resources, tenant: str) -> Check:
    """In the modes that were kept; every document counts that anybody may read."""
    import quality
    from pipelines.operations import canaries, evaluate

    session = resources.session(tenant)
    with session.transaction() as connection:
        kept = [one for one in canaries.stored(connection) if one.baseline][:JUDGED]
    relevant = {document for one in kept for document, grade in one.judgements.items() if grade > 0}
    absent = len(relevant - evaluate.indexed(session, sorted(relevant)))
    return quality.retrieval_quality(evaluate.reached(resources, tenant, kept), session.policy.evaluation.most_ndcg_loss, absent)


def graph_consistency(resources: Resources, tenant: str) -> Check:
    import quality

    session = resources.session(tenant)
    documents = [row["document"] for row in _rows(resources, tenant, "projected")]
    with session.transaction() as connection:
        payloads = artifacts.get(connection, session.keys, "graph", documents)
    expected = {document: decode(payload, Versioned).version for document, payload in payloads.items()}
    return quality.graph_consistency(expected, resources.models.projection.documents(tenant))


BY_NAME: Mapping[str, Callable[[Resources, str], Check]] = {
    function.__name__: function
    for function in (
        contract,
        freshness,
        nothing_lost,
        parse_quality,
        residual_pii,
        chunk_quality,
        embedding_health,
        index_completeness,
        vector_recall,
        retrieval_quality,
        graph_consistency,
    )
}
"""Every check of `quality.catalogue`, by name."""


def _newest(resources: Resources, tenant: str, stage: str) -> dict[str, bytes]:
    session = resources.session(tenant)
    documents = [row["document"] for row in _rows(resources, tenant, "newest", stage=stage, limit=DOCUMENTS)]
    with session.transaction() as connection:
        return artifacts.get(connection, session.keys, stage, documents)


def _rows(resources: Resources, tenant: str, name: str, **values: Any) -> list[dict[str, Any]]:
    with resources.session(tenant).transaction() as connection:
        return connection.execute(_SQL[name], values).fetchall()


_SQL = statements("pipelines.operations", "sql/checks.sql")
