"""The ledger and the loop that runs a stage: nothing is done twice, nothing stale is kept, and a crash anywhere costs only time.

The stages here are small and real: `upper` → `count` (reads the envelope's title too) → `keep` (the acl too, and runs after every landing).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Event as Flag
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import artifacts, frames
from core.errors import DocumentError, Unavailable
from core.frames import Result
from core.ledger import ledger
from core.ledger.ledger import Part, Stale, Step
from core.ledger.stage import MAX_ATTEMPTS, Report, Session, Stage, run
from core.records import Envelope, decode
from core.tenancy import Connection
from events.landing import land
from tests.tenant_fixture import FunctionStage, Inlet, World

pytestmark = pytest.mark.usefixtures("empty_world")

CHAIN: tuple[tuple[str, str | None, Part | None], ...] = (
    ("upper", None, "content"),
    ("count", "upper", "envelope"),
    ("keep", "count", "acl"),
)
STAGES = tuple(name for name, _, _ in CHAIN)
SOURCE_OF = {"upper": "land", "count": "upper", "keep": "count"}
POISON = "poison"
ELSEWHERE = "elsewhere"


class Crash(BaseException):
    """The process dies here."""


@dataclass
class Pipeline:
    """The three stages over one tenant. `fingerprints` may be changed; `computed` counts documents by stage."""

    world: World
    fingerprints: dict[str, str] = field(default_factory=lambda: dict.fromkeys(STAGES, "1"))
    computed: Counter[str] = field(default_factory=Counter)
    at: Callable[[str, str], None] = lambda *_: None
    """Called with (stage, place) at every place of a pass."""

    def stage(self, name: str, batch: int = 2) -> Stage:
        upstream, part = next((upstream, part) for stage, upstream, part in CHAIN if stage == name)
        step = Step(name, upstream, part, self.fingerprints[name])

        def compute(session: Session, rows: Sequence[Stale], _: Counter[str]) -> Sequence[Result]:
            self.at(name, "before-load")
            inputs = _inputs(session, name, rows)
            self.at(name, "before-compute")
            self.computed[name] += len(rows)
            result = frames.results(frames.apply(pl.DataFrame(inputs), lambda row: _work(name, step.fingerprint, row)))
            self.at(name, "after-compute")
            return result

        def store(connection: Connection, session: Session, payloads: Mapping[str, bytes]) -> Sequence[str]:
            self.at(name, "before-store")
            artifacts.put(connection, session.keys, name, payloads)
            for payload in payloads.values():
                connection.execute("SELECT %s::text", [payload.decode()])
            self.at(name, "after-store")
            return ()

        def remove(connection: Connection, _: Session, documents: Sequence[str]) -> Sequence[str]:
            self.at(name, "before-remove")
            artifacts.discard(connection, [SOURCE_OF[name], name], documents)
            self.at(name, "after-remove")
            return ()

        return FunctionStage(step, compute, store, remove, batch, revalidates=name != "keep")

    def run(self, name: str, batch: int = 2) -> Report:
        return run(self.stage(name, batch), self.world.session, lambda _: self.at(name, "after-commit"))

    def run_all(self) -> dict[str, Report]:
        return {name: self.run(name) for name in STAGES}

    @contextmanager
    def computing(self) -> Iterator[Counter[str]]:
        """What is computed within, by stage."""
        before, since = self.computed.copy(), Counter[str]()
        yield since
        since.update(self.computed - before)

    def expected(self, name: str, content: str, title: str, acl: Sequence[str]) -> dict[str, bytes]:
        """Each stage's output for a document of these, computed from nothing."""
        upper = f"{content.upper()}#{self.fingerprints['upper']}"
        count = f"{title}:{len(upper.split())}#{self.fingerprints['count']}"
        return {"upper": upper.encode(), "count": count.encode(), "keep": f"{count}|{','.join(acl)}#{self.fingerprints['keep']}".encode()}


def _inputs(session: Session, name: str, rows: Sequence[Stale]) -> list[dict[str, Any]]:
    """What this stage reads of each document; one whose input is gone has moved on and is left out."""
    with session.transaction() as connection:
        found = artifacts.get(connection, session.keys, SOURCE_OF[name], [row.document for row in rows])
    return [
        {
            "document": row.document,
            "input_key": row.input_key,
            "content": found[row.document],
            "title": decode(session.keys.open(row.envelope or b"", f"envelope/{row.document}"), Envelope).title,
            "acl": ",".join(row.acl),
        }
        for row in rows
        if row.document in found
    ]


