"""The stream: micro-batches land as records arrive, and every stage takes what they made stale. Models stay warm.

The same stages and the same ledger as a materialization, so that both may run at once. One process is one member of the consumer group;
any number of them, on any hosts, share the tenants. Here is what keeps a long-lived process going: a server that is away is waited for, a
tenant in trouble does not hold up its neighbours, SIGTERM and Ctrl-C finish what is in hand.
"""

from __future__ import annotations

import random
import signal
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import partial
from threading import Event as Flag
from threading import Lock, Thread, Timer
from time import monotonic, perf_counter
from types import FrameType
from typing import Any

from core.errors import ConfigurationError, HeadraceError, Unavailable
from core.ledger.stage import Report, Session
from core.tenancy import PostgresAway
from events.contract import tenant_of, topic_of
from events.kafka.batches import Batch, Place
from events.kafka.group import Member
from pipelines.app import Headrace
from pipelines.stream import slots
from pipelines.stream.backlog import Turn
from pipelines.stream.lanes import LANES, Lanes
from pipelines.stream.metrics import exposed
from pipelines.stream.observer import Beat, Listener, Listeners
from pipelines.stream.recovery import Leftover, untold

MAX_RECORDS, MAX_BYTES = 64, 16 * 1024 * 1024
"""Of one landing: so that it is done within tens of milliseconds, and a new tenant waits no longer than that behind a busy one."""

MOST_WAITING = 256
"""Documents of one tenant in hand; its partitions are held back from there until half of them are through."""

Key = Place | tuple[str, str] | str
"""What is left alone for a while: a partition, a tenant's stage, a stage or a server."""

SWITCH_S = 0.0005
"""How soon a thread that a server has answered goes on beside one that computes: with Python's own 5 ms, waiting is most of a turn."""

POLL_S, STEER_S, LONGEST_S, DRAIN_S = 0.2, 2.0, 60.0, 20.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 15.0


def run(headrace: Headrace, seconds: float | None = None, listener: Listener | None = None, slot: str | None = None) -> dict[str, int]:
    """Stream every tenant until a signal, or for `seconds`; gives the totals.

    `slot` is this process's name among those that stream, for people. Raises ConfigurationError, and HeadraceError where Kafka refuses us;
    everything else that may pass is waited for.
    """
    port = headrace.settings.stream.metrics_port
    with stopped_by_signals() as stop, _ending_after(seconds, stop), exposed(port) as metrics, slots.taken(headrace, slot) as place:
        sys.setswitchinterval(SWITCH_S)
        headrace.warm()  # the first document need not wait
        stream = Stream(headrace, stop, Listeners(place, metrics, listener or Listener()), place.slot)
        stream.run()
    return dict(stream.totals)


class Pause:
    """How long to leave alone what does not answer: about twice as long each time, and not as long as others who wait for the same."""

    def __init__(self) -> None:
        self._seconds = FIRST_PAUSE_S
        self._until = 0.0

    @property
    def over(self) -> bool:
        return monotonic() >= self._until

    def lengthen(self) -> None:
        """Begin the next pause."""
        now, self._seconds = self._seconds, min(2 * self._seconds, LONGEST_PAUSE_S)
        self._until = monotonic() + now * random.uniform(0.5, 1.0)  # noqa: S311


