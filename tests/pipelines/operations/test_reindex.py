"""Reindex: another model or chunker is built beside the active index, compared, switched to, and switched back, and search has no gap.

The other model is a tiny one with random weights, which finds next to nothing; so where a switch is wanted, the chunker changes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import crashpoints
from core.errors import HeadraceError, PolicyError
from core.frames import Result
from core.ledger.ledger import Stale
from core.ledger.stage import Session, run
from core.principals import Principals
from pipelines import maintenance
from pipelines.app import Headrace
from pipelines.dagster.runtime import Runtime
from pipelines.governance import surrogate_keys, tenants
from pipelines.operations import canaries, reindex, status
from pipelines.operations.canaries import Canary
from pipelines.operations.comparison import Comparison, Measure
from pipelines.operations.search import ask
from pipelines.stages import beside, rebuild, registry
from retrieval.search import SearchRequest, search
from tests.models.tiny_models import write_model
from tests.pipelines.governance.test_keys import Died, dying
from tests.tenant_fixture import Inlet, World, publish

PAGE = "# {0}\n\nThe {0} is inspected once a year.\n\n## Grease\n\nGrease the {0} every 250 hours.\n"
PAGES = {f"{name}.md": PAGE.format(name) for name in ("bearing", "seal", "runner", "gate")}
TO_INDEX = ("parse", "redact", "chunk", "embed", "index")


@pytest.fixture(scope="session")
def other_model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_model(tmp_path_factory.mktemp("other"), limit=512, positions=512))


@pytest.fixture
def indexed(app: Runtime, acme: str) -> str:
    publish(app, acme, 1, PAGES)
    app.ingest(acme)
    return acme


@pytest.fixture
def strike() -> Iterator[Callable[[str], None]]:
    with dying() as armed:
        yield armed


def advance(app: Headrace, tenant: str) -> Mapping[str, int]:
    return reindex.advance(app, app.session(tenant))


def keep(app: Headrace, tenant: str) -> Mapping[str, int]:
    return reindex.keep(app, app.session(tenant))


def state(app: Headrace, tenant: str) -> tuple[str, str]:
    found = reindex.status(app, tenant)
    assert found
    return found.state, found.reason


def states(app: Headrace, tenant: str) -> list[str]:
    with app.session(tenant).transaction() as connection:
        return [row["state"] for row in connection.execute("SELECT state FROM generation ORDER BY generation")]


def found(app: Headrace, tenant: str, query: str = "grease", principals: Principals = ()) -> set[str]:
    """The documents of every passage, near-duplicates too: the pages are alike."""
    passages = ask(app, tenant, query, principals, top=50)
    shown = [passage.citations for passage in passages] + [one.citations for passage in passages for one in passage.alike]
    return {citation.document for citations in shown for citation in citations}


def rows(app: Headrace, tenant: str, query: str) -> list[dict[str, Any]]:
    with app.session(tenant).transaction() as connection:
        return connection.execute(query).fetchall()


def accept_any_overlap(monkeypatch: pytest.MonkeyPatch) -> None:
    """For a model with random weights, whose answers nobody would accept."""
    monkeypatch.setattr("pipelines.operations.comparison.LEAST_OVERLAP", 0.0)


# ── the way of a reindex ─────────────────────────────────────────────────────────────────────────────────────


def test_a_reindex_builds_beside_compares_switches_and_changes_the_tenants_settings(app: Runtime, indexed: str, globex: str) -> None:
    reindex.request(app, indexed, chunker="fixed")
    assert state(app, indexed) == ("building", "")
    assert found(app, indexed) == set(PAGES)
    assert "reindex" in maintenance.due(app, app.session(indexed))
    assert advance(app, indexed) == {"documents": 4, "failed": 0, "embedded": 4, "switched": 1, "refused": 0}
    assert (states(app, indexed), state(app, indexed)) == (["standby", "active"], ("standby", "switched"))
    assert app.session(indexed).policy.chunking.strategy == "fixed"
    assert app.session(globex).policy.chunking.strategy == "structure"
    assert found(app, indexed) == set(PAGES)
    assert status.overview(app, indexed).chunks == 4


def test_after_the_switch_the_stages_run_once_more_and_embed_nothing(app: Runtime, indexed: str) -> None:
    reindex.request(app, indexed, chunker="fixed")
    advance(app, indexed)
    before = rows(app, indexed, "SELECT * FROM chunk ORDER BY generation, text_hash")
    _, reports = app.ingest(indexed)
    assert (reports["redact"].done, reports["chunk"].done, reports["index"].done) == (0, 4, 4)
    assert reports["embed"].tally["embedded"] == 0
    assert rows(app, indexed, "SELECT * FROM chunk ORDER BY generation, text_hash") == before
    assert states(app, indexed) == ["standby", "active"]
    assert maintenance.due(app, app.session(indexed)) == []


def test_ingest_and_the_stream_finish_a_reindex_as_maintenance(app: Runtime, indexed: str) -> None:
    reindex.request(app, indexed, chunker="fixed")
    _, reports = app.ingest(indexed)
    assert reports["project"].tally["maintenance/reindex/switched"] == 1


def test_both_generations_receive_changes_while_one_is_built(app: Runtime, indexed: str) -> None:
    reindex.request(app, indexed, chunker="fixed")
    session = app.session(indexed)
    run(rebuild.build(app, session, wanted(app, indexed)), session)
    publish(app, indexed, 2, {"new.md": PAGE.format("new"), "seal.md": None, "gate.md": PAGE.format("lock")})
    app.land(indexed)
    for stage in TO_INDEX:
        run(registry.build(stage, app, session.policy), session)
    assert found(app, indexed) == {"bearing.md", "runner.md", "gate.md", "new.md"}
    assert "Grease the lock" in ask(app, indexed, "grease the lock every 250 hours")[0].text
    assert advance(app, indexed)["switched"] == 1
    assert found(app, indexed) == {"bearing.md", "runner.md", "gate.md", "new.md"}
    assert "Grease the lock" in ask(app, indexed, "grease the lock every 250 hours")[0].text


def wanted(app: Headrace, tenant: str) -> Any:
    session = app.session(tenant)
    with session.transaction() as connection:
        found = beside.read(connection)
    assert found
    return found.policy(session.policy)


def test_rollback_switches_back_to_what_was_kept_up_to_date(app: Runtime, indexed: str) -> None:
    reindex.request(app, indexed, chunker="fixed")
    app.ingest(indexed)
    publish(app, indexed, 2, {"new.md": PAGE.format("new"), "seal.md": None})
    app.ingest(indexed)
    assert reindex.rollback(app, indexed)
    assert (states(app, indexed), state(app, indexed)) == (["active", "standby"], ("standby", "rolled-back"))
    assert app.session(indexed).policy.chunking.strategy == "structure"
    assert found(app, indexed) == {"bearing.md", "runner.md", "gate.md", "new.md"}
    _, reports = app.ingest(indexed)
    assert reports["embed"].tally["embedded"] == 0
    assert found(app, indexed) == {"bearing.md", "runner.md", "gate.md", "new.md"}
    assert reindex.rollback(app, indexed), "and forward again"
    assert app.session(indexed).policy.chunking.strategy == "fixed"


def test_what_stands_by_is_not_built_again(app: Runtime, indexed: str) -> None:
    reindex.request(app, indexed, chunker="fixed")
    advance(app, indexed)
    assert keep(app, indexed) == {"documents": 0, "failed": 0, "dropped": 0}
    publish(app, indexed, 2, {"new.md": PAGE.format("new")})
    app.ingest(indexed)
    assert rows(app, indexed, "SELECT count(*) AS n FROM indexed GROUP BY generation") == [{"n": 5}, {"n": 5}]


def test_what_stands_by_is_dropped_with_all_that_only_it_used_when_its_days_are_over(
    app: Runtime, indexed: str, other_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept_any_overlap(monkeypatch)
    reindex.request(app, indexed, model=other_model)
    advance(app, indexed)
    app.ingest(indexed)
    tenants.configure(app, indexed, retention={"standby_days": 2})
    rows(app, indexed, "UPDATE reindex SET changed_at = changed_at - interval '47 hours' RETURNING 1")
    assert keep(app, indexed)["dropped"] == 0
    rows(app, indexed, "UPDATE reindex SET changed_at = changed_at - interval '2 hours' RETURNING 1")
    tenants.configure(app, indexed, retention={"standby_days": 2, "legal_hold": True})
    assert keep(app, indexed)["dropped"] == 0, "under legal hold nothing is dropped"
    tenants.configure(app, indexed, retention={"standby_days": 2})
    assert keep(app, indexed)["dropped"] == 1
    assert (states(app, indexed), state(app, indexed)) == (["retired", "active"], ("ended", "expired"))
    assert len(rows(app, indexed, "SELECT DISTINCT generation FROM chunk")) == 1
    assert len(rows(app, indexed, "SELECT DISTINCT model FROM embedding")) == 1
    assert rows(app, indexed, "SELECT FROM stage_record WHERE stage = 'reindex'") == []
    with pytest.raises(HeadraceError, match="no-standby"):
        reindex.rollback(app, indexed)


# ── models ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_searchers_with_the_old_model_are_answered_by_the_old_generation(
    app: Runtime, indexed: str, other_model: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept_any_overlap(monkeypatch)
    old = app.models.embedder

    def searched() -> set[str]:
        passages = search(app.readers, old, indexed, SearchRequest("how often is the bearing greased", top=50))
        return {citation.document for passage in passages for citation in passage.citations}

    reindex.request(app, indexed, model=other_model)
    assert advance(app, indexed)["switched"] == 1
    assert searched() == found(app, indexed) == set(PAGES)
    assert app.session(indexed).policy.embedding.model == other_model
    publish(app, indexed, 2, {"seal.md": None, "gate.md": PAGES["gate.md"]}, acl=["jo"])
    app.land(indexed)
    assert searched() == found(app, indexed) == {"bearing.md", "runner.md"}, "deletes and narrowed access reach both at once"
    app.ingest(indexed)
    with app.session(indexed).transaction() as connection:
        beside.end(connection, beside.read(connection), "expired")  # type: ignore[arg-type]
    with pytest.raises(HeadraceError, match="model-mismatch"):
        searched()


def test_a_model_that_cannot_be_loaded_is_refused_at_once(app: Runtime, indexed: str, tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    with pytest.raises(PolicyError, match="nowhere"):
        tenants.configure(app, indexed, embedding={"model": nowhere})
    with pytest.raises(PolicyError, match="nowhere"):
        reindex.request(app, indexed, nowhere)
    with pytest.raises(PolicyError, match="there is no such setting"):
        tenants.configure(app, indexed, embedding={"endpoint": {"url": "http://elsewhere"}})
    assert reindex.status(app, indexed) is None


def test_a_tenant_may_have_a_model_of_its_own_from_the_start(app: Runtime, acme: str, globex: str, other_model: str) -> None:
    tenants.configure(app, acme, embedding={"model": other_model})
    for tenant in (acme, globex):
        publish(app, tenant, 1, PAGES)
        app.ingest(tenant)
        assert found(app, tenant) == set(PAGES)
    dimensions = [rows(app, tenant, "SELECT dimension FROM generation")[0]["dimension"] for tenant in (acme, globex)]
    assert dimensions == [32, app.models.embedder.dimension]


# ── the gate ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_model_that_is_worse_for_the_judged_queries_is_refused_and_the_active_index_stays(
    app: Runtime, acme: str, other_model: str
) -> None:
    publish(app, acme, 1, {f"page{n}.md": f"# Page {n}\n\n{words}\n" for n, words in enumerate(TOPICS)})
    app.ingest(acme)
    judged = [Canary(words.split(".")[0], {f"page{n}.md": 1.0}) for n, words in enumerate(TOPICS)]
    assert canaries.replace(app, acme, judged) == len(TOPICS)
    reindex.request(app, acme, model=other_model)
    assert advance(app, acme)["refused"] == 1
    compared = reindex.status(app, acme)
    assert compared
    assert compared.comparison
    assert (compared.state, compared.reason) == ("refused", "nDCG@10")
    by_name = {measure.name: measure for measure in compared.comparison.measures}
    assert by_name["nDCG@10"].active is not None
    assert by_name["nDCG@10"].active > 0.95 > by_name["nDCG@10"].new
    assert (compared.comparison.queries, compared.comparison.judged, compared.comparison.sampled) == (len(TOPICS), len(TOPICS), False)
    assert states(app, acme) == ["active", "building"]
    assert "reindex" not in maintenance.due(app, app.session(acme))
    assert reindex.rollback(app, acme), "gives it up"
    assert (states(app, acme), state(app, acme)) == (["active", "retired"], ("ended", "cancelled"))


TOPICS = (
    "The guide bearing is greased every month. Grease keeps water out.",
    "Invoices are paid within thirty days. Late payment costs interest.",
    "Salmon pass the weir by a ladder. They return each autumn.",
    "Vacation is requested from the manager. It is granted in writing.",
    "The server room is cooled to twenty degrees. Alarms go to the guard.",
    "Children visit the museum on Sundays. Admission is free for them.",
    "Passwords expire after ninety days. Choose a long sentence.",
    "The orchestra plays Brahms in the great hall. Doors open at seven.",
    "Wheat is milled between two stones. Flour falls into sacks.",
    "The bridge carries trucks of forty tons. It is inspected yearly.",
    "Vaccines are stored in the refrigerator. A log records its warmth.",
    "Contracts are signed by two directors. Copies go to the archive.",
)


def test_sampled_headings_stand_for_queries_and_random_vectors_do_not_pass(app: Runtime, acme: str, other_model: str) -> None:
    publish(
        app, acme, 1, {f"d{n}.md": f"# Subject {n} of {TOPICS[n % 12].split('.')[0]}\n\n{TOPICS[n % 12]} Part {n}.\n" for n in range(60)}
    )
    app.ingest(acme)
    reindex.request(app, acme, model=other_model)
    advance(app, acme)
    compared = reindex.status(app, acme)
    assert compared
    assert compared.comparison
    assert compared.comparison.sampled
    assert compared.comparison.queries == 60
    measures = {measure.name: measure for measure in compared.comparison.measures}
    assert measures["recall@10"].new == 1.0
    assert measures["overlap@10"].new < 0.9


def test_a_measure_passes_from_its_least() -> None:
    assert Measure("m", 0.5, 0.4, 0.4).passed
    assert not Measure("m", 0.5, 0.39, 0.4).passed
    assert Comparison(1, 0, True, (1, 1), {}, (Measure("m", 0.5, 0.1, 0.4), Measure("n", None, 0.1))).failed == ["m"]


@dataclass(frozen=True)
class Refusing(rebuild.Rebuild):
    """The stage, for settings that one document does not go with."""

    odd: str = ""

    def compute(self, session: Session, rows: Sequence[Stale], tally: Counter[str]) -> Sequence[Result]:
        return [
            Result(result.document, reason="too-odd", detail="for a test") if result.document == self.odd else result
            for result in super().compute(session, rows, tally)
        ]


def test_a_document_that_the_new_settings_cannot_take_has_a_reason_and_holds_up_no_switch(app: Runtime, indexed: str) -> None:
    reindex.request(app, indexed, chunker="fixed")
    session, stage = app.session(indexed), rebuild.build(app, app.session(indexed), wanted(app, indexed))
    assert run(Refusing(stage.step, stage.chunker, stage.embedder, odd=World(app, indexed).key("seal.md")), session).failed == 1
    counts = advance(app, indexed)
    assert (counts["documents"], counts["switched"]) == (0, 1)
    compared = reindex.status(app, indexed)
    assert compared
    assert compared.comparison
    assert compared.comparison.refused == {"too-odd": 1}
    assert rows(app, indexed, "SELECT FROM outcome WHERE outcome = 'dead-lettered'") == []
    assert found(app, indexed) == set(PAGES) - {"seal.md"}
    app.ingest(indexed)
    assert found(app, indexed) == set(PAGES), "the ordinary stages take it"


@pytest.mark.parametrize(
    ("given", "reason"),
    [({"chunker": "structure"}, "reindex-unchanged"), ({}, "reindex-unchanged"), ({"chunker": "magic"}, "bad-policy")],
)
def test_what_cannot_be_meant_is_refused(app: Runtime, indexed: str, given: dict[str, str], reason: str) -> None:
    with pytest.raises(HeadraceError) as refused:
        reindex.request(app, indexed, **given)
    assert refused.value.reason == reason


def test_without_an_index_there_is_nothing_to_build_beside(app: Runtime, acme: str) -> None:
    with pytest.raises(HeadraceError, match="nothing-indexed"):
        reindex.request(app, acme, chunker="fixed")


def test_while_the_index_itself_is_rebuilt_nothing_is_begun(app: Runtime, indexed: str) -> None:
    tenants.configure(app, indexed, chunking={"strategy": "recursive"})
    with pytest.raises(HeadraceError, match="index-unfinished"):
        reindex.request(app, indexed, chunker="fixed")


# ── beside other changes ─────────────────────────────────────────────────────────────────────────────────────


def test_a_tenant_that_is_configured_with_the_settings_by_hand_ends_the_reindex(app: Runtime, indexed: str) -> None:
    reindex.request(app, indexed, chunker="fixed")
    tenants.configure(app, indexed, chunking={"strategy": "fixed"})
    app.ingest(indexed)
    advance(app, indexed)
    assert (state(app, indexed), states(app, indexed)) == (("ended", "configured"), ["retired", "active"])
    assert found(app, indexed) == set(PAGES)


def test_a_tenant_that_is_configured_back_by_hand_gets_what_stands_by(app: Runtime, indexed: str) -> None:
    reindex.request(app, indexed, chunker="fixed")
    app.ingest(indexed)
    tenants.configure(app, indexed, chunking={"strategy": "structure"})
    for stage in TO_INDEX:
        app.run(indexed, stage)
    assert found(app, indexed) == set(PAGES)
    keep(app, indexed)
    keep(app, indexed)
    assert (state(app, indexed), states(app, indexed)) == (("ended", "configured"), ["active", "retired"])
    assert found(app, indexed) == set(PAGES)


def test_a_rotation_of_the_surrogate_key_drops_what_stands_by_and_starts_again_what_is_built(app: Runtime, indexed: str) -> None:
    reindex.request(app, indexed, chunker="fixed")
    app.ingest(indexed)
    surrogate_keys.rotate(app, indexed)
    app.ingest(indexed)
    keep(app, indexed)
    assert state(app, indexed) == ("ended", "surrogates-rotated")
    reindex.request(app, indexed, chunker="recursive")
    surrogate_keys.rotate(app, indexed)
    assert advance(app, indexed)["switched"] == 0, "the active generation has not the new key yet"
    app.ingest(indexed)
    advance(app, indexed)
    assert app.session(indexed).policy.chunking.strategy == "recursive"
    assert found(app, indexed) == set(PAGES)


def test_a_switch_waits_for_a_document_or_a_version_that_only_the_active_generation_has(app: Runtime, indexed: str) -> None:
    reindex.request(app, indexed, chunker="fixed")
    session, stage = app.session(indexed), rebuild.build(app, app.session(indexed), wanted(app, indexed))
    active = registry.step("index", app, session.policy).fingerprint

    def switched() -> bool:
        with session.transaction() as connection:
            found = beside.read(connection)
            assert found
            return beside.switch(connection, found, beside.settings_of(session.policy), active, "switched")

    names = World(app, indexed)
    run(stage, session, only=[names.key(name) for name in list(PAGES)[1:]])
    assert not switched(), "a document is missing"
    run(stage, session)
    publish(app, indexed, 2, {"gate.md": PAGE.format("lock")})
    app.land(indexed)
    for name in TO_INDEX:
        run(registry.build(name, app, session.policy), session)
    assert not switched(), "a version is missing"
    run(stage, session)
    assert switched()
    assert found(app, indexed) == set(PAGES)


def test_a_worker_that_computed_before_it_was_given_up_writes_nothing(app: Runtime, indexed: str) -> None:
    reindex.request(app, indexed, chunker="fixed")
    session, stage = app.session(indexed), rebuild.build(app, app.session(indexed), wanted(app, indexed))
    assert reindex.rollback(app, indexed)
    run(stage, session)
    assert states(app, indexed) == ["active"]
    assert rows(app, indexed, "SELECT FROM stage_record WHERE stage = 'reindex'") == []


def test_an_old_session_promotes_nothing_after_a_switch(app: Runtime, indexed: str) -> None:
    from pipelines.stages.index_tasks import promote

    before: Session = app.session(indexed)
    reindex.request(app, indexed, chunker="fixed")
    advance(app, indexed)
    assert promote(app, before) == {"generations": 0}
    assert states(app, indexed) == ["standby", "active"]


def test_canary_queries_are_stored_redacted_and_go_with_the_key_of_their_surrogates(app: Runtime, indexed: str) -> None:
    queries = canaries.parse(
        ['{"query": "who greases, jane.roe@example.com?"}\n', "\n", '{"query": "grease", "judgements": {"seal.md": 2}}\n']
    )
    assert canaries.replace(app, indexed, queries) == 2
    kept = rows(app, indexed, "SELECT query, judgements FROM canary_query ORDER BY query")
    assert kept[0] == {"query": "grease", "judgements": {World(app, indexed).key("seal.md"): 2.0}}
    assert "jane" not in kept[1]["query"]
    surrogate_keys.rotate(app, indexed)
    assert [row["query"] for row in rows(app, indexed, "SELECT query FROM canary_query")] == ["grease"]


@pytest.mark.parametrize("line", ["{", '{"query": " "}', '{"question": "x"}', '{"query": "secret", "judgements": [1]}'])
def test_a_line_that_is_no_query_is_named_by_its_number_and_not_repeated(line: str) -> None:
    with pytest.raises(HeadraceError, match="line 2") as refused:
        canaries.parse(['{"query": "fine"}', line])
    assert "secret" not in str(refused.value)


# ── wherever it is cut off ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("point", reindex.CRASH_POINTS)
def test_killed_at_any_point_it_goes_on_and_search_answers(app: Runtime, indexed: str, strike: Callable[[str], None], point: str) -> None:
    reindex.request(app, indexed, chunker="fixed")
    strike(point)
    with pytest.raises(Died):
        advance(app, indexed)
    assert found(app, indexed) == set(PAGES)
    app.ingest(indexed)
    assert (state(app, indexed), states(app, indexed)) == (("standby", "switched"), ["standby", "active"])
    assert found(app, indexed) == set(PAGES)
    strike("switch:before-commit")
    with pytest.raises(Died):
        reindex.rollback(app, indexed)
    assert app.session(indexed).policy.chunking.strategy == "fixed"
    assert reindex.rollback(app, indexed)
    assert found(app, indexed) == set(PAGES)


NAMES = ("a.md", "b.md", "c.md")
STEPS = st.one_of(
    st.tuples(st.just("upsert"), st.sampled_from(NAMES), st.sampled_from([("*",), ("jo",), ("jo", "kim")])),
    st.tuples(st.just("delete"), st.sampled_from(NAMES)),
    st.tuples(st.just("stages"), st.sampled_from([None, None, *TO_INDEX])),
    st.tuples(st.just("batch")),
    st.tuples(st.just("advance"), st.sampled_from([None, None, *reindex.CRASH_POINTS])),
    st.tuples(st.just("request"), st.sampled_from(["fixed", "recursive", "structure"])),
    st.tuples(st.just("rollback")),
    st.tuples(st.just("keep")),
)


class Library:
    """A tenant whose documents change and whose index is rebuilt, and what a reader should find of them."""

    def __init__(self, world: World) -> None:
        self.world, self.app, self.tenant = world, world.app, world.tenant
        self.inlet: Inlet = world.inlet()
        self.versions: dict[str, int] = {}
        """Document → its newest landed version."""
        self.indexed: dict[str, int] = {}
        """Document → the newest version that the stages have indexed."""
        self.acl: dict[str, set[str]] = {}
        """Document → who may read it by its newest event."""
        self.readers: dict[str, set[str]] = {}
        """Document → who may read what is indexed of it."""

    def upsert(self, name: str, acl: tuple[str, ...]) -> None:
        version = self.versions[name] = self.versions.get(name, 0) + 1
        # no two documents are nearly alike: a search would show one of them
        first, second = TOPICS[NAMES.index(name)].split(".")[:2]
        words = f"# {first}\n\nversion{version}: {first}.\n\n## {second}\n\nversion{version}: {second}.\n"
        self.inlet.land(self.inlet.upsert(name, words, acl=list(acl), media_type="text/markdown"))
        self.readers[name] = narrowed(self.readers[name], set(acl)) if name in self.readers else set(acl)
        self.acl[name] = set(acl)

    def delete(self, name: str) -> None:
        self.inlet.land(self.inlet.delete(name))
        for of in (self.indexed, self.readers, self.acl):
            of.pop(name, None)

    def stages(self, killed_at: str | None) -> None:
        session = self.app.session(self.tenant)
        for stage in TO_INDEX:
            run(registry.build(stage, self.app, session.policy), session)
            if stage == killed_at:
                return
        for name in self.acl:
            self.indexed[name], self.readers[name] = self.versions[name], self.acl[name]

    def batch(self) -> None:
        """One document of the generation beside the active one."""
        session = self.app.session(self.tenant)
        with session.transaction() as connection:
            one = beside.read(connection)
        if one and one.state in ("building", "standby"):
            stage = rebuild.build(self.app, session, one.policy(session.policy))
            keys = [self.world.key(name) for name in NAMES]
            run(stage, session, only=keys[: 1 + sum(self.versions.values()) % 3])

    def advance(self, point: str | None, strike: Callable[[str], None]) -> None:
        try:
            if point:
                strike(point)
            reindex.advance(self.app, self.app.session(self.tenant))
        except Died:
            pass
        finally:
            crashpoints.disarm()

    def request(self, chunker: str) -> None:
        with suppress(HeadraceError):
            reindex.request(self.app, self.tenant, chunker=chunker)

    def rollback(self) -> None:
        with suppress(HeadraceError):
            reindex.rollback(self.app, self.tenant)

    def keep(self) -> None:
        reindex.keep(self.app, self.app.session(self.tenant))

    def check(self) -> None:
        for reader in ("jo", "kim", "guest"):
            found = self.found(reader)
            for name in NAMES:
                versions = found.get(name, set())
                if name not in self.acl or not may_read(self.acl[name], reader):
                    assert not versions, "deleted, or revoked"
                elif name in self.indexed and may_read(self.readers[name], reader):
                    [version] = versions
                    assert self.indexed[name] <= version <= self.versions[name]

    def found(self, reader: str) -> dict[str, set[int]]:
        """Document → the versions of it that this reader finds."""
        found: dict[str, set[int]] = {}
        for passage in ask(self.app, self.tenant, "version", [reader], top=100):
            for citation in passage.citations:
                found.setdefault(citation.document, set()).update(map(int, re.findall(r"version(\d+)", passage.text)))
        return found


def narrowed(old: set[str], new: set[str]) -> set[str]:
    return new if "*" in old else old if "*" in new else old & new


def may_read(acl: set[str], reader: str) -> bool:
    return "*" in acl or reader in acl


@given(st.lists(STEPS, min_size=4, max_size=14))
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_in_any_order_of_events_the_newest_indexed_versions_are_found_and_nothing_deleted_or_revoked_is(
    world: World, strike: Callable[[str], None], steps: list[tuple[Any, ...]]
) -> None:
    world.clear()
    tenants.configure(world.app, world.tenant, chunking={"strategy": "structure"})
    library = Library(world)
    library.upsert("a.md", ("*",))
    library.stages(None)
    for step, *arguments in steps:
        if step == "advance":
            library.advance(arguments[0], strike)
        else:
            getattr(library, step)(*arguments)
        library.check()
    library.stages(None)
    library.check()
    library.advance(None, strike)
    library.check()
    now = {name for name in NAMES if name in library.indexed}
    assert {document["name"] for document in world.rows(ACTIVE)} == now


ACTIVE = "SELECT i.name FROM indexed i JOIN generation g USING (generation) WHERE g.state = 'active'"