def _work(name: str, fingerprint: str, row: Mapping[str, Any]) -> bytes:
    text = row["content"].decode()
    if text.startswith(POISON):
        raise DocumentError("it does not agree with this stage", reason="indigestible")
    if text.startswith(ELSEWHERE):
        raise Unavailable("its server is away") if text.endswith("all") else DocumentError("its server is away", reason="unavailable")
    made = {"upper": text.upper(), "count": f"{row['title']}:{len(text.split())}", "keep": f"{text}|{row['acl']}"}[name]
    return f"{made}#{fingerprint}".encode()


@pytest.fixture
def pipeline(world: World) -> Pipeline:
    return Pipeline(world)


def statuses(world: World) -> set[str]:
    return {row["status"] for row in world.rows("SELECT status FROM stage_record")}


# what is stale


def test_after_a_run_nothing_is_stale_and_a_second_run_computes_nothing(pipeline: Pipeline, inlet: Inlet) -> None:
    inlet.land(*[inlet.upsert(f"{n}.md", f"text {n}") for n in range(5)])
    assert [report.done for report in pipeline.run_all().values()] == [5, 5, 5]
    with pipeline.computing() as computed:
        assert [report.moved for report in pipeline.run_all().values()] == [0, 0, 0]
    assert not computed
    assert pipeline.world.artifact("keep", "3.md") == pipeline.expected("3.md", "text 3", "", ["*"])["keep"]


def test_a_stage_takes_nothing_before_the_stage_above_is_done(pipeline: Pipeline, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md"))
    assert pipeline.run("count").moved == 0
    pipeline.run("upper")
    assert pipeline.run("keep").moved == 0
    assert pipeline.run("count").done == 1


def test_a_landed_edit_recomputes_that_document_alone(pipeline: Pipeline, inlet: Inlet) -> None:
    inlet.land(*[inlet.upsert(f"{n}.md", f"text {n}") for n in range(5)])
    pipeline.run_all()
    inlet.land(inlet.upsert("2.md", "text two has more words"))
    with pipeline.computing() as computed:
        pipeline.run_all()
    assert computed == {"upper": 1, "count": 1, "keep": 1}


def test_a_part_of_the_event_recomputes_only_the_stages_that_read_it(pipeline: Pipeline, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "text", 1, title="A"))
    pipeline.run_all()
    inlet.land(inlet.upsert("a.md", "text", 2, title="B"))
    with pipeline.computing() as titled:
        reports = pipeline.run_all()
    assert (titled, reports["upper"].revalidated) == ({"count": 1, "keep": 1}, 1)
    assert pipeline.world.artifact("keep", "a.md") == pipeline.expected("a.md", "text", "B", ["*"])["keep"]


def test_an_unchanged_landing_is_revalidated_without_work(pipeline: Pipeline, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "text", 1))
    pipeline.run_all()
    inlet.land(inlet.upsert("a.md", "text", 2))
    assert statuses(pipeline.world) == {"behind"}
    with pipeline.computing() as computed:
        reports = pipeline.run_all()
    assert [report.revalidated for report in reports.values()] == [1, 1, 0]
    assert computed == {"keep": 1}
    assert statuses(pipeline.world) == {"done"}


def test_a_content_that_comes_back_before_any_run_is_reaffirmed(pipeline: Pipeline, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "text", 1))
    pipeline.run_all()
    inlet.land(inlet.upsert("a.md", "other", 2))
    inlet.land(inlet.delete("a.md", 3))
    inlet.land(inlet.upsert("a.md", "text", 4))
    with pipeline.computing() as computed:
        pipeline.run_all()
    assert computed == {"keep": 1}
    assert pipeline.world.artifact("keep", "a.md") == pipeline.expected("a.md", "text", "", ["*"])["keep"]


def test_a_changed_fingerprint_recomputes_its_stage_and_below_only_what_changed(pipeline: Pipeline, inlet: Inlet) -> None:
    inlet.land(*[inlet.upsert(f"{n}.md", "some text") for n in range(4)])
    pipeline.run_all()
    pipeline.fingerprints["upper"] = "2"
    with pipeline.computing() as computed:
        pipeline.run_all()
    # the fingerprint is in the output of `upper`, and not in the number of its words
    assert computed == {"upper": 4, "count": 4}
    pipeline.fingerprints["count"] = "2"
    with pipeline.computing() as computed:
        pipeline.run_all()
    assert computed == {"count": 4, "keep": 4}
    with pipeline.computing() as computed:
        pipeline.run_all()
    assert not computed


