"""Headrace in one process: landing and stages, put together once. The command line, Dagster, the stream and the tests all use it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from core.errors import LostRace, Unavailable
from core.ledger.stage import Progress, Report, Session, run
from core.policy import Policy
from pipelines import maintenance, upgrade
from pipelines.each_tenant import each_tenant
from pipelines.resources import Resources
from pipelines.stages import registry

if TYPE_CHECKING:
    from core.tenancy import Tenant
    from events.kafka.batches import Batch, Place
    from events.landing import Landed
    from events.positions import Reconciled

LAND_RECORDS = 1_000
LAND_BYTES = 32 * 1024 * 1024
RECONCILE_ATTEMPTS = 5
"""How often others may move a position while it is reconciled."""


class Headrace(Resources):
    """Lands events and runs stages. Use it as a context manager."""

    def warm(self) -> None:
        """Load every model and start a worker process, so that the first document need not wait. Raises ConfigurationError.

        A tenant whose policy cannot work (its model is missing) is reported when its documents arrive.
        """
        warmed = {self.settings.policy({})}
        self._warm(*warmed)

        def warm(tenant: Tenant) -> None:
            policy = self.session(tenant.tenant).policy
            if policy not in warmed:
                warmed.add(policy)
                self._warm(policy)

        with suppress(Unavailable):
            for _ in each_tenant(self, warm):
                pass

    def _warm(self, policy: Policy) -> None:
        self.models.warm(policy)
        for name in registry.NAMES:
            registry.build(name, self, policy)

    # landing

    def land(self, tenant: str, progress: Callable[[Landed], None] = lambda _: None) -> Landed:
        """Land everything that is in the tenant's topic as of now; a batch that another process landed first counts nothing."""
        from events.contract import topic_of
        from events.landing import Landed

        total = Landed()
        reconciled = self.reconcile(tenant, self.reader.partitions(topic_of(tenant)))
        for batch in self.reader.read_batches({place: r.position.next_offset for place, r in reconciled.items()}, LAND_RECORDS, LAND_BYTES):
            landed = self.land_batch(tenant, batch, reconciled[batch.topic, batch.partition].position.topic_id)
            if landed:
                total.add(landed)
                self.reader.commit({(batch.topic, batch.partition): batch.end})
                self.outbox.publish(self.session(tenant))
            progress(total)
        return total

    def land_batch(self, tenant: str, batch: Batch, topic_id: str | None) -> Landed | None:
        """Land one batch of that topic in one transaction, and publish nothing. None if it lost the race: then it landed nothing."""
        from events.landing import land

        session = self.session(tenant)
        upgrade.ensure(self, session)
        try:
            with session.transaction("land") as connection:
                return land(connection, session.keys, batch, topic_id)
        except LostRace:
            return None

    def positions(self, tenant: str) -> dict[Place, int]:
        """(topic, partition) → next offset, for every partition of the tenant's topic. To count; a consumer asks `reconcile`."""
        from events.contract import topic_of
        from events.positions import current, stored

        topic = topic_of(tenant)
        places = self.reader.partitions(topic)
        with self.session(tenant).transaction() as connection:
            known = stored(connection, topic)
        here = current(self.topics.ids([topic]).get(topic, ""), known)
        return {(topic, partition): here.get(partition, 0) for partition in places}

    def reconcile(self, tenant: str, partitions: Collection[int]) -> dict[Place, Reconciled]:
        """(topic, partition) → where reading continues, and what happened to the topic since the last time.

        Raises LostRace if others move these positions all the time.
        """
        for _ in range(RECONCILE_ATTEMPTS - 1):
            with suppress(LostRace):
                return self._reconcile(tenant, partitions)
        return self._reconcile(tenant, partitions)

    def _reconcile(self, tenant: str, partitions: Collection[int]) -> dict[Place, Reconciled]:
        from events.contract import topic_of
        from events.positions import Bounds, reconcile, stored

        topic, session = topic_of(tenant), self.session(tenant)
        with session.transaction() as connection:
            known = stored(connection, topic)
        topic_id = self.topics.id_of(topic)
        low, high = self.reader.bounds([(topic, partition) for partition in partitions])
        bounds = {partition: Bounds(low[topic, partition], high[topic, partition]) for partition in partitions}
        with session.transaction() as connection:
            reconciled = reconcile(connection, topic, topic_id, known, bounds)
        return {(topic, partition): position for partition, position in reconciled.items()}

    # stages

    def run(self, tenant: str, stage: str, progress: Progress = lambda _: None) -> Report:
        """Take everything that is stale for one stage, and publish the outcomes of its events."""
        session = self.session(tenant)
        report = self.step(session, stage, progress)
        if stage == "index" or report.failed:
            self.outbox.publish(session)
        return report

    def step(self, session: Session, stage: str, progress: Progress = lambda _: None, only: Sequence[str] | None = None) -> Report:
        """Take what is stale for one stage, of these documents if given, then run the maintenance that is due after it.

        The outcomes stay in the outbox. Counts of maintenance stand in the tally as `maintenance/<task>/<count>`.
        """
        report = run(registry.build(stage, self, session.policy, session.keys.epoch), session, progress, only)
        if report.moved or only is None:
            _count_maintenance(report, maintenance.run_due(self, session, after=stage))
        return report

    def ingest(self, tenant: str, progress: Callable[[str, Any], None] = lambda *_: None) -> tuple[Landed, dict[str, Report]]:
        """Land, run every stage until nothing is stale, then all maintenance that is due.

        Returns what landed and each stage's report. The last stage's tally has the counts of the maintenance at the end.
        """
        landed = self.land(tenant, lambda total: progress("land", total))
        totals: dict[str, Report] = {}
        moved = True
        while moved:
            reports = [self.run(tenant, name, lambda report: progress(report.stage, report)) for name in registry.NAMES]
            # a stage may make an earlier one stale again (`index.swap`): once more, until a round moves nothing
            moved = any(report.moved or report.tally["parse_again"] for report in reports)
            totals = {r.stage: totals[r.stage].followed_by(r) if r.stage in totals else r for r in reports}
        _count_maintenance(totals[registry.NAMES[-1]], maintenance.run_due(self, self.session(tenant)))
        return landed, totals


def _count_maintenance(report: Report, done: Mapping[str, Mapping[str, int]]) -> None:
    report.tally.update({f"maintenance/{name}": count for name, count in maintenance.counts(done).items()})
