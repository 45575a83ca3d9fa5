"""Outcomes: each event's fate is decided once, published at least once, and in order per document, whatever crashes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import artifacts, frames, outcomes
from core.errors import DocumentError, HeadraceError
from core.frames import Result
from core.ledger import ledger
from core.ledger.ledger import Stale, Step
from core.ledger.stage import Session, Stage, run
from core.records import EmbeddingModel
from core.tenancy import Connection, Row
from events.kafka.admin import Admin
from events.kafka.topics import outcomes_of
from events.landing import land_records
from events.outcomes import Outcome, OutcomeProducer, Outcomes
from events.publish import Publisher
from index import generations, swap
from pipelines.dagster.runtime import Runtime
from pipelines.governance import erasure
from pipelines.governance.receipts import StoreCounts
from pipelines.outbox import Outbox, _record, deliver
from tests.tenant_fixture import FunctionStage, Inlet, World, publish

pytestmark = pytest.mark.usefixtures("empty_world")

NAMES = ("a.md", "b.md")
POISON = "poison"
MODEL = EmbeddingModel("m", "m")
Place = tuple[int, int]


class Crash(Exception):
    """The process dies here."""


@dataclass
class Mill:
    """Landing, one stage that swaps, and the outbox of one tenant. `sent`: what the broker received; `fates`: what landing returned."""

    world: World
    inlet: Inlet
    fingerprint: str = "1"
    sent: list[Row] = field(default_factory=list)
    fates: dict[Place, str] = field(default_factory=dict)

    def land(self, *records: Any) -> None:
        self.inlet.land(*records)
        rows = self.world.rows(
            "SELECT kafka_partition, kafka_offset, fate FROM event WHERE kafka_partition = %(p)s", p=self.inlet.partition
        )
        for row in rows:
            self.fates.setdefault((row["kafka_partition"], row["kafka_offset"]), row["fate"])

    def run(self, *, crashes: bool = False) -> None:
        run(_index(self.fingerprint, crashes=crashes), self.world.session)

    def again(self) -> None:
        """A replay of everything that failed."""
        with self.world.session.transaction() as connection:
            ledger.retry(connection, [self.world.key(name) for name in NAMES], None)

    def tell(self, *, crashes: bool = False) -> None:
        """What the relay does, the broker's part left out."""
        with suppress(Crash), self.world.session.transaction() as connection:
            rows = outcomes.undelivered(connection, 3)
            self.sent += rows
            outcomes.delivered(connection, rows)
            if crashes:
                raise Crash

    def tell_all(self) -> None:
        while self.world.rows("SELECT FROM outcome WHERE outcome IS NOT NULL LIMIT 1"):
            self.tell()

    def first(self) -> dict[Place, str]:
        """By event, what a consumer heard of it first, in the order in which it was heard."""
        heard: dict[Place, str] = {}
        for row in self.sent:
            heard.setdefault((row["kafka_partition"], row["kafka_offset"]), row["outcome"])
        return heard


def _index(fingerprint: str, *, crashes: bool = False) -> Stage:
    """The last stage before search, straight from what landed: the real swap, and no model."""

    def compute(session: Session, rows: Sequence[Stale], _: Counter[str]) -> Sequence[Result]:
        with session.transaction() as connection:
            found = artifacts.get(connection, session.keys, "land", [row.document for row in rows])
        inputs = [{"document": r.document, "input_key": r.input_key, "content": found[r.document]} for r in rows if r.document in found]
        return frames.results(frames.apply(pl.DataFrame(inputs), _digested))

    def store(connection: Connection, _: Session, payloads: Mapping[str, bytes]) -> Sequence[str]:
        generation = generations.open_generation(connection, fingerprint, MODEL, 3)
        version = swap.Version("name", "title", "", ("*",), ())
        lacking = swap.swap(connection, generation, MODEL.identity, dict.fromkeys(payloads, version))
        outcomes.indexed(connection, payloads)
        if crashes:
            raise Crash
        return lacking

    def remove(connection: Connection, _: Session, documents: Sequence[str]) -> Sequence[str]:
        swap.remove(connection, documents)
        outcomes.decide(connection, documents, "deleted")
        return ()

    return FunctionStage(Step("index", None, "content", fingerprint), compute, store, remove, batch=2, revalidates=False)


