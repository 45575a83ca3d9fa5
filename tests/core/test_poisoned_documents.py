"""One bad document never stops its neighbours: not one that crashes a stage, nor one that kills its process. And where one may die."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from math import floor, log2
from threading import Event as Flag
from time import monotonic, sleep
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from psycopg_pool import ConnectionPool

from core import artifacts, crashpoints, frames
from core.errors import DocumentError, HeadraceError, Unavailable
from core.frames import Result
from core.ledger import claims
from core.ledger.bisection import StageCrashed, bisected
from core.ledger.ledger import Claim, Stale, Step
from core.ledger.stage import Report, Session, Stage, run
from core.tenancy import Connection, Database
from events.publish import Publisher
from pipelines.app import Headrace
from pipelines.operations import replay
from pipelines.operations.replay import Selection
from pipelines.stages.registry import CRASH_POINTS
from tests.faults.crashing_stage import crashes
from tests.tenant_fixture import FunctionStage, Inlet, World

SECRET = "Ottilie Vanderbeek"
BUG, OTHER_BUG, PANIC, AWAY, ENDS = "bug", "other bug", "panic", "away", "ends"


class PanicException(BaseException):
    """As a library in Rust raises it."""


class Ended(BaseException):
    """Somebody stops the process."""


def _work(row: Mapping[str, Any]) -> bytes:
    text = row["content"].decode()
    if text.startswith(BUG):
        return bytes(int(text))
    if text.startswith(OTHER_BUG):
        raise KeyError(text)
    for begin, error in {PANIC: PanicException(text), AWAY: Unavailable("its server is away"), ENDS: Ended()}.items():
        if text.startswith(begin):
            raise error
    return bytes(text.upper().encode())


def fragile(
    batch: int = 64, at: Callable[[int], None] = lambda _: None, takes: int | None = None, work: Callable[..., bytes] = _work
) -> Stage:
    """A stage with bugs. `at` hears with how many documents it is called; it gives no more than `takes` of them."""

    def compute(session: Session, rows: Sequence[Stale], tally: Counter[str]) -> Sequence[Result]:
        at(len(rows))
        with session.transaction() as connection:
            found = artifacts.get(connection, session.keys, "land", [row.document for row in rows])
        tally["computed"] += len(rows)
        inputs = [{"document": r.document, "input_key": r.input_key, "content": found[r.document]} for r in rows[:takes]]
        return frames.results(frames.apply(pl.DataFrame(inputs), work))

    def store(connection: Connection, session: Session, payloads: Mapping[str, bytes]) -> Sequence[str]:
        artifacts.put(connection, session.keys, "fragile", payloads)
        return ()

    return FunctionStage(Step("fragile", None, "content", "1"), compute, store, lambda *_: (), batch)


@pytest.fixture
def clean(world: World) -> World:
    world.clear()
    return world


def land(world: World, *contents: str) -> Inlet:
    """A document of each content, called by its number, in an inlet of their own."""
    inlet = world.inlet()
    inlet.land(*[inlet.upsert(f"{n}.md", content) for n, content in enumerate(contents)])
    return inlet


def reasons(world: World) -> dict[str, str]:
    """Open dead letters: document → reason."""
    return {letter["document"]: letter["reason"] for letter in world.letters() if letter["resolved_at"] is None}


def claimed(world: World) -> int:
    return len(world.rows("SELECT FROM claim"))


# a document that crashes the stage


@given(st.integers(1, 64), st.sets(st.integers(0, 63)))
def test_halving_gives_every_row_that_passes_and_every_culprit_and_no_other(rows: int, bad: set[int]) -> None:
    def attempt(some: Sequence[int]) -> list[dict[str, Any]]:
        if bad.intersection(some):
            raise ValueError(SECRET)
        return [{"row": row} for row in some]

    results, culprits = bisected(attempt, list(range(rows)))
    assert [row["row"] for row in results] == [row for row in range(rows) if row not in bad]
    assert [culprit.row for culprit in culprits] == [row for row in range(rows) if row in bad]
    assert all(culprit.reason == "stage-crashed" and SECRET not in culprit.detail for culprit in culprits)


def test_a_document_that_crashes_the_stage_is_dead_lettered_by_where_it_did_and_its_neighbours_go_on(clean: World) -> None:
    land(clean, "one", f"{BUG} {SECRET}", "two", f"{PANIC} {SECRET}", "three")
    report = run(fragile(), clean.session)
    assert (report.done, report.failed, dict(report.reasons)) == (3, 2, {"stage-crashed": 2})
    assert reasons(clean) == {clean.key("1.md"): "stage-crashed", clean.key("3.md"): "stage-crashed"}
    details = [letter["detail"].rpartition(":")[0] for letter in clean.letters()]
    assert details == ["ValueError at test_poisoned_documents.py:_work", "PanicException at test_poisoned_documents.py:_work"]
    assert report.tally["computed"] == 3
    assert (claimed(clean), run(fragile(), clean.session).moved) == (0, 0)
    replayed = replay.dead_letters(clean.app, clean.tenant, Selection(reason="stage-crashed"))
    assert [row["outcome"] for row in replayed] == ["stale", "stale"]
    assert run(fragile(), clean.session).failed == 2
    assert [letter["attempts"] for letter in clean.letters()] == [2, 2]


def test_a_known_failure_that_stops_a_batch_keeps_its_own_reason(clean: World) -> None:
    def refuse(row: Mapping[str, Any]) -> bytes:
        return bytes(row["content"])

    def stop(rows: int) -> None:
        if rows == 1:
            raise DocumentError("Postgres: DataError", reason="unstorable")

    land(clean, "one")
    assert run(fragile(at=stop, work=refuse), clean.session).failed == 1
    assert reasons(clean) == {clean.key("0.md"): "unstorable"}


def test_a_stage_that_crashes_on_every_document_alike_is_broken_and_dead_letters_none(clean: World) -> None:
    land(clean, *[f"{BUG} {SECRET} {n}" for n in range(5)])
    with pytest.raises(StageCrashed, match="stage-crashed") as broken:
        run(fragile(), clean.session)
    assert SECRET not in str(broken.value)
    assert broken.value.__cause__ is broken.value.__context__ is None
    assert (clean.rows("SELECT FROM stage_record"), clean.letters(), claimed(clean)) == ([], [], 0)


def test_two_that_crash_in_different_places_are_two_bad_documents(clean: World) -> None:
    land(clean, BUG, OTHER_BUG)
    assert run(fragile(), clean.session).failed == 2


def test_documents_that_crash_alike_one_by_one_dead_letter_the_first_and_then_the_stage_is_broken_until_one_passes(clean: World) -> None:
    land(clean, f"{BUG} 1", f"{BUG} 2", "fine")

    def alone(name: str) -> Report:
        return run(fragile(), clean.session, only=[clean.key(name)])

    assert alone("0.md").failed == 1
    with pytest.raises(StageCrashed):
        alone("1.md")
    assert alone("2.md").done == 1
    assert alone("1.md").failed == 1


def test_an_unavailable_server_is_no_documents_fault(clean: World) -> None:
    land(clean, "one", AWAY, BUG)
    assert run(fragile(), clean.session).unavailable == "its server is away"
    assert (clean.letters(), claimed(clean)) == ([], 0)


# a document that kills its process


@given(st.integers(1, 64), st.sets(st.integers(0, 63), min_size=1, max_size=4))
def test_a_document_that_kills_is_poisoned_after_few_crashes_and_no_other_ever_is(documents: int, kills: set[int]) -> None:
    left = {row.document: row for row in (_row(number) for number in range(documents))}
    killers = {f"{number:032x}" for number in kills if number < documents}
    died, dead, poisoned = 0, set[int](), set[str]()
    while left:
        # as `stale` gives them
        found = sorted(left.values(), key=lambda row: (row.claim is not None, -(row.claim.batch_size if row.claim else 0), row.document))
        taken = claims.choose(found[:64], dead)
        names = [row.document for row in taken.rows]
        if taken.poisoned:
            poisoned.update(names)
        if taken.poisoned or not killers.intersection(names):
            left = {document: row for document, row in left.items() if document not in names}
            continue
        died += 1
        for row in taken.rows:
            before = row.claim or Claim(0, 1, 0, 0)
            left[row.document] = replace(row, claim=Claim(died, len(names), before.crashes, before.solo_attempts + taken.solo))
        dead.add(died)
    assert poisoned == killers
    assert died <= len(killers) * (floor(log2(documents)) + 1 + claims.SOLO_ATTEMPTS)


def _row(number: int, claim: Claim | None = None) -> Stale:
    return Stale(f"{number:032x}", 1, "i", False, 1, ("*",), 0, number, datetime.now(UTC), 0, None, claim=claim)


def test_a_document_that_kills_its_process_ends_as_a_dead_letter_and_its_neighbours_are_done(clean: World) -> None:
    inlet = land(clean, *[f"text {n}" for n in range(5)], "kills every process", "text", "text")
    assert crashes(clean) == 3 + claims.SOLO_ATTEMPTS
    assert reasons(clean) == {clean.key("5.md"): "killed-its-worker"}
    assert clean.letters()[0]["detail"] == "alone with it, 4 processes died"
    assert [row["done"] for row in clean.rows("SELECT count(*) AS done FROM stage_record WHERE status = 'done'")] == [7]
    assert clean.rows("SELECT outcome, reason FROM outcome WHERE outcome IS NOT NULL") == [
        {"outcome": "dead-lettered", "reason": "killed-its-worker"}
    ]
    assert claimed(clean) == 0
    # a replay is a new trial, and so is a new version
    replayed = replay.dead_letters(clean.app, clean.tenant, Selection(reason="killed-its-worker"))
    assert [row["outcome"] for row in replayed] == ["stale"]
    assert crashes(clean) == 1 + claims.SOLO_ATTEMPTS
    assert [letter["attempts"] for letter in clean.letters()] == [2]
    inlet.land(inlet.upsert("5.md", "mended"))
    assert crashes(clean) == 0
    assert (reasons(clean), clean.artifact("crashing", "5.md")) == ({}, b"mended")


def test_suspects_are_not_mixed_with_documents_that_no_process_crashed_with(clean: World) -> None:
    inlet = land(clean, "one", "two", "three", "four")
    _dies(clean, 64)
    inlet.land(inlet.upsert("new.md"), inlet.upsert("newer.md"))
    sizes: list[int] = []
    assert run(fragile(at=sizes.append), clean.session).done == 6
    assert sizes == [2, 2, 2]
    assert claimed(clean) == 0


def test_a_new_version_is_tried_as_if_nothing_had_died(clean: World) -> None:
    inlet = land(clean, "one", "two")
    for _ in range(4):
        _dies(clean, 1)
    assert clean.rows("SELECT max(solo_attempts) AS most FROM claim") == [{"most": 2}]
    inlet.land(inlet.upsert("0.md", "changed"), inlet.upsert("1.md", "changed"))
    assert claimed(clean) == 0


def test_a_delete_is_never_poisoned(clean: World) -> None:
    inlet = land(clean, "one")
    inlet.land(inlet.delete("0.md"))
    for _ in range(2 * claims.SOLO_ATTEMPTS):
        _dies(clean, 1)
    assert run(fragile(), clean.session).deleted == 1
    assert (clean.letters(), claimed(clean)) == ([], 0)


def _dies(world: World, batch: int) -> None:
    """A process takes a batch and is gone, as far as Postgres knows."""
    from core.ledger import ledger

    with Database(world.app.endpoints.postgres_pipeline.get_secret_value()) as database:
        worker = database.presence()
        with database.tenant(world.tenant) as connection:
            step = fragile().step
            claims.claim(connection, step, ledger.stale(connection, step, batch), worker, exclusive=True)


@pytest.mark.parametrize(("content", "error"), [(AWAY, None), (ENDS, Ended)])
def test_a_run_that_ends_alive_has_nothing_claimed(clean: World, content: str, error: type[BaseException] | None) -> None:
    land(clean, "one", content)
    with suppress(error or HeadraceError):
        run(fragile(), clean.session)
    assert claimed(clean) == 0


def test_of_two_live_workers_with_the_same_documents_neither_is_suspected(clean: World) -> None:
    land(clean, *[f"text {n}" for n in range(6)])
    computing, go_on = Flag(), Flag()

    def hold_back(_: int) -> None:
        computing.set()
        assert go_on.wait(20)

    with (
        Database(clean.app.endpoints.postgres_pipeline.get_secret_value()) as database,
        ThreadPoolExecutor(1) as thread,
    ):
        slow = thread.submit(run, fragile(at=hold_back), Session(clean.tenant, database, clean.session.keys))
        assert computing.wait(20)
        sizes: list[int] = []
        assert run(fragile(at=sizes.append), clean.session).done == 6
        go_on.set()
        # the same results of the same input, written twice; nobody was thought dead
        assert slow.result(20).done == 6
    assert sizes == [6]
    assert claimed(clean) == 0


def test_a_suspect_is_tried_when_nothing_else_is_claimed_in_its_process(clean: World) -> None:
    """Another thread's document would else be tried with it, and be suspected of what it did."""
    inlet = land(clean, "suspect")
    _dies(clean, 1)
    inlet.land(inlet.upsert("other.md"))
    computing, go_on, order = Flag(), Flag(), list[str]()

    def hold_back(_: int) -> None:
        computing.set()
        assert go_on.wait(20)
        order.append("other")

    with ThreadPoolExecutor(2) as threads:
        other = threads.submit(run, fragile(at=hold_back), clean.session, only=[clean.key("other.md")])
        assert computing.wait(20)
        trial = threads.submit(run, fragile(at=lambda _: order.append("suspect")), clean.session, only=[clean.key("0.md")])
        with pytest.raises(TimeoutError):
            trial.result(0.3)
        assert clean.rows("SELECT solo_attempts FROM claim WHERE document = %(d)s", d=clean.key("0.md")) == [{"solo_attempts": 0}]
        go_on.set()
        assert (other.result(20).done, trial.result(20).done) == (1, 1)
    assert order == ["other", "suspect"]


