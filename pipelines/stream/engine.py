"""The stream: micro-batches land as records arrive, and every stage takes what they made stale. Models stay warm.

It runs the same stages over the same ledger as a materialization, so both may run at once. One process is one member of the consumer
group; any number of them, on any hosts, share the tenants. This module keeps a long-lived process going: it waits for an unavailable
server, contains a tenant's errors, and finishes what is in flight on SIGTERM and Ctrl-C.
"""

from __future__ import annotations

import signal
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from threading import Event as Flag
from threading import Lock, Thread, Timer
from time import monotonic, perf_counter
from types import FrameType
from typing import Any

from core.backoff import backoff_s, jittered
from core.errors import ConfigurationError, HeadraceError, Unavailable, described
from core.ledger.stage import Report, Session
from core.tenancy import PostgresUnavailable
from events.contract import tenant_of, topic_of
from events.kafka.batches import Batch, Place
from events.kafka.client import KafkaUnavailable
from events.kafka.group import Member
from pipelines import maintenance
from pipelines.app import Headrace
from pipelines.stages import registry
from pipelines.stream import backlog, slots
from pipelines.stream.lanes import Lanes
from pipelines.stream.metrics import exposed
from pipelines.stream.observer import Heartbeat, Observer, Observers
from pipelines.stream.recovery import Recovery, has_unpublished
from pipelines.tasks import Task

MAX_RECORDS, MAX_BYTES = 64, 16 * 1024 * 1024
"""Limits of one landing, so that it takes tens of milliseconds, the longest that a quiet tenant waits behind a busy one."""

MAX_IN_FLIGHT = 256
"""Documents of one tenant in flight at which its partitions are paused; they resume at half of it."""

Key = Place | tuple[str, str] | str
"""What can be paused and retried: a partition, a stage of one tenant, a stage, or a server."""

OUTCOMES = "outcomes"
"""Used in place of a stage's name when the publishing of a tenant's outcomes is paused."""

SWITCH_S = 0.0005
"""Interpreter switch interval, in seconds. With Python's default of 5 ms, threads that wait for servers spend most of a batch waiting for
the interpreter lock."""

POLL_S, STEER_S, MAX_IDLE_S, DRAIN_S = 0.2, 2.0, 60.0, 20.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 15.0


def run(headrace: Headrace, seconds: float | None = None, observer: Observer | None = None, slot: str | None = None) -> dict[str, int]:
    """Stream every tenant until a signal, or for `seconds`. Returns the totals.

    `slot` names this process among those that stream, for people. Raises ConfigurationError, and HeadraceError if Kafka refuses us;
    it waits for everything else that may pass.
    """
    port = headrace.settings.stream.metrics_port
    with stopped_by_signals() as stop, _ending_after(seconds, stop), exposed(port) as metrics, slots.occupied(headrace, slot) as place:
        sys.setswitchinterval(SWITCH_S)
        headrace.warm()  # so that the first document does not wait for models
        stream = Stream(headrace, stop, Observers(place, metrics, observer or Observer()), place.slot)
        stream.run()
    return dict(stream.totals)


class Pause:
    """How long to wait before the next attempt: twice as long each time, with jitter, so that processes do not retry together."""

    def __init__(self) -> None:
        self._failures = 0
        self._until = 0.0

    @property
    def over(self) -> bool:
        return monotonic() >= self._until

    def lengthen(self) -> None:
        """Begin the next pause."""
        self._failures += 1
        self._until = monotonic() + jittered(backoff_s(self._failures, FIRST_PAUSE_S, LONGEST_PAUSE_S))