def _digested(row: Mapping[str, Any]) -> bytes:
    if row["content"].startswith(POISON.encode()):
        raise DocumentError("it does not agree with this stage", reason="indigestible")
    return bytes(row["content"])


@pytest.fixture
def mill(world: World) -> Mill:
    return Mill(world, world.inlet())


@pytest.fixture
def inlet(mill: Mill) -> Inlet:
    return mill.inlet


def sent(mill: Mill) -> list[str]:
    """The published outcomes, in order, of events in landing order."""
    mill.tell_all()
    return [f"{row['kafka_offset']} {row['outcome']}" for row in mill.sent]


# always


@dataclass(frozen=True)
class Event:
    name: str
    sequence: int
    content: str
    deletes: bool

    def on(self, inlet: Inlet) -> Any:
        return inlet.delete(self.name, self.sequence) if self.deletes else inlet.upsert(self.name, self.content, self.sequence)


EVENTS = st.builds(
    Event,
    name=st.sampled_from(NAMES),
    sequence=st.integers(0, 6),
    content=st.sampled_from(["one", "two", POISON]),
    deletes=st.sampled_from([False, False, True]),
)
STEPS = (
    st.lists(EVENTS, min_size=1, max_size=4)
    | st.lists(EVENTS, min_size=1, max_size=4)
    | st.sampled_from(["run", "run, and crash", "again", "build anew", "tell", "tell, and crash"])
)


@given(st.lists(STEPS, min_size=2, max_size=12))
@settings(max_examples=100)
def test_whatever_lands_runs_fails_and_crashes_each_event_has_one_outcome_and_none_is_lost(
    world: World, steps: list[list[Event] | str]
) -> None:
    world.clear()
    mill = Mill(world, world.inlet())
    for step in steps:
        if isinstance(step, list):
            mill.land(*[event.on(mill.inlet) for event in step])
        else:
            _stepped(mill, step)
    mill.run()
    _promote(mill)
    mill.tell_all()
    heard = mill.first()
    assert heard.keys() == mill.fates.keys()
    # a repeat says what the first said
    assert {(row["kafka_partition"], row["kafka_offset"], row["outcome"]) for row in mill.sent} == {
        (*at, what) for at, what in heard.items()
    }
    _as_landed_and_run(mill, heard)
    assert world.rows("SELECT FROM outcome") == []


def _stepped(mill: Mill, step: str) -> None:
    if step == "again":
        mill.again()
    elif step == "build anew":
        mill.fingerprint = "2" if mill.fingerprint == "1" else "1"
    elif step.startswith("tell"):
        mill.tell(crashes=step.endswith("crash"))
    else:
        with suppress(Crash):
            mill.run(crashes=step.endswith("crash"))
        _promote(mill)


def _promote(mill: Mill) -> None:
    with mill.world.session.transaction() as connection:
        generations.open_generation(connection, mill.fingerprint, MODEL, 3)
        if generations.promote(connection, mill.fingerprint):
            outcomes.indexed(connection)


def _as_landed_and_run(mill: Mill, heard: Mapping[Place, str]) -> None:
    newest = {(row["kafka_partition"], row["kafka_offset"]): row for row in mill.world.rows("SELECT * FROM document")}
    order = list(heard)
    for place, outcome in heard.items():
        fate = mill.fates[place]
        assert fate in (outcome, "landed")
        if place in newest and fate == "landed":
            assert outcome in ("deleted" if newest[place]["deleted"] else "indexed", "dead-lettered")
    for row in (row for row in newest.values() if row["published"]):
        # of one document's landed events the one that superseded the others is published last
        landed = [at for at in order if mill.fates[at] == "landed" and _document(mill, at) == row["document"]]
        assert landed[-1] == (row["kafka_partition"], row["kafka_offset"])