def test_a_run_for_some_documents_leaves_the_others(pipeline: Pipeline, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md"), inlet.upsert("b.md"))
    assert run(pipeline.stage("upper"), pipeline.world.session, only=[pipeline.world.key("a.md")]).done == 1
    assert (pipeline.world.artifact("upper", "a.md"), pipeline.world.artifact("upper", "b.md")) == (b"TEXT#1", None)


# deletes


def test_a_delete_passes_every_stage_and_leaves_no_artifact(pipeline: Pipeline, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md"), inlet.upsert("b.md"))
    pipeline.run_all()
    inlet.land(inlet.delete("a.md"))
    with pipeline.computing() as computed:
        assert [report.deleted for report in pipeline.run_all().values()] == [1, 1, 1]
        assert [report.moved for report in pipeline.run_all().values()] == [0, 0, 0]
    assert not computed
    left = pipeline.world.rows("SELECT DISTINCT document FROM artifact")
    assert [row["document"] for row in left] == [pipeline.world.key("b.md")]
    assert {pipeline.world.record(name, "a.md")["output_key"] for name in STAGES} == {"deleted"}


def test_a_delete_passes_stages_below_one_that_never_came_to_an_end(pipeline: Pipeline, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", POISON))
    pipeline.run_all()
    inlet.land(inlet.delete("a.md"))
    assert [report.deleted for report in pipeline.run_all().values()] == [1, 1, 1]
    assert [letter["resolved_at"] is None for letter in pipeline.world.letters()] == [False]


def test_a_document_that_comes_back_after_its_delete_is_computed_anew(pipeline: Pipeline, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "text", 1))
    pipeline.run_all()
    inlet.land(inlet.delete("a.md", 2))
    pipeline.run("upper")
    inlet.land(inlet.upsert("a.md", "text", 3))
    pipeline.run_all()
    assert pipeline.world.artifact("keep", "a.md") == pipeline.expected("a.md", "text", "", ["*"])["keep"]


# failures


def test_a_document_that_fails_is_dead_lettered_once_and_its_neighbours_go_on(pipeline: Pipeline, inlet: Inlet) -> None:
    bad = inlet.upsert("bad.md", POISON)
    inlet.land(inlet.upsert("a.md"), bad, inlet.upsert("b.md"))
    for _ in range(3):
        pipeline.run_all()
    assert [pipeline.world.record("keep", name)["status"] for name in ("a.md", "b.md")] == ["done", "done"]
    letters = pipeline.world.letters()
    assert [(x["stage"], x["kafka_partition"], x["kafka_offset"]) for x in letters] == [("upper", inlet.partition, bad.offset)]
    assert (letters[0]["reason"], letters[0]["detail"]) == ("indigestible", "it does not agree with this stage")
    assert (letters[0]["document"], letters[0]["attempts"], letters[0]["resolved_at"]) == (pipeline.world.key("bad.md"), 1, None)
    assert pipeline.computed["upper"] == 3


def test_a_report_counts_what_failed_by_reason(pipeline: Pipeline, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md"), inlet.upsert("bad.md", POISON), inlet.upsert("away.md", ELSEWHERE))
    report = pipeline.run("upper")
    assert (report.done, report.failed, report.waiting, report.moved) == (1, 1, 1, 3)
    assert report.reasons == Counter({"indigestible": 1, "unavailable": 1})
    with pipeline.world.session.transaction() as connection:
        assert ledger.failure_reasons(connection, "upper") == {"indigestible": 1, "unavailable": 1}
        assert ledger.progress(connection)["upper"] == {"done": 1, "failed": 1, "waiting": 1}


def test_a_replay_tries_what_failed_again_and_counts_it(pipeline: Pipeline, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("bad.md", POISON), inlet.upsert("a.md"))
    pipeline.run_all()
    with pipeline.world.session.transaction() as connection:
        assert ledger.retry(connection, [pipeline.world.key(name) for name in ("bad.md", "a.md")], "upper") == 1
    with pipeline.computing() as computed:
        pipeline.run_all()
    assert computed == {"upper": 1}
    assert [(letter["attempts"], letter["resolved_at"]) for letter in pipeline.world.letters()] == [(2, None)]


def test_a_success_resolves_the_dead_letter(pipeline: Pipeline, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("bad.md", POISON))
    pipeline.run_all()
    inlet.land(inlet.upsert("bad.md", "mended"))
    pipeline.run_all()
    assert pipeline.world.letters()[0]["resolved_at"] is not None
    assert pipeline.world.artifact("upper", "bad.md") == b"MENDED#1"


def test_the_old_results_stay_while_a_new_version_fails(pipeline: Pipeline, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "text"))
    pipeline.run_all()
    before = pipeline.world.artifact("keep", "a.md")
    inlet.land(inlet.upsert("a.md", POISON))
    with pipeline.computing() as computed:
        pipeline.run_all()
    assert computed == {"upper": 1}
    assert pipeline.world.artifact("keep", "a.md") == before
    assert pipeline.world.record("keep", "a.md")["status"] == "behind"


def test_a_value_that_postgres_refuses_fails_its_document_alone(pipeline: Pipeline, inlet: Inlet) -> None:
    inlet.land(*[inlet.upsert(f"{n}.md", f"text {n}") for n in range(3)], inlet.upsert("nul.md", b"a\0b"))
    report = pipeline.run("upper", batch=64)
    assert (report.done, report.failed, dict(report.reasons)) == (3, 1, {"unstorable": 1})
    assert [(letter["stage"], letter["reason"]) for letter in pipeline.world.letters()] == [("upper", "unstorable")]
    assert pipeline.world.artifact("upper", "nul.md") is None
    assert pipeline.world.artifact("upper", "2.md") == b"TEXT 2#1"
    assert pipeline.run("upper").moved == 0


def test_a_server_that_is_away_stops_the_stage_and_the_next_run_goes_on(pipeline: Pipeline, inlet: Inlet) -> None:
    inlet.land(*[inlet.upsert(f"{n}.md") for n in range(2)])
    inlet.land(inlet.upsert("z.md", f"{ELSEWHERE} all"), inlet.upsert("y.md"))
    report = pipeline.run("upper")
    assert (report.done, report.unavailable) == (2, "its server is away")
    assert not pipeline.world.letters()
    assert len(pipeline.world.rows("SELECT * FROM stage_record")) == 2
    inlet.land(inlet.upsert("z.md", "back"))
    assert (pipeline.run("upper").done, pipeline.computed["upper"]) == (2, 6)


def test_what_waits_is_tried_with_growing_pauses_and_ends_as_a_dead_letter(pipeline: Pipeline, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("away.md", ELSEWHERE), inlet.upsert("a.md"))
    pauses = []
    for attempt in range(1, MAX_ATTEMPTS):
        assert pipeline.run("upper").waiting == 1
        assert pipeline.run("upper").moved == 0, "it is not due yet"
        record = pipeline.world.record("upper", "away.md")
        assert (record["status"], record["attempts"], record["reason"]) == ("waiting", attempt, "unavailable")
        pauses.append((record["next_attempt"] - record["updated_at"]).total_seconds())
        assert not pipeline.world.letters()
        pipeline.world.rows("UPDATE stage_record SET next_attempt = now() WHERE status = 'waiting' RETURNING 1")
    longest = [4, 16, 64, 256, 600, 600, 600]
    assert all(most / 2 <= pause <= most for pause, most in zip(pauses, longest, strict=True))
    assert pipeline.run("upper").failed == 1
    assert [(letter["stage"], letter["reason"]) for letter in pipeline.world.letters()] == [("upper", "unavailable")]
    assert pipeline.run("upper").moved == 0


def test_a_new_version_does_not_wait_for_the_old_ones_next_attempt(pipeline: Pipeline, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("away.md", ELSEWHERE))
    pipeline.run("upper")
    inlet.land(inlet.upsert("away.md", "text"))
    assert pipeline.run("upper").done == 1


def test_what_failed_together_is_not_tried_together(pipeline: Pipeline, inlet: Inlet) -> None:
    inlet.land(*[inlet.upsert(f"{n}.md", ELSEWHERE) for n in range(8)])
    assert pipeline.run("upper", batch=64).waiting == 8
    assert len(pipeline.world.rows("SELECT DISTINCT next_attempt FROM stage_record")) == 8


# races


def test_a_slower_workers_result_is_thrown_away(pipeline: Pipeline, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "old", 1), inlet.upsert("b.md", "text", 1))

    def land_meanwhile(stage: str, place: str) -> None:
        if place == "after-compute":
            pipeline.at = lambda *_: None
            inlet.land(inlet.upsert("a.md", "new", 2))

    pipeline.at = land_meanwhile
    report = pipeline.run("upper")
    assert (report.done, report.superseded) == (2, 1)
    assert pipeline.world.artifact("upper", "a.md") == b"NEW#1"


def test_a_delete_that_lands_meanwhile_throws_the_result_away(pipeline: Pipeline, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "old", 1))

    def delete_after_computing(_: str, place: str) -> None:
        if place == "after-compute":
            inlet.land(inlet.delete("a.md", 2))

    pipeline.at = delete_after_computing
    assert pipeline.run("upper").superseded == 1
    assert pipeline.world.artifact("upper", "a.md") is None