def test_a_worker_whose_session_was_cut_is_present_again_under_the_same_key(app: Headrace) -> None:
    with Database(app.endpoints.postgres_pipeline.get_secret_value()) as database:
        worker = database.presence()
        with app.database.control() as connection:
            query = """SELECT pg_terminate_backend(pid, 5000) AS ended FROM pg_locks
                       WHERE locktype = 'advisory' AND objsubid = 1 AND (classid::bigint << 32) | objid::bigint = %s"""
            assert connection.execute(query, (worker,)).fetchall() == [{"ended": True}]
        assert worker not in app.database.living()
        assert database.presence() == worker
        assert worker in app.database.living()
    # the server ends a session some time after its client has closed it
    until = monotonic() + 20
    while worker in app.database.living():
        assert monotonic() < until
        sleep(0.01)


# what a run costs


@pytest.fixture
def transactions(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows with each connection that is lent for a transaction."""
    lent: list[int] = []
    getconn = ConnectionPool.getconn

    def counted(self: Any, *given: Any, **named: Any) -> Any:
        lent.append(1)
        return getconn(self, *given, **named)

    monkeypatch.setattr(ConnectionPool, "getconn", counted)
    return lent


@pytest.mark.parametrize(
    ("documents", "batch", "only", "expected"), [(0, 64, False, 1), (3, 64, False, 3), (3, 3, True, 3), (3, 3, False, 4)]
)
def test_a_run_of_a_stage_costs_a_transaction_to_take_one_to_load_and_one_to_commit(
    clean: World, transactions: list[int], documents: int, batch: int, only: bool, expected: int
) -> None:
    land(clean, *[f"text {n}" for n in range(documents)])
    clean.session.database.presence()
    transactions.clear()
    names = [clean.key(f"{n}.md") for n in range(documents)]
    assert run(fragile(batch), clean.session, only=names if only else None).done == documents
    assert len(transactions) == expected


def test_what_a_stage_leaves_out_of_a_batch_is_taken_by_the_same_run(clean: World) -> None:
    land(clean, "one", "two", "three")
    assert run(fragile(takes=1), clean.session).done == 3
    assert claimed(clean) == 0


def test_a_run_for_some_documents_revalidates_no_others(clean: World) -> None:
    inlet = land(clean, "one", "two")
    run(fragile(), clean.session)
    inlet.land(inlet.upsert("0.md", "one"), inlet.upsert("1.md", "two"))
    assert run(fragile(), clean.session, only=[clean.key("0.md")]).revalidated == 1
    assert clean.record("fragile", "1.md")["status"] == "behind"


def test_a_report_says_how_long_each_document_took_since_it_was_published(clean: World) -> None:
    inlet = land(clean, "one", "two", BUG)
    run(fragile(), clean.session)
    inlet.land(inlet.delete("0.md"))
    clean.rows("UPDATE document SET received_at = now() - interval '2 s' RETURNING 1")
    (latency,) = run(fragile(), clean.session).latencies
    assert 2 <= latency < 60


# where a process may be made to die


def test_every_crash_point_is_reached_by_an_upsert_an_edit_and_a_delete(app: Headrace, acme: str) -> None:
    for point in CRASH_POINTS:
        crashpoints.arm(point, 1_000_000)
    try:
        with Publisher(app.endpoints.kafka_client(), acme, "/wiki") as publisher:
            for content in ("# Seals\n\nThe shaft seal.\n", "# Seals\n\nThe shaft seal of the turbine.\n", None):
                if content:
                    publisher.upsert("page", content=content)
                else:
                    publisher.delete("page")
                publisher.flush()
                app.ingest(acme)
    finally:
        left = crashpoints.disarm()
    assert {point for point, times in left.items() if times == 1_000_000} == set()
    assert left.keys() == set(CRASH_POINTS)


def test_a_transaction_that_fails_reaches_no_point(clean: World) -> None:
    crashpoints.arm("land:before-commit", 5)
    crashpoints.arm("land:after-commit", 5)
    try:
        with suppress(Ended), clean.session.transaction("land"):
            raise Ended
        with clean.session.transaction("land"):
            pass
    finally:
        left = crashpoints.disarm()
    assert left == {"land:before-commit": 4, "land:after-commit": 4}


def test_an_armed_process_dies_at_the_nth_time() -> None:
    script = """if True:
        from core import crashpoints
        from pipelines.stages import registry
        crashpoints.arm("land:before-commit", 2)
        for _ in range(2):
            crashpoints.reached("land:after-commit")
            crashpoints.reached("land:before-commit")
            print("alive", flush=True)
    """
    died = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert (died.returncode, died.stdout) == (-9, "alive\n")


@pytest.mark.parametrize(("point", "nth"), [("land:meanwhile", 1), ("land:before-commit", 0)])
def test_a_point_that_does_not_exist_is_not_armed(point: str, nth: int) -> None:
    with pytest.raises(ValueError, match="no such crash point"):
        crashpoints.arm(point, nth)