def _document(mill: Mill, place: Place) -> str:
    query = "SELECT document FROM event WHERE kafka_partition = %(p)s AND kafka_offset = %(o)s"
    return str(mill.world.rows(query, p=place[0], o=place[1])[0]["document"])


# what is published, and when


def test_a_landed_event_is_published_when_the_swap_commits_and_not_before(mill: Mill, inlet: Inlet) -> None:
    mill.land(inlet.upsert("a.md", "one", 1))
    assert sent(mill) == []
    with pytest.raises(Crash):
        mill.run(crashes=True)
    assert sent(mill) == []
    mill.run()
    assert sent(mill) == ["0 indexed"]


def test_what_landing_decides_is_published_at_once_and_a_newer_event_supersedes_the_older(mill: Mill, inlet: Inlet) -> None:
    mill.land(inlet.upsert("a.md", "one", 5))
    mill.land(inlet.upsert("a.md", "late", 4), inlet.upsert("a.md", "one", 5), inlet.upsert("a.md", "other", 5), inlet.raw(b"a.md", b"{}"))
    assert sent(mill) == ["1 superseded", "2 unchanged", "3 dead-lettered", "4 dead-lettered"]
    assert [row["reason"] for row in mill.sent] == [None, None, "sequence-conflict", "not-cloudevents"]
    mill.land(inlet.upsert("a.md", "two", 6), inlet.upsert("a.md", "three", 7))
    assert sent(mill)[4:] == ["0 superseded", "5 superseded"]
    mill.run()
    assert sent(mill)[6:] == ["6 indexed"]


def test_a_delete_is_published_when_the_document_has_left_the_index(mill: Mill, inlet: Inlet) -> None:
    mill.land(inlet.upsert("a.md", "one"))
    mill.run()
    mill.land(inlet.delete("a.md"))
    assert sent(mill) == ["0 indexed"]
    mill.run()
    assert sent(mill) == ["0 indexed", "1 deleted"]


def test_a_delete_of_an_unknown_id_is_published_at_once_and_each_time(mill: Mill, inlet: Inlet) -> None:
    mill.land(inlet.delete("never-seen.md", 1))
    mill.run()
    mill.land(inlet.delete("never-seen.md", 1), inlet.delete("never-seen.md", 2), inlet.null("another.md"))
    mill.run()
    assert sent(mill) == [f"{offset} unknown-document" for offset in range(4)]
    mill.land(inlet.upsert("never-seen.md", "late", 2), inlet.upsert("never-seen.md", "one", 3), inlet.delete("never-seen.md", 4))
    mill.run()
    assert sent(mill)[4:] == ["4 dead-lettered", "5 superseded", "6 deleted"]


def test_an_event_is_not_indexed_because_the_version_before_has_the_same_offset_in_another_partition(world: World, mill: Mill) -> None:
    other = world.inlet()
    mill.inlet.append_time_s, other.append_time_s = 1, 2
    mill.land(mill.inlet.upsert("a.md", "one"))
    mill.run()
    assert other.land(other.upsert("a.md", "two")).fates == Counter(landed=1)
    with world.session.transaction() as connection:
        outcomes.indexed(connection)
    assert sent(mill) == ["0 indexed"]
    mill.run()
    assert sent(mill) == ["0 indexed", "0 indexed"]


def test_a_permanent_failure_is_published_with_its_reason_and_a_replay_publishes_nothing_more(mill: Mill, inlet: Inlet) -> None:
    mill.land(inlet.upsert("a.md", POISON))
    for _ in range(2):
        mill.run()
        mill.again()
    assert sent(mill) == ["0 dead-lettered"]
    assert mill.sent[0]["reason"] == "indigestible"
    with mill.world.session.transaction() as connection:
        artifacts.put(connection, mill.world.session.keys, "land", {mill.world.key("a.md"): b"mended by hand"})
    mill.run()
    assert mill.world.record("index", "a.md")["status"] == "done"
    assert sent(mill) == ["0 dead-lettered"]