def test_a_worker_that_saw_a_state_come_and_go_records_nothing_of_it(pipeline: Pipeline, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "first", 1))

    def come_and_go(stage: str, place: str) -> None:
        if place == "before-load":
            inlet.land(inlet.upsert("a.md", "passing", 2))
        if place == "after-compute":
            pipeline.at = lambda *_: None
            inlet.land(inlet.upsert("a.md", "first", 3))

    pipeline.at = come_and_go
    report = pipeline.run("upper")
    assert (report.superseded, report.done) == (1, 1)
    assert pipeline.world.artifact("upper", "a.md") == b"FIRST#1"


def test_of_two_workers_the_one_with_the_older_version_writes_nothing(pipeline: Pipeline, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "old", 1, title="old"))
    pipeline.run("upper")
    computed, go_on = Flag(), Flag()

    def hold_back(_: str, place: str) -> None:
        if place == "after-compute":
            computed.set()
            assert go_on.wait(20)

    slow = replace(pipeline, at=hold_back)
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(slow.run, "count")
        assert computed.wait(20)
        inlet.land(inlet.upsert("a.md", "new words", 2, title="new"))
        pipeline.run_all()
        after = pipeline.world.everything()
        go_on.set()
        assert running.result(20).superseded == 1
    assert pipeline.world.everything() == after
    assert pipeline.world.artifact("keep", "a.md") == pipeline.expected("a.md", "new words", "new", ["*"])["keep"]