class Stream:
    """One stream over all tenants: this thread polls and lands, the lanes run the stages, one thread looks for what is left over."""

    def __init__(self, headrace: Headrace, stop: Flag, listener: Listener, slot: str) -> None:
        self.totals: Counter[str] = Counter()
        self._headrace, self._stop, self._listener, self._slot = headrace, stop, listener, slot
        self._tenants: list[str] | None = None
        self._partitions: Mapping[str, frozenset[int]] = {}
        self._held: set[str] = set()
        self._topic_ids: dict[Place, str | None] = {}
        self._pauses: dict[Key, Pause] = {}
        self._troubles: set[tuple[str, str]] = set()
        self._waits: dict[str, str] = {}
        self._broken: BaseException | None = None
        self._telling: set[str] = set()
        self._changing = Lock()

    def run(self) -> None:
        """Until it is stopped. Raises what no stream can go on with."""
        self._teller = ThreadPoolExecutor(1, "outcomes")
        self._lanes = Lanes(*(partial(self._advance, stages) for stages in LANES))
        tending = Thread(target=self._tend_until_stopped, name="leftover", daemon=True)
        tending.start()
        try:
            # whoever takes over its partitions need not wait for what is in hand: that is between them and the ledger
            with Member(self._headrace.endpoints.kafka_client(), self._slot, max_records=MAX_RECORDS, max_bytes=MAX_BYTES) as member:
                self._poll(member)
        finally:
            self._stop.set()
            self._lanes.close(DRAIN_S)
            self._teller.shutdown(wait=True)
        if self._broken:
            raise self._broken

    # what arrives

    def _poll(self, member: Member) -> None:
        due = 0.0
        while not self._stop.is_set():
            if monotonic() >= due:
                self._steer(member)
                due = monotonic() + STEER_S
            self._hold_back(member)
            self._open(member)
            try:
                for batch in member.poll(POLL_S):
                    self._take(member, batch)
            except Unavailable as error:
                self._wait_or_go_on("Kafka", error.detail)

    def _steer(self, member: Member) -> None:
        """New tenants' topics join and removed ones leave; whoever listens hears that we live."""
        try:
            self._follow(member, [tenant.tenant for tenant in self._headrace.tenants()])
            self._wait_or_go_on("Postgres", None)
        except Unavailable as error:
            self._wait_or_go_on("Postgres", error.detail)
        self._wait_or_go_on("Kafka", member.silent())
        self._partitions = _by_tenant(member.places)
        self._listener.beat(self._beat(member))

    def _follow(self, member: Member, tenants: list[str]) -> None:
        if tenants != self._tenants:
            self._listener.said({"following": len(tenants)})
        self._tenants = tenants
        member.subscribe(map(topic_of, tenants))

    def _beat(self, member: Member) -> Beat:
        lag: Counter[str] = Counter()
        for (topic, _), events in member.lag().items():
            lag[tenant_of(topic)] += events
        return Beat(self._slot, len(self._tenants or ()), len(member.places), self._lanes.counts(), lag, dict(self._waits))

    def _hold_back(self, member: Member) -> None:
        """A tenant with too much in hand is not read on: what waits in Kafka costs nothing."""
        counts = self._lanes.counts()
        self._held = {t for t, count in counts.items() if count >= (MOST_WAITING // 2 if t in self._held else MOST_WAITING)}
        member.hold({topic_of(tenant) for tenant in self._held})

    def _open(self, member: Member) -> None:
        """Read what was given to us from where Postgres says."""
        for tenant, partitions in _by_tenant(place for place in member.arrived if self._may_try(place)).items():
            with self._apart(tenant, *((topic_of(tenant), partition) for partition in partitions)):
                settled = self._headrace.opened(tenant, partitions)
                self._topic_ids |= {place: where.position.topic_id for place, where in settled.items()}
                member.open({place: where.position.next_offset for place, where in settled.items()})
                for happening in (one for where in settled.values() for one in where.happened):
                    self._listener.said({"tenant": tenant, "error": happening.reason, "detail": happening.detail})

    def _take(self, member: Member, batch: Batch) -> None:
        """Land a batch. Where that fails, its partition is read again from where Postgres says."""
        tenant, place, started, landed = tenant_of(batch.topic), (batch.topic, batch.partition), perf_counter(), None
        if place not in member.places:
            return  # an earlier batch of it was not landed
        with self._apart(tenant, place):
            landed = self._headrace.land_batch(tenant, batch, self._topic_ids.get(place))
        if landed is None:
            member.forget(place)
            return
        member.commit(place, batch.end)
        self._lanes.add(tenant, tuple(landed.documents))
        self._listener.landed(tenant, landed, perf_counter() - started)
        self._tell(tenant, Counter(events=landed.events), started)
        if landed.fates.keys() - {"landed"}:
            self._publish_outcomes(tenant)

    # what the lanes do

    def _advance(self, stages: tuple[str, ...], turn: Turn) -> None:
        """One turn of a lane. A stage whose server is away is left out for a while; the ledger has its documents until then."""
        started, outcome = perf_counter(), Counter[str]()
        try:
            with self._apart(turn.tenant):
                session = self._headrace.session(turn.tenant)
                for stage in stages:
                    if self._may_try(stage) and self._may_try((turn.tenant, stage)):
                        outcome += self._step(session, stage, turn)
        except BaseException as error:  # noqa: BLE001 - a thread's last word: without it the stream would go on with a lane less
            self._broken = error
            self._stop.set()
        self._tell(turn.tenant, outcome, started)

    def _step(self, session: Session, stage: str, turn: Turn) -> Counter[str]:
        report = Report(stage, turn.tenant)
        # where its index was built with another model, or a stage is broken: what needs neither, deletes first of all, goes on
        with self._apart(turn.tenant, (turn.tenant, stage)):
            try:
                report = self._headrace.step(session, stage, only=turn.documents)
            except Unavailable as error:  # before the stage began: its model cannot be fetched
                report.unavailable = error.detail
        self._wait_or_go_on(stage, report.unavailable)
        self._listener.ran(turn.tenant, report)
        if report.failed or stage == "index":
            self._publish_outcomes(turn.tenant)
        searchable = {"indexed": report.done, "deleted": report.deleted} if stage == "index" else {}
        return +Counter(failed=report.failed, **searchable)

    def _publish_outcomes(self, tenant: str) -> None:
        """Beside the lanes: a broker's answer holds up no document."""
        with self._changing:
            if tenant in self._telling:
                return
            self._telling.add(tenant)
        with suppress(RuntimeError):  # a lane that came late, when all was over
            self._teller.submit(self._empty_outbox, tenant)

    def _empty_outbox(self, tenant: str) -> None:
        with self._changing:
            self._telling.discard(tenant)
        with self._apart(tenant):
            self._headrace.outbox.empty(self._headrace.session(tenant))

    # what is left over

    def _tend_until_stopped(self) -> None:
        leftover = Leftover(self._headrace)
        while not self._stop.is_set():
            took = 0.0
            for tenant, partitions in self._partitions.items():
                if not self._stop.is_set() and tenant not in self._held and self._may_try("Postgres"):
                    with self._apart(tenant):
                        started = monotonic()
                        self._tend(leftover, tenant, partitions)
                        took += monotonic() - started
            # with a thousand tenants it takes longer, and stays a small part of what there is to do
            self._stop.wait(min(max(STEER_S, 10 * took), LONGEST_S))

    def _tend(self, leftover: Leftover, tenant: str, partitions: frozenset[int]) -> None:
        session = self._headrace.session(tenant)
        self._lanes.add(tenant, leftover.find(session, partitions, self._lanes.held(tenant)))
        if untold(session):
            self._publish_outcomes(tenant)

    # what goes wrong

    def _may_try(self, what: Key) -> bool:
        return what not in self._pauses or self._pauses[what].over

    def _wait_or_go_on(self, what: str, why: str | None) -> None:
        """Leave a stage or a server alone for a while where there is a reason to. Told once."""
        with self._changing:
            told = what in self._waits
            if why is None:
                self._pauses.pop(what, None)
                self._waits.pop(what, None)
                return
            self._pauses.setdefault(what, Pause()).lengthen()
            self._waits[what] = why
        if not told:
            self._listener.said({"waits": why} if what in ("Postgres", "Kafka") else {"stage": what, "waits": why})

    @contextmanager
    def _apart(self, tenant: str, *places: Key) -> Iterator[None]:
        """One tenant's trouble (removed meanwhile, its topic gone, a wrong key) is told once and tried again; its neighbours go on."""
        try:
            yield
        except ConfigurationError:
            raise
        except Unavailable as error:
            self._wait_or_go_on("Postgres" if isinstance(error, PostgresAway) else "Kafka", error.detail)
            self._lengthen(places)
        except HeadraceError as error:
            self._note_trouble(tenant, error)
            self._lengthen(places)
        else:
            for place in places:
                self._pauses.pop(place, None)

    def _lengthen(self, places: tuple[Key, ...]) -> None:
        for place in places:
            self._pauses.setdefault(place, Pause()).lengthen()

    def _note_trouble(self, tenant: str, error: HeadraceError) -> None:
        if (tenant, error.reason) not in self._troubles:
            self._listener.said({"tenant": tenant, "error": error.reason})
        self._troubles.add((tenant, error.reason))

    def _tell(self, tenant: str, outcome: Counter[str], started: float) -> None:
        with self._changing:
            self.totals.update(outcome)
        if outcome:
            self._listener.said({"tenant": tenant, **outcome, "seconds": round(perf_counter() - started, 3)})


def _by_tenant(places: Any) -> dict[str, frozenset[int]]:
    """Partitions by tenant."""
    found: dict[str, frozenset[int]] = {}
    for topic, partition in places:
        found[tenant_of(topic)] = found.get(tenant_of(topic), frozenset()) | {partition}
    return found


@contextmanager
def stopped_by_signals() -> Iterator[Flag]:
    """A flag that SIGTERM and SIGINT set; the handlers before are put back."""
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