def test_a_refused_event_that_a_replay_lands_is_not_published_again_and_still_supersedes(mill: Mill, inlet: Inlet) -> None:
    ours, theirs = inlet.upsert("a.md", "ours", 1), inlet.upsert("a.md", "theirs", 2, "/other")
    mill.land(ours, theirs)
    with mill.world.session.transaction() as connection:
        connection.execute("UPDATE document SET source_key = ''")
        assert land_records(connection, mill.world.session.keys, [theirs]).fates == Counter(landed=1)
    mill.run()
    assert sent(mill) == ["1 dead-lettered", "0 superseded"]


def test_an_event_is_not_indexed_while_its_generation_is_being_built(mill: Mill, inlet: Inlet) -> None:
    mill.land(inlet.upsert("a.md", "one", 1))
    mill.run()
    mill.fingerprint = "2"
    mill.land(inlet.upsert("a.md", "two", 2))
    mill.run()
    assert sent(mill) == ["0 indexed"]
    _promote(mill)
    assert sent(mill) == ["0 indexed", "1 indexed"]


def test_the_same_position_of_a_topic_that_was_made_anew_is_another_event(mill: Mill, inlet: Inlet) -> None:
    mill.land(inlet.upsert("a.md", "one", 1))
    mill.run()
    with mill.world.session.transaction() as connection:
        connection.execute("UPDATE stream_position SET next_offset = 0")
    inlet.offset = inlet.position = 0
    mill.land(inlet.upsert("b.md", "two", 1))
    mill.run()
    assert sent(mill) == ["0 indexed", "0 indexed"]


# on Kafka


@contextmanager
def heard(app: Runtime, tenant: str) -> Iterator[Callable[[int], list[Outcome]]]:
    """So many outcomes, as a consumer gets them from here on."""
    with Outcomes(app.endpoints.kafka_client(), tenant) as listening:

        def so_many(number: int) -> list[Outcome]:
            found: list[Outcome] = []
            for _ in range(200):
                found += listening._next(0.1)
                if len(found) >= number:
                    break
            return found

        yield so_many


def test_an_outcome_says_which_event_it_was_and_how_long_it_took(app: Runtime, acme: str) -> None:
    with heard(app, acme) as so_many, Publisher(app.endpoints.kafka_client(), acme, "/wiki") as publisher:
        event = publisher.upsert("people/jo.md", content="# Seals\n\nInspected once a year.", sequence=7)
        publisher.flush()
        app.ingest(acme)
        (outcome,) = so_many(1)
    assert (outcome.event, outcome.document, outcome.sequence) == (event, "people/jo.md", 7)
    assert (outcome.outcome, outcome.reason, outcome.operation, outcome.offset) == ("indexed", None, "upsert", 0)
    assert outcome.received_at <= outcome.landed_at <= outcome.decided_at
    assert outcome.latency_s == pytest.approx((outcome.decided_at - outcome.received_at).total_seconds())
    with app.session(acme).transaction() as connection:
        assert connection.execute("SELECT FROM outcome").fetchall() == []


def test_a_crash_before_the_commit_repeats_and_loses_nothing(app: Runtime, acme: str) -> None:
    session = app.session(acme)
    with heard(app, acme) as so_many:
        for sequence in (1, 2):
            publish(app, acme, sequence, a="one", b="two")
        _land_silently(app, acme)
        with suppress(Crash), session.transaction() as connection:
            assert deliver(connection, session, OutcomeProducer(app.endpoints.kafka_client()), str) == 2
            raise Crash
        assert app.outbox.publish(session) == 2
        assert app.outbox.publish(session) == 0
        assert Counter(outcome.document for outcome in so_many(4)) == {"a": 2, "b": 2}