def test_a_worker_that_waits_for_a_lock_compares_with_what_is_there_when_it_has_it(pipeline: Pipeline, inlet: Inlet) -> None:
    """What else a waiting statement reads may be older than its lock, so that the comparing is another statement's."""
    names = sorted(("a.md", "b.md"), key=pipeline.world.key)
    inlet.land(*[inlet.upsert(name, "old words", 1) for name in names])
    pipeline.run("upper")
    pipeline.fingerprints["upper"] = "2"
    slow = replace(pipeline)
    with ThreadPoolExecutor(1) as thread:
        with pipeline.world.session.transaction() as connection:
            connection.execute("SELECT FROM document WHERE document = %s FOR UPDATE", [pipeline.world.key(names[0])])
            with pipeline.world.until_blocked():
                running = thread.submit(slow.run, "count", 64)
            for stage in ("upper", "count"):
                assert run(pipeline.stage(stage), pipeline.world.session, only=[pipeline.world.key(names[1])]).done == 1
            after = pipeline.world.record("count", names[1])
        assert running.result(20).superseded >= 1
    assert pipeline.world.record("count", names[1]) == after


def test_what_lands_while_a_stage_is_revalidated_stays_behind(pipeline: Pipeline, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("a.md", "text", 1))
    pipeline.run_all()
    inlet.land(inlet.upsert("a.md", "text", 2))

    def revalidate() -> int:
        with pipeline.world.session.transaction() as connection:
            return ledger.revalidate(connection, pipeline.stage("upper").step)

    with ThreadPoolExecutor(1) as thread:
        batch = inlet.batch(inlet.upsert("a.md", "other", 3))
        with pipeline.world.session.transaction() as connection:
            land(connection, pipeline.world.session.keys, batch)
            with pipeline.world.until_blocked():
                running = thread.submit(revalidate)
        assert running.result(20) == 0
    assert pipeline.world.record("upper", "a.md")["status"] == "behind"


# crashes

NAMES = ("a.md", "b.md", "c.md")
PLACES = ("before-load", "before-compute", "after-compute", "before-store", "after-store", "before-remove", "after-remove", "after-commit")


