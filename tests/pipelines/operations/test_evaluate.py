"""Evaluation of a tenant's search: what is measured, kept and compared, the check on a regression, and drafts of queries."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from core.errors import HeadraceError
from pipelines.dagster.runtime import Runtime
from pipelines.governance import surrogate_keys, tenants
from pipelines.operations import canaries, evaluate
from pipelines.operations.canaries import Canary
from pipelines.operations.checks import check
from pipelines.operations.evaluate import Evaluation
from retrieval.judgements import Judged, judged
from retrieval.request import MODES
from tests.tenant_fixture import World, publish

SUBJECTS = {
    "bearing": "The guide bearing carries the shaft, and its grease is replaced every 250 hours of work by the fitter of the day.",
    "gate": "The intake gate holds back the water, and its hoist is inspected in every spring before the river rises again.",
    "seal": "The shaft seal keeps oil out of the river, and its packing is renewed whenever jane.roe@example.com finds a drop below it.",
}
PAGES = {f"{name}.md": f"# The {name}\n\n{text}\n" for name, text in SUBJECTS.items()}
QUERIES = {"b": "guide bearing grease", "g": "intake gate hoist", "s": "packing renewed by jane.roe@example.com"}
GRADES = {"b": {"bearing.md": 2, "gate.md": 0}, "g": {"gate.md": 1}, "s": {"seal.md": 1}}
PERFECT = dict.fromkeys(QUERIES, 1.0)


@pytest.fixture
def indexed(app: Runtime, acme: str) -> str:
    publish(app, acme, 1, PAGES)
    app.ingest(acme)
    return acme


@pytest.fixture
def asked() -> Judged:
    return judged(QUERIES, GRADES)


def without(app: Runtime, tenant: str, name: str) -> None:
    """The document is another one now, which answers nothing."""
    publish(app, tenant, 2, {name: "# Holidays\n\nNobody works on the first of May.\n"})
    app.ingest(tenant)


def test_every_mode_is_measured_and_a_redacted_value_is_found_by_its_question(app: Runtime, indexed: str, asked: Judged) -> None:
    found = evaluate.evaluate(app, indexed, asked)
    assert (found.queries, found.absent, set(found.values)) == (3, 0, set(MODES))
    assert found.values["lexical"]["ndcg_at_10"] == PERFECT
    assert found.values["lexical"]["recall_at_100"] == PERFECT
    assert found.intervals()["lexical"]["mrr_at_10"].mean == 1


def test_who_asks_counts_if_it_is_said_and_otherwise_everybody(app: Runtime, acme: str, asked: Judged) -> None:
    publish(app, acme, 1, PAGES, acl=["group:shop"])
    app.ingest(acme)
    every, nobody, shop = (evaluate.evaluate(app, acme, asked, ["lexical"], who) for who in (None, [], ["group:shop"]))
    assert every.values == shop.values
    assert set(nobody.values["lexical"]["recall_at_100"].values()) == {0.0}


def test_documents_that_the_index_does_not_have_are_counted(app: Runtime, indexed: str) -> None:
    found = evaluate.evaluate(
        app, indexed, judged({"q": "bearing"}, {"q": {"bearing.md": 1, "lost.md": 1, "also lost.md": 0}}), ["lexical"]
    )
    assert (found.absent, found.values["lexical"]["recall_at_100"]["q"]) == (1, 0.5)


def test_judgements_may_name_documents_by_their_keys(app: Runtime, indexed: str) -> None:
    key = World(app, indexed).key("bearing.md")
    found = evaluate.evaluate(app, indexed, judged({"q": "bearing grease"}, {"q": {key: 1}}), ["lexical"])
    assert (found.absent, found.values["lexical"]["ndcg_at_10"]["q"]) == (0, 1.0)


def test_a_question_that_no_model_reads_counts_as_0_and_is_counted(app: Runtime, indexed: str) -> None:
    found = evaluate.evaluate(app, indexed, judged({"q": "bearing " + "x " * 4500}, {"q": {"bearing.md": 1}}), ["vector", "lexical"])
    assert found.refused == {"vector": 1, "lexical": 0}
    assert [found.values[mode]["ndcg_at_10"]["q"] for mode in ("vector", "lexical")] == [0.0, 1.0]


def test_kept_queries_are_redacted_and_asked_again_without_files(app: Runtime, indexed: str, asked: Judged) -> None:
    evaluate.keep(app, asked, evaluate.evaluate(app, indexed, asked))
    with app.session(indexed).transaction() as connection:
        kept = canaries.stored(connection)
    assert [one.keyed for one in kept] == [False, False, True]
    assert "jane" not in msgspec.json.encode(kept).decode()
    again = evaluate.evaluate(app, indexed, evaluate.stored(app, indexed))
    assert (
        {one.query: one.baseline["lexical"] for one in kept}
        == again.values["lexical"]["ndcg_at_10"]
        == dict.fromkeys(again.values["lexical"]["map"], 1.0)
    )
    surrogate_keys.rotate(app, indexed)
    assert len(evaluate.stored(app, indexed).queries) == 2


def test_canary_queries_become_a_baseline_whatever_their_grades(app: Runtime, indexed: str) -> None:
    with pytest.raises(HeadraceError) as none:
        evaluate.stored(app, indexed)
    assert none.value.reason == "bad-judgements"
    canaries.replace(app, indexed, [Canary("grease", {"bearing.md": 0.5, "gate.md": 0.25}), Canary("not judged")])
    assert check(app, indexed, "retrieval_quality").measured == {"queries": 0}
    found = evaluate.evaluate(app, indexed, evaluate.stored(app, indexed), ["lexical"])
    evaluate.keep_baseline(app, found)
    assert check(app, indexed, "retrieval_quality").measured["queries"] == 1


def test_the_check_fails_when_search_has_become_worse_than_the_tenants_setting_allows(app: Runtime, indexed: str, asked: Judged) -> None:
    evaluate.keep(app, asked, evaluate.evaluate(app, indexed, asked))
    passed = check(app, indexed, "retrieval_quality")
    assert (passed.passed, passed.measured["lexical/ndcg_at_10"], passed.measured["documents absent"]) == (True, 1.0, 0)
    without(app, indexed, "gate.md")
    failed = check(app, indexed, "retrieval_quality")
    assert (failed.passed, failed.severity, failed.measured["lexical/worse"]) == (False, "error", 1)
    assert failed.measured["lexical/ndcg_at_10"] == pytest.approx(2 / 3, abs=1e-3)
    assert "jane" not in failed.explanation + failed.markdown()
    tenants.configure(app, indexed, evaluation={"most_ndcg_loss": 0.5})
    assert check(app, indexed, "retrieval_quality").passed
    evaluate.keep_baseline(app, evaluate.evaluate(app, indexed, evaluate.stored(app, indexed)))
    tenants.configure(app, indexed, evaluation={"most_ndcg_loss": 0})
    assert check(app, indexed, "retrieval_quality").passed


def test_modes_and_earlier_evaluations_are_compared_query_by_query(app: Runtime, indexed: str, asked: Judged) -> None:
    before = evaluate.evaluate(app, indexed, asked, ["lexical"])
    without(app, indexed, "gate.md")
    after = evaluate.evaluate(app, indexed, asked, ["lexical"])
    [compared] = evaluate.against_earlier(after, before.values)
    assert [change.query for change in compared.measures["ndcg_at_10"].changes] == ["g"]
    assert compared.measures["ndcg_at_10"].interval.mean == pytest.approx(-1 / 3)
    assert evaluate.against_mode(after, "lexical") == []
    with pytest.raises(HeadraceError):
        evaluate.against_mode(after, "vector")
    with pytest.raises(HeadraceError):
        evaluate.against_earlier(after, {"vector": {}})


def other(values: dict[str, Any]) -> Evaluation:
    return Evaluation("t", 1, 0, 0, 0, {}, values)


def test_evaluations_without_a_common_query_or_measure_are_not_compared() -> None:
    mine = {"lexical": {"recall_at_100": {"a": 1.0}}}
    for earlier in ({"lexical": {"recall_at_50": {"a": 1.0}}}, {"lexical": {"recall_at_100": {"b": 1.0}}}):
        with pytest.raises(HeadraceError) as refused:
            evaluate.against_earlier(other(mine), earlier)
        assert refused.value.reason == "bad-evaluation"


def test_more_queries_than_a_tenant_may_have_are_refused(app: Runtime, indexed: str) -> None:
    many = {str(number): f"query {number}" for number in range(canaries.MOST + 1)}
    with pytest.raises(HeadraceError) as refused:
        evaluate.keep(app, judged(many, {query: {"gate.md": 1} for query in many}), Evaluation(indexed, 0, 0, 0, 0, {}, {}))
    assert refused.value.reason == "bad-queries"


def test_drafts_find_their_own_documents_and_have_no_personal_value(app: Runtime, indexed: str) -> None:
    text = "# Rota\n\nOn Mondays the fitter greases bearings; on Fridays somebody sweeps the hall and locks every door.\n"
    publish(app, indexed, 1, {"jane.roe@example.com.md": text})
    app.ingest(indexed)
    drafts = evaluate.suggest(app, indexed, 10)
    assert {draft.source.document for draft in drafts} == {*PAGES, World(app, indexed).key("jane.roe@example.com.md")}
    assert "jane" not in msgspec.json.encode(drafts).decode()
    asked = judged({draft.text: draft.text for draft in drafts}, {draft.text: {draft.source.document: 1} for draft in drafts})
    found = evaluate.evaluate(app, indexed, asked, ["lexical"])
    assert (found.absent, set(found.values["lexical"]["ndcg_at_10"].values())) == (0, {1.0})
    assert len(evaluate.suggest(app, indexed, 2)) == 2