class Stream:
    """One stream over all tenants: this thread polls and lands, the lanes run the stages, one thread recovers and maintains."""

    def __init__(self, headrace: Headrace, stop: Flag, observer: Observer, slot: str) -> None:
        self.totals: Counter[str] = Counter()
        self._headrace, self._stop, self._observer, self._slot = headrace, stop, observer, slot
        self._tenants: list[str] | None = None
        self._partitions: Mapping[str, frozenset[int]] = {}
        self._paused: set[str] = set()
        self._topic_ids: dict[Place, str | None] = {}
        self._pauses: dict[Key, Pause] = {}
        self._errors: set[tuple[str, str]] = set()
        self._waits: dict[str, str] = {}
        self._fatal: BaseException | None = None
        self._publishing: set[str] = set()
        self._changing = Lock()

    def run(self) -> None:
        """Run until stopped. Raises errors that the stream cannot recover from."""
        self._publisher = ThreadPoolExecutor(1, "outcomes")
        self._slow: Thread | None = None
        self._lanes = Lanes(*(partial(self._advance, stages) for stages in registry.LANES))
        Thread(target=self._recover_until_stopped, name="recovery", daemon=True).start()
        try:
            # leave the group before the lanes end: the compare-and-set makes it safe for the next owner to start on the same documents
            with Member(self._headrace.endpoints.kafka_client(), self._slot, max_records=MAX_RECORDS, max_bytes=MAX_BYTES) as member:
                self._poll(member)
        finally:
            self._stop.set()
            self._lanes.close(DRAIN_S)
            self._publisher.shutdown(wait=True)
        if self._fatal:
            raise self._fatal

    # records that arrive

    def _poll(self, member: Member) -> None:
        due = 0.0
        while not self._stop.is_set():
            if monotonic() >= due:
                self._steer(member)
                due = monotonic() + STEER_S
            self._pause_full_tenants(member)
            self._open(member)
            try:
                for batch in member.poll(POLL_S):
                    self._land(member, batch)
            except Unavailable as error:
                self._set_waiting("Kafka", error.detail)

    def _steer(self, member: Member) -> None:
        """Subscribe to the topics of added tenants, drop those of removed ones, and send a heartbeat."""
        try:
            self._follow(member, [tenant.tenant for tenant in self._headrace.tenants()])
            self._set_waiting("Postgres", None)
        except Unavailable as error:
            self._set_waiting("Postgres", error.detail)
        self._set_waiting("Kafka", member.outage())
        self._partitions = _by_tenant(member.places)
        self._observer.heartbeat(self._heartbeat(member))

    def _follow(self, member: Member, tenants: list[str]) -> None:
        if tenants != self._tenants:
            self._observer.noted({"following": len(tenants)})
        self._tenants = tenants
        member.subscribe(map(topic_of, tenants))

    def _heartbeat(self, member: Member) -> Heartbeat:
        lag: Counter[str] = Counter()
        for (topic, _), events in member.lag().items():
            lag[tenant_of(topic)] += events
        return Heartbeat(self._slot, len(self._tenants or ()), len(member.places), self._lanes.counts(), lag, dict(self._waits))

    def _pause_full_tenants(self, member: Member) -> None:
        """Stop reading tenants with too many documents in flight: a record that waits in Kafka takes no memory here."""
        counts = self._lanes.counts()
        self._paused = {t for t, count in counts.items() if count >= (MAX_IN_FLIGHT // 2 if t in self._paused else MAX_IN_FLIGHT)}
        member.pause({topic_of(tenant) for tenant in self._paused})

    def _open(self, member: Member) -> None:
        """Start reading newly assigned partitions, from the positions stored in Postgres."""
        for tenant, partitions in _by_tenant(place for place in member.unopened if self._may_try(place)).items():
            with self._contained(tenant, *((topic_of(tenant), partition) for partition in partitions)):
                reconciled = self._headrace.reconcile(tenant, partitions)
                self._topic_ids |= {place: found.position.topic_id for place, found in reconciled.items()}
                member.open({place: found.position.next_offset for place, found in reconciled.items()})
                for reset in (reset for found in reconciled.values() for reset in found.resets):
                    self._observer.noted({"tenant": tenant, "error": reset.reason, "detail": reset.detail})

    def _land(self, member: Member, batch: Batch) -> None:
        """Land a batch. If that fails, its partition is read again from its stored position."""
        tenant, place, started, landed = tenant_of(batch.topic), (batch.topic, batch.partition), perf_counter(), None
        if place not in member.places:
            return  # an earlier batch of this partition failed, and it will be read again
        with self._contained(tenant, place):
            landed = self._headrace.land_batch(tenant, batch, self._topic_ids.get(place))
        if landed is None:
            member.discard(place)
            return
        member.commit(place, batch.end)
        self._lanes.add(tenant, tuple(landed.documents))
        self._observer.landed(tenant, landed, perf_counter() - started)
        self._note_batch(tenant, Counter(events=landed.events), started)
        if landed.fates.keys() - {"landed"}:
            self._publish_outcomes(tenant)

    # stages

    def _advance(self, stages: tuple[str, ...], batch: backlog.Batch) -> None:
        """Run a lane's stages over one batch. A stage whose server is unavailable is skipped: the ledger has its documents until then."""
        started, counts = perf_counter(), Counter[str]()
        try:
            with self._contained(batch.tenant):
                session = self._headrace.session(batch.tenant)
                for stage in stages:
                    if self._may_try(stage) and self._may_try((batch.tenant, stage)):
                        counts += self._step(session, stage, batch)
        except BaseException as error:  # noqa: BLE001 - this thread ends: stop the stream rather than continue with one thread less
            self._fatal = error
            self._stop.set()
        self._note_batch(batch.tenant, counts, started)

    def _step(self, session: Session, stage: str, batch: backlog.Batch) -> Counter[str]:
        report = Report(stage, batch.tenant)
        # an error of one stage (another model's index, a bug) leaves the others running: deletes must still pass
        with self._contained(batch.tenant, (batch.tenant, stage)):
            try:
                report = self._headrace.step(session, stage, only=batch.documents)
            except Unavailable as error:  # before the stage began: its model cannot be fetched
                report.unavailable = error.detail
        self._set_waiting(stage, report.unavailable)
        self._observer.ran(batch.tenant, report)
        if report.failed or stage == "index":
            self._publish_outcomes(batch.tenant)
        searchable = {"indexed": report.done, "deleted": report.deleted} if stage == "index" else {}
        return +Counter(failed=report.failed, **searchable)

    def _publish_outcomes(self, tenant: str) -> None:
        """Publish in a thread of its own, so that no document waits for the broker. After a failure only this tenant pauses."""
        with self._changing:
            if tenant in self._publishing or not self._may_try((tenant, OUTCOMES)):
                return
            self._publishing.add(tenant)
        with suppress(RuntimeError):  # a lane that ends after the publisher was shut down
            self._publisher.submit(self._empty_outbox, tenant)

    def _empty_outbox(self, tenant: str) -> None:
        with self._changing:
            self._publishing.discard(tenant)
        with self._contained(tenant):
            self._headrace.outbox.publish(self._headrace.session(tenant))
        if self._headrace.outbox.is_failing(tenant):
            self._lengthen(((tenant, OUTCOMES),))
        else:
            self._pauses.pop((tenant, OUTCOMES), None)

    # recovery and maintenance

    def _recover_until_stopped(self) -> None:
        recovery = Recovery(self._headrace)
        while not self._stop.is_set():
            took = 0.0
            for tenant, partitions in self._partitions.items():
                if not self._stop.is_set() and tenant not in self._paused and self._may_try("Postgres"):
                    with self._contained(tenant):
                        started = monotonic()
                        self._recover(recovery, tenant, partitions)
                        took += monotonic() - started
            # wait ten times as long as the round took: with a thousand tenants it takes long, and must stay a small part of the work
            self._stop.wait(min(max(STEER_S, 10 * took), MAX_IDLE_S))

    def _recover(self, recovery: Recovery, tenant: str, partitions: frozenset[int]) -> None:
        session = self._headrace.session(tenant)
        self._lanes.add(tenant, recovery.find(session, partitions, self._lanes.in_flight(tenant)))
        if has_unpublished(session):
            self._publish_outcomes(tenant)
        self._report_maintenance(tenant, maintenance.run_due(self._headrace, session, start=partial(self._start_slow, tenant)))

    def _report_maintenance(self, tenant: str, done: Mapping[str, Mapping[str, int]]) -> None:
        if counts := +maintenance.counts(done):
            self._observer.maintained(tenant, counts)
            self._observer.noted({"tenant": tenant, "maintenance": dict(counts)})

    def _start_slow(self, tenant: str, task: Task) -> None:
        """One slow task at a time, in a thread that ends with the process: the task is safe to cut off, and stays due."""
        if self._slow is None or not self._slow.is_alive():
            self._slow = Thread(target=self._run_slow, args=(tenant, task), name=task.name, daemon=True)
            self._slow.start()

    def _run_slow(self, tenant: str, task: Task) -> None:
        with self._contained(tenant):
            self._report_maintenance(tenant, maintenance.run(self._headrace, self._headrace.session(tenant), task))

    # errors

    def _may_try(self, what: Key) -> bool:
        return what not in self._pauses or self._pauses[what].over

    def _set_waiting(self, what: str, why: str | None) -> None:
        """Pause a stage or a server if there is a reason to, else resume it. Reported once."""
        with self._changing:
            known = what in self._waits
            if why is None:
                self._pauses.pop(what, None)
                self._waits.pop(what, None)
                return
            self._pauses.setdefault(what, Pause()).lengthen()
            self._waits[what] = why
        if not known:
            self._observer.noted({"waits": why} if what in ("Postgres", "Kafka") else {"stage": what, "waits": why})

    @contextmanager
    def _contained(self, tenant: str, *keys: Key) -> Iterator[None]:
        """Contain a tenant's errors (it was removed, its topic is gone, its key does not open): report once, retry after a pause."""
        try:
            yield
        except ConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001 - an unexpected exception for one tenant must not stop the others
            if isinstance(error, PostgresUnavailable | KafkaUnavailable):
                self._set_waiting("Postgres" if isinstance(error, PostgresUnavailable) else "Kafka", error.detail)
            else:
                self._note_error(tenant, described(error))
            self._lengthen(keys)
        else:
            for key in keys:
                self._pauses.pop(key, None)

    def _lengthen(self, keys: tuple[Key, ...]) -> None:
        for key in keys:
            self._pauses.setdefault(key, Pause()).lengthen()

    def _note_error(self, tenant: str, error: HeadraceError) -> None:
        if (tenant, error.reason) not in self._errors:
            self._observer.noted({"tenant": tenant, "error": error.reason, "detail": error.detail})
        self._errors.add((tenant, error.reason))

    def _note_batch(self, tenant: str, counts: Counter[str], started: float) -> None:
        with self._changing:
            self.totals.update(counts)
        if counts:
            self._observer.noted({"tenant": tenant, **counts, "seconds": round(perf_counter() - started, 3)})


def _by_tenant(places: Iterable[Place]) -> dict[str, frozenset[int]]:
    """Partitions by tenant."""
    found: dict[str, frozenset[int]] = {}
    for topic, partition in places:
        found[tenant_of(topic)] = found.get(tenant_of(topic), frozenset()) | {partition}
    return found


@contextmanager
def stopped_by_signals() -> Iterator[Flag]:
    """A flag that SIGTERM and SIGINT set; the former handlers are restored."""
    stop = Flag()

    def handle(_signal: int, _frame: FrameType | None) -> None:
        stop.set()

    before: Mapping[int, Any] = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _ending_after(seconds: float | None, stop: Flag) -> Iterator[None]:
    timer = Timer(seconds, stop.set) if seconds is not None else None
    if timer:
        timer.start()
    try:
        yield
    finally:
        if timer:
            timer.cancel()