@dataclass(frozen=True)
class Land:
    name: str
    content: str
    title: str
    acl: tuple[str, ...]
    deletes: bool


@dataclass(frozen=True)
class Run:
    """Run a stage; at the `nth` time that it comes to `place`, the process dies or another event lands."""

    stage: str
    place: str | None = None
    nth: int = 1
    lands: Land | None = None


@dataclass(frozen=True)
class Change:
    stage: str
    fingerprint: str


LANDS = st.builds(
    Land,
    name=st.sampled_from(NAMES),
    content=st.sampled_from(["one", "one two", "uno dos", POISON]),
    title=st.sampled_from(["A", "B"]),
    acl=st.sampled_from([("*",), ("jo",)]),
    deletes=st.sampled_from([False, False, True]),
)
RUNS = st.builds(
    Run, stage=st.sampled_from(STAGES), place=st.none() | st.sampled_from(PLACES), nth=st.integers(1, 2), lands=st.none() | LANDS
)
CHANGES = st.builds(Change, stage=st.sampled_from(STAGES), fingerprint=st.sampled_from(["1", "2"]))


@given(st.lists(LANDS | LANDS | RUNS | RUNS | RUNS | CHANGES, min_size=2, max_size=14))
@settings(max_examples=80)
def test_whatever_lands_runs_and_crashes_the_end_is_that_of_one_whole_run_from_nothing(
    world: World, steps: list[Land | Run | Change]
) -> None:
    world.clear()
    pipeline, inlet, newest = Pipeline(world), world.inlet(), dict[str, Land]()

    def take(what: Land) -> None:
        newest[what.name] = what
        inlet.land(inlet.delete(what.name) if what.deletes else inlet.upsert(what.name, what.content, title=what.title, acl=list(what.acl)))

    for step in steps:
        if isinstance(step, Land):
            take(step)
        elif isinstance(step, Change):
            pipeline.fingerprints[step.stage] = step.fingerprint
        else:
            _interrupted(pipeline, step, take)
    pipeline.at = lambda *_: None
    pipeline.run_all()
    _as_from_nothing(pipeline, newest)
    with pipeline.computing() as computed:
        assert not any(report.moved for report in pipeline.run_all().values())
    assert not computed


def _interrupted(pipeline: Pipeline, step: Run, take: Callable[[Land], None]) -> None:
    passed = Counter[str]()

    def at(_: str, place: str) -> None:
        passed[place] += 1
        if place != step.place or passed[place] != step.nth:
            return
        if step.lands is None:
            raise Crash
        if place.endswith(("load", "compute", "commit")):
            take(step.lands)

    pipeline.at = at
    try:
        pipeline.run(step.stage)
    except Crash:
        pass
    finally:
        pipeline.at = lambda *_: None


def _as_from_nothing(pipeline: Pipeline, newest: Mapping[str, Land]) -> None:
    for name, what in newest.items():
        outputs = {stage: pipeline.world.artifact(stage, name) for stage in STAGES}
        records = {
            row["stage"]: row
            for row in pipeline.world.rows("SELECT * FROM stage_record WHERE document = %(d)s", d=pipeline.world.key(name))
        }
        if what.deletes:
            assert outputs == dict.fromkeys(STAGES)
            assert pipeline.world.artifact("land", name) is None
            assert {row["output_key"] for row in records.values()} == {"deleted"}
        elif what.content == POISON:
            assert (records["upper"]["status"], records["upper"]["fingerprint"]) == ("failed", pipeline.fingerprints["upper"])
            assert all(records[stage]["status"] != "done" for stage in STAGES if stage in records)
            continue
        else:
            assert outputs == pipeline.expected(name, what.content, what.title, what.acl)
            digests = {stage: artifacts.output_key(pipeline.world.session.keys, payload or b"") for stage, payload in outputs.items()}
            assert {stage: row["output_key"] for stage, row in records.items()} == digests
        assert {stage: row["status"] for stage, row in records.items()} == dict.fromkeys(STAGES, "done")
        if not what.deletes:
            assert {stage: row["fingerprint"] for stage, row in records.items()} == pipeline.fingerprints
    open_letters = {letter["document"] for letter in pipeline.world.letters() if letter["resolved_at"] is None}
    assert open_letters == {pipeline.world.key(name) for name, what in newest.items() if what.content == POISON and not what.deletes}