def test_two_that_publish_at_once_publish_each_once_and_in_order(app: Runtime, acme: str) -> None:
    session = app.session(acme)
    with heard(app, acme) as so_many:
        for sequence in range(1, 41):
            publish(app, acme, sequence, a="text")
        _land_silently(app, acme)
        with ThreadPoolExecutor(3) as threads:
            sent = threads.map(lambda _: Runtime(app.settings, app.endpoints).outbox.publish(session), range(3))
            assert sum(sent) == 39
        assert [outcome.sequence for outcome in so_many(39)] == list(range(1, 40))


def test_what_cannot_be_published_stays_and_is_left_to_the_next_run(app: Runtime, acme: str) -> None:
    session = app.session(acme)
    away = Runtime(app.settings, app.endpoints.model_copy(update={"kafka_username": "publisher.nobody"}))
    for sequence in (1, 2):
        publish(app, acme, sequence, a="one", b="two")
    _land_silently(app, acme)
    before = app.due(acme)
    assert away.outbox.publish(session) == 0
    assert app.due(acme) == before
    assert app.outbox.publish(session) == 2
    assert app.due(acme) == before - 1


def test_a_missing_topic_is_known_as_such_and_the_next_tenants_outcomes_are_published(
    app: Runtime, acme: str, globex: str, caplog: pytest.LogCaptureFixture
) -> None:
    for tenant in (acme, globex):
        publish(app, tenant, None, a=None)
        _land_silently(app, tenant)
    with Admin(app.endpoints.kafka_client()) as admin:
        admin.client.delete_topics([outcomes_of(acme)])[outcomes_of(acme)].result(10)
    outbox = Outbox(app.endpoints)
    assert [outbox.publish(app.session(tenant)) for tenant in (acme, globex)] == [0, 1]
    assert [outbox.is_failing(tenant) for tenant in (acme, globex)] == [True, False]
    assert f"the outcomes of {acme} are not published: [unknown-topic]" in caplog.text


def test_an_erased_document_leaves_nothing_in_the_outbox(app: Runtime, acme: str) -> None:
    publish(app, acme, 1, a="# Seals", b="# Pumps")
    app.land(acme)
    receipt = erasure.erase(app, acme, "a")
    assert receipt.stores["outcomes"] == StoreCounts(1, 0)
    with app.session(acme).transaction() as connection:
        assert len(connection.execute("SELECT FROM outcome").fetchall()) == 1


def test_outcomes_of_a_hidden_id_have_a_key_of_their_own_that_stays(app: Runtime, acme: str) -> None:
    session = app.session(acme)
    for sequence in (1, 2):
        publish(app, acme, sequence, a="one", b="two")
    _land_silently(app, acme)
    with session.transaction() as connection:
        rows = outcomes.undelivered(connection, 10)

    def hiding(surrogate: str) -> Callable[[str], str]:
        return lambda given: surrogate or given

    sent = {hidden: [_record(session, row, hiding(hidden)) for row in rows] for hidden in ("", "<ID>", "<OTHER>")}
    assert {(key, outcome.document) for key, outcome in sent[""]} == {(b"a", "a"), (b"b", "b")}
    assert {outcome.document for _, outcome in sent["<ID>"]} == {"<ID>"}
    keys = [key for key, _ in sent["<ID>"]]
    assert keys == [key for key, _ in sent["<OTHER>"]]
    assert len(set(keys)) == 2
    assert {b"a", b"b", b"<ID>"}.isdisjoint(keys)


def test_waiting_for_a_missing_topic_is_an_error(app: Runtime) -> None:
    with pytest.raises(HeadraceError) as refused:
        Outcomes(app.endpoints.kafka_client(), "nobody-here")
    assert refused.value.reason == "unknown-topic"


def _land_silently(app: Runtime, tenant: str) -> None:
    """What `Headrace.land` does, and nothing published."""
    for batch in app.reader.read_batches(app.positions(tenant)):
        assert app.land_batch(tenant, batch, None)
