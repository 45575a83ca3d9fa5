"""Headrace in one process: settings, servers, keys, models and the way, put together once.

The command line, Dagster's resource, the stream and the tests all use this and nothing beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack, suppress
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from core import outcomes
from core.config import Endpoints, Settings, master_key_bytes
from core.errors import HeadraceError, LostRace, PolicyError, TenantError, Unavailable
from core.keys import TenantKeys
from core.ledger.stage import Progress, Report, Session, run
from core.policy import Policy
from core.tenancy import Database, Tenant
from pipelines import sealed_settings

if TYPE_CHECKING:
    from events.kafka.batches import Place
    from events.kafka.reader import Batch, Reader
    from events.kafka.topics import Topics
    from events.landing import Landed
    from events.positions import Settled
    from pipelines.governance.retention import Enforced
    from pipelines.models import Models
    from pipelines.operations.stage_counts import Standing
    from pipelines.outbox import Outbox
    from pipelines.stages.registry import Way
    from quality import Check

LAND_RECORDS = 1_000
LAND_BYTES = 32 * 1024 * 1024
TRIES = 5
"""How often a position may be moved by somebody else while it is looked at."""


class Headrace:
    """Everything a process needs to take documents along the way. Use it as a context manager."""

    def __init__(self, settings: Settings, endpoints: Endpoints) -> None:
        self.settings = settings
        self.endpoints = endpoints
        self._closing = ExitStack()
        self._sessions: dict[str, tuple[Tenant, Session]] = {}

    def __enter__(self) -> Headrace:
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing.close()

    @cached_property
    def database(self) -> Database:
        return self._closing.enter_context(Database(self.endpoints.postgres_pipeline.get_secret_value()))

    @cached_property
    def readers(self) -> Database:
        """Connections as the reader role: it can only select, and only what a search needs."""
        return self._closing.enter_context(Database(self.endpoints.postgres_reader.get_secret_value(), role="reader"))

    @cached_property
    def models(self) -> Models:
        from pipelines.models import Models

        return self._closing.enter_context(Models(self.settings, self.endpoints))

    @cached_property
    def way(self) -> Way:
        from pipelines.stages.registry import Way

        return Way(self.settings, self.models)

    @cached_property
    def reader(self) -> Reader:
        from events.kafka.reader import Reader

        return self._closing.enter_context(Reader(self.endpoints.kafka_client()))

    @cached_property
    def topics(self) -> Topics:
        from events.kafka.topics import Topics

        return Topics(self.endpoints.kafka_client())

    @cached_property
    def outbox(self) -> Outbox:
        from pipelines.outbox import Outbox

        return Outbox(self.endpoints)

    def warm(self) -> None:
        """Load every model and start a worker process, so that the first document need not wait for any. Raises ConfigurationError.

        A tenant whose policy cannot be had (a model is not there) hears of it when its documents come.
        """
        default = self.settings.policy({})
        self._warm(default)
        for policy in self._policies() - {default}:
            with suppress(HeadraceError):
                self._warm(policy)

    def _policies(self) -> set[Policy]:
        """What tenants want by now, each once; of none where Postgres is away."""
        from privacy import CannotDecrypt

        found = set[Policy]()
        with suppress(Unavailable):
            for tenant in self.tenants():
                with suppress(PolicyError, TenantError, CannotDecrypt):
                    found.add(self.session(tenant.tenant).policy)
        return found

    def _warm(self, policy: Policy) -> None:
        from pipelines.stages.registry import NAMES

        self.models.warm(policy)
        for name in NAMES:
            self.way.stage(name, policy)

    def tenants(self) -> list[Tenant]:
        return self.database.tenants()

    def session(self, tenant: str) -> Session:
        """The tenant at work. Raises TenantError where there is none of that name.

        Asks each time: a tenant may be configured anew, or removed and made again, with another key, while this process runs.
        """
        now = self.database.get(tenant)
        known = self._sessions.get(tenant)
        if known is None or known[0] != now:
            keys = self.keys(now)
            policy = self.settings.policy(sealed_settings.opened(now.configuration, lambda: keys))
            known = self._sessions[tenant] = now, Session(tenant, self.database, keys, policy)
        return known[1]

    def keys(self, tenant: Tenant) -> TenantKeys:
        """What a row of the control plane has wrapped. Raises CannotDecrypt where the master key is another one."""
        from privacy import tenant_keys

        return tenant_keys(master_key_bytes(self.endpoints.master_key), tenant.tenant, tenant.wrapped_key, tenant.surrogates)

    def land(self, tenant: str, progress: Callable[[Landed], None] = lambda _: None) -> Landed:
        """Land everything that is in the tenant's topic as of now; a batch that another worker was first to land counts nothing."""
        from events.contract import topic_of
        from events.landing import Landed

        total = Landed()
        settled = self.opened(tenant, self.reader.partitions(topic_of(tenant)))
        for batch in self.reader.read_batches({place: s.position.next_offset for place, s in settled.items()}, LAND_RECORDS, LAND_BYTES):
            landed = self.land_batch(tenant, batch, settled[batch.topic, batch.partition].position.topic_id)
            if landed:
                total.add(landed)
                self.reader.commit({(batch.topic, batch.partition): batch.end})
                self.outbox.empty(self.session(tenant))
            progress(total)
        return total

    def land_batch(self, tenant: str, batch: Batch, topic_id: str | None) -> Landed | None:
        """Land one batch of that topic in one transaction, and tell nobody. None where it lost the race: it landed nothing."""
        from events.landing import land

        session = self.session(tenant)
        try:
            with session.transaction("land") as connection:
                return land(connection, session.keys, batch, topic_id)
        except LostRace:
            return None

    def positions(self, tenant: str) -> dict[Place, int]:
        """(topic, partition) → next offset, for every partition the tenant's topic has. For who counts; who reads asks `opened`."""
        from events.contract import topic_of
        from events.positions import current, known

        topic = topic_of(tenant)
        places = self.reader.partitions(topic)
        with self.session(tenant).transaction() as connection:
            seen = known(connection, topic)
        here = current(self.topics.ids([topic]).get(topic, ""), seen)
        return {(topic, partition): here.get(partition, 0) for partition in places}

    def opened(self, tenant: str, partitions: Collection[int]) -> dict[Place, Settled]:
        """(topic, partition) → where reading goes on, and what happened to the topic since anybody last asked.

        Raises LostRace where others move these positions all the time.
        """
        for _ in range(TRIES - 1):
            with suppress(LostRace):
                return self._opened(tenant, partitions)
        return self._opened(tenant, partitions)

    def _opened(self, tenant: str, partitions: Collection[int]) -> dict[Place, Settled]:
        from events.contract import topic_of
        from events.positions import Bounds, known, settle

        topic, session = topic_of(tenant), self.session(tenant)
        with session.transaction() as connection:
            seen = known(connection, topic)
        topic_id = self.topics.id_of(topic)
        low, high = self.reader.bounds([(topic, partition) for partition in partitions])
        bounds = {partition: Bounds(low[topic, partition], high[topic, partition]) for partition in partitions}
        with session.transaction() as connection:
            settled = settle(connection, topic, topic_id, seen, bounds)
        return {(topic, partition): where for partition, where in settled.items()}

    def run(self, tenant: str, stage: str, progress: Progress = lambda _: None) -> Report:
        """Take everything that is stale for one stage, and tell what became of its events."""
        session = self.session(tenant)
        report = self.step(session, stage, progress)
        if stage == "index" or report.failed:
            self.outbox.empty(session)
        return report

    def step(self, session: Session, stage: str, progress: Progress = lambda _: None, only: Sequence[str] | None = None) -> Report:
        """Take what is stale for one stage, of these documents where they are given; the outcomes wait in the outbox.

        After the index, a generation that is complete becomes the active one, and Postgres learns how large a young tenant has become.
        After the graph, what is left of a rotation comes to its end.
        """
        built = self.way.stage(stage, session.policy, session.keys.epoch)
        report = run(built, session, progress, only)
        if stage == "index" and report.moved:
            self.promote(session)
        if stage == "project" and session.keys.former:
            from pipelines.governance.surrogate_keys import settle

            settle(self, session)
        return report

    def check(self, tenant: str, name: str) -> Check:
        """One quality check, by its name."""
        from pipelines.operations.checks import check

        return check(self, tenant, name)

    def enforce_retention(self, tenant: str) -> Enforced:
        """Let go what is old enough by the tenant's own word."""
        from pipelines.governance.retention import enforce

        return enforce(self, tenant)

    def standing(self, tenant: str, stage: str) -> Standing:
        """How many of the tenant's documents are done, failed, waiting or behind at this stage, and why."""
        from pipelines.operations.stage_counts import standing

        return standing(self, tenant, stage)

    def due(self, tenant: str) -> int:
        """Documents that a run would move although nothing new was published; one more where outcomes are left to publish."""
        from pipelines.operations.stage_counts import due

        return due(self, tenant)

    def ingest(self, tenant: str, progress: Callable[[str, Any], None] = lambda *_: None) -> tuple[Landed, dict[str, Report]]:
        """Land, then run every stage until nothing is stale. Gives what landed and each stage's report."""
        from pipelines.stages.registry import NAMES

        landed = self.land(tenant, lambda total: progress("land", total))
        totals: dict[str, Report] = {}
        moved = True
        while moved:
            reports = [self.run(tenant, name, lambda report: progress(report.stage, report)) for name in NAMES]
            # a stage may make an earlier one stale again (`index.swap`): once more, until a round moves nothing
            moved = any(report.moved or report.tally["parse_again"] for report in reports)
            totals = {report.stage: merged(totals.get(report.stage), report) for report in reports}
        if totals["index"].moved:
            self._sweep(tenant)
        return landed, totals

    def _sweep(self, tenant: str) -> None:
        from index import swap

        with self.session(tenant).transaction() as connection:
            swap.sweep(connection)

    def promote(self, session: Session) -> None:
        """Switch to the generation that the index stage builds, where that is complete."""
        from index import generations

        fingerprint = self.way.stage("index", session.policy, session.keys.epoch).step.fingerprint
        with session.transaction("promote") as connection:
            # first: afterwards it might wait with the sources locked
            generations.learn(connection)
            if generations.promote(connection, fingerprint):
                outcomes.indexed(connection)


def merged(before: Report | None, after: Report) -> Report:
    """Two runs of a stage as one report; what the later one waits for is what counts."""
    if before is None:
        return after
    sums = {name: getattr(before, name) + getattr(after, name) for name in _SUMMED}
    return replace(after, **sums, about=before.about | after.about)


_SUMMED = ("done", "deleted", "failed", "waiting", "superseded", "reaffirmed", "seconds", "latencies", "reasons", "tally")
