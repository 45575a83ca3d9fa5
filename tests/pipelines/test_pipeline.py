"""The whole pipeline with real models: what a source publishes is what a reader finds, and only what changed costs anything."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from core.config import Settings
from core.errors import PolicyError
from core.principals import Principals
from events.publish import Publisher
from pipelines import documents
from pipelines.dagster.runtime import Runtime
from pipelines.governance import erasure, tenants
from pipelines.operations import dead_letters, explain, status
from pipelines.operations.search import ask
from pipelines.stages.registry import NAMES
from quality.catalogue import NAMES as CHECKS
from tests.tenant_fixture import WIKI, publish

MANUAL = """# Turbine manual

## Bearings

Grease the guide bearing every 250 operating hours. Wipe off what comes out beside the shaft, and write the turbine's hours into its log.

## Seals

The shaft seal is inspected once a year. Measure over an hour what drips from it. Questions go to jane.roe@example.com.

## Storage

Keep the runner dry, and turn it by hand every month. Lay it on wood rather than on the concrete floor, and cover it against dust.
"""


def cited(app: Runtime, tenant: str, query: str, principals: Principals = (), top: int = 20) -> set[str]:
    return {c.document for passage in ask(app, tenant, query, principals, top) for c in passage.citations}


def texts(app: Runtime, tenant: str, query: str) -> str:
    return "\n".join(passage.text for passage in ask(app, tenant, query, top=50))


def test_a_published_document_is_found_redacted_and_cited(app: Runtime, acme: str) -> None:
    publish(app, acme, 1, manual_md=MANUAL)
    app.ingest(acme)
    best = ask(app, acme, "How often is the guide bearing greased?")[0]
    assert "250 operating hours" in best.text
    assert best.heading_path[-1] == "Bearings"
    assert [citation.document for citation in best.citations] == ["manual.md"]
    everything = texts(app, acme, "whom do I ask about the seal")
    assert "jane.roe" not in everything
    assert "<EMAIL:" in everything


def test_a_question_with_a_hidden_value_finds_its_surrogate(app: Runtime, acme: str) -> None:
    addresses = ("jane.roe@example.com", "john.doe@example.com")
    publish(
        app, acme, 1, jane_md=f"# Contact\n\nQuestions go to {addresses[0]}.\n", john_md=f"# Contact\n\nQuestions go to {addresses[1]}.\n"
    )
    app.ingest(acme)
    first = [ask(app, acme, f"Questions go to {address}.")[0].citations[0].document for address in addresses]
    assert first == ["jane.md", "john.md"]


def test_nothing_new_embeds_nothing_and_moves_nothing(app: Runtime, acme: str) -> None:
    publish(app, acme, 1, manual_md=MANUAL)
    app.ingest(acme)
    landed, reports = app.ingest(acme)
    assert landed.events == 0
    assert sum(report.moved for report in reports.values()) == 0
    assert reports["embed"].tally["embedded"] == 0


def test_an_edit_embeds_only_the_chunks_that_changed(app: Runtime, acme: str) -> None:
    publish(app, acme, 1, manual_md=MANUAL)
    _, first = app.ingest(acme)
    publish(app, acme, 2, manual_md=MANUAL.replace("250", "200"))
    _, second = app.ingest(acme)
    assert first["embed"].tally["embedded"] == 3
    assert second["embed"].tally["embedded"] == 1
    assert "250 operating hours" not in texts(app, acme, "guide bearing")
    assert "200 operating hours" in texts(app, acme, "guide bearing")


def test_an_acl_change_parses_and_embeds_nothing(app: Runtime, acme: str) -> None:
    publish(app, acme, 1, manual_md=MANUAL)
    app.ingest(acme)
    publish(app, acme, 2, manual_md=MANUAL, acl=["group:workshop"])
    _, reports = app.ingest(acme)
    assert reports["parse"].done == 0
    assert reports["embed"].tally["embedded"] == 0
    assert cited(app, acme, "guide bearing") == set()
    assert cited(app, acme, "guide bearing", ["group:workshop"]) == {"manual.md"}


def test_revoked_access_ends_at_landing_before_any_stage_has_run(app: Runtime, acme: str) -> None:
    publish(app, acme, 1, manual_md=MANUAL, acl=["user:ann", "user:bob"])
    app.ingest(acme)
    publish(app, acme, 2, manual_md=MANUAL, acl=["user:bob", "user:eve"])
    app.land(acme)
    assert cited(app, acme, "guide bearing", ["user:ann"]) == set()
    assert cited(app, acme, "guide bearing", ["user:eve"]) == set()
    assert cited(app, acme, "guide bearing", ["user:bob"]) == {"manual.md"}
    app.ingest(acme)
    assert cited(app, acme, "guide bearing", ["user:eve"]) == {"manual.md"}


def test_a_new_version_that_cannot_be_parsed_leaves_the_old_one_searchable(app: Runtime, acme: str) -> None:
    publish(app, acme, 1, manual_md=MANUAL)
    app.ingest(acme)
    with Publisher(app.endpoints.kafka_client(), acme, WIKI) as publisher:
        publisher.upsert("manual.md", content=b"PK\x03\x04 cut off", file_name="manual.docx", sequence=2)
    _, reports = app.ingest(acme)
    assert reports["parse"].failed == 1
    assert cited(app, acme, "guide bearing") == {"manual.md"}
    assert [letter.stage for letter in dead_letters.open_letters(app, acme)] == ["parse"]


def test_a_tenants_own_settings_make_only_its_own_documents_stale(app: Runtime, acme: str, globex: str) -> None:
    for tenant in (acme, globex):
        publish(app, tenant, 1, manual_md=MANUAL)
        app.ingest(tenant)
    tenants.configure(app, acme, reading={"pdf": "text"})
    assert {tenant: app.ingest(tenant)[1]["parse"].done for tenant in (acme, globex)} == {acme: 1, globex: 0}


CSV = b"name,role\n" + b"".join(b"miller%d,role %d\n" % (n, n) for n in range(9))


def test_a_tenants_strategy_rechunks_its_own_documents_beside_the_active_index(app: Runtime, acme: str, globex: str) -> None:
    for tenant in (acme, globex):
        with Publisher(app.endpoints.kafka_client(), tenant, WIKI) as publisher:
            publisher.upsert("people.csv", content=CSV, media_type="text/csv", sequence=1)
        app.ingest(tenant)
        assert status.overview(app, tenant).chunks == 1
    tenants.configure(app, acme, chunking={"formats": {"csv": "table"}})
    done = {tenant: app.ingest(tenant)[1] for tenant in (acme, globex)}
    assert {tenant: (reports["redact"].done, reports["chunk"].done) for tenant, reports in done.items()} == {acme: (0, 1), globex: (0, 0)}
    assert [status.overview(app, tenant).chunks for tenant in (acme, globex)] == [9, 1]
    assert ask(app, acme, "role of miller7")[0].text == "name | role\nmiller7 | role 7"
    with app.session(acme).transaction() as connection:
        states = connection.execute("SELECT state FROM generation ORDER BY generation").fetchall()
    assert [row["state"] for row in states] == ["retired", "active"]


@pytest.mark.parametrize("bad", [{"strategy": "magic"}, {"formats": {"csv": "magic"}}, {"formats": {"magic": "table"}}])
def test_a_tenants_unknown_strategy_is_refused_with_its_name(app: Runtime, acme: str, bad: dict[str, Any]) -> None:
    with pytest.raises(PolicyError, match="magic"):
        tenants.configure(app, acme, chunking=bad)


def test_a_small_chunk_is_found_and_the_text_around_it_answers(app: Runtime, acme: str) -> None:
    tenants.configure(app, acme, chunking={"strategy": "hierarchical"})
    turns = "\n\n".join(f"The runner turned {n} times in its housing, and nobody was there who could have counted." for n in range(8))
    publish(app, acme, 1, manual_md=f"# Turns\n\n{turns}\n\nGrease the guide bearing every 250 operating hours.\n")
    app.ingest(acme)
    passages = ask(app, acme, "when is the guide bearing greased?", top=1)
    assert "guide bearing every 250" in passages[0].text
    assert "nobody was there" in passages[0].text
    assert len(ask(app, acme, "guide bearing", top=20)) < status.overview(app, acme).chunks


def test_semantic_chunks_are_cut_with_the_tenants_embedder(app: Runtime, acme: str) -> None:
    publish(app, acme, 1, manual_md=MANUAL)
    tenants.configure(app, acme, chunking={"strategy": "semantic"})
    app.ingest(acme)
    assert cited(app, acme, "guide bearing") == {"manual.md"}
    assert app.ingest(acme)[1]["chunk"].done == 0


def test_a_corrupt_document_is_a_dead_letter_and_its_neighbours_go_on(app: Runtime, acme: str) -> None:
    with Publisher(app.endpoints.kafka_client(), acme, WIKI) as publisher:
        publisher.upsert("broken.docx", content=b"PK\x03\x04 cut off", file_name="broken.docx", sequence=1)
    publish(app, acme, 1, manual_md=MANUAL)
    app.ingest(acme)
    assert cited(app, acme, "guide bearing") == {"manual.md"}
    letter = dead_letters.open_letters(app, acme)[0]
    assert letter.reason == "corrupt-document"
    assert "not searchable" in explain.explain(app, acme, "broken.docx")[0].verdict


def test_a_corrected_document_resolves_its_dead_letter(app: Runtime, acme: str) -> None:
    publish(app, acme, 1, manual_md=b"PK\x03\x04 cut off")
    app.ingest(acme)
    publish(app, acme, 2, manual_md=MANUAL)
    app.ingest(acme)
    assert dead_letters.open_letters(app, acme) == []
    assert cited(app, acme, "guide bearing") == {"manual.md"}


def test_a_delete_is_gone_from_index_graph_and_cache(app: Runtime, acme: str) -> None:
    publish(app, acme, 1, manual_md=MANUAL)
    app.ingest(acme)
    publish(app, acme, 2, {"manual.md": None})
    app.ingest(acme)
    assert cited(app, acme, "guide bearing") == set()
    graph = app.models.projection.counts(acme)
    assert graph.get("Document", 0) == graph.get("Chunk", 0) == graph.get("Entity", 0) == 0
    assert status.overview(app, acme).chunks == 0
    with app.session(acme).transaction() as connection:
        assert connection.execute("SELECT count(*) AS n FROM embedding").fetchall() == [{"n": 0}]
        assert connection.execute("SELECT count(*) AS n FROM artifact WHERE stage <> 'graph'").fetchall() == [{"n": 0}]


def test_a_late_update_does_not_resurrect_a_deleted_document(app: Runtime, acme: str) -> None:
    publish(app, acme, 1, manual_md=MANUAL)
    publish(app, acme, 5, {"manual.md": None})
    publish(app, acme, 4, manual_md=MANUAL)
    landed, _ = app.ingest(acme)
    assert landed.fates["superseded"] == 1
    assert cited(app, acme, "guide bearing") == set()
    publish(app, acme, 6, manual_md=MANUAL)
    app.ingest(acme)
    assert cited(app, acme, "guide bearing") == {"manual.md"}


def test_an_exact_duplicate_is_stored_once_and_survives_the_other_copys_delete(app: Runtime, acme: str) -> None:
    publish(app, acme, 1, manual_md=MANUAL, copy_md=MANUAL)
    _, reports = app.ingest(acme)
    assert reports["embed"].tally["embedded"] == status.overview(app, acme).chunks == 3
    assert cited(app, acme, "guide bearing") == {"manual.md", "copy.md"}
    publish(app, acme, 2, {"manual.md": None})
    app.ingest(acme)
    assert cited(app, acme, "guide bearing") == {"copy.md"}
    assert status.overview(app, acme).chunks == 3


def test_the_same_document_of_two_tenants_shares_nothing(app: Runtime, acme: str, globex: str) -> None:
    for tenant in (acme, globex):
        publish(app, tenant, 1, manual_md=MANUAL)
        app.ingest(tenant)
    words = [{word for word in texts(app, tenant, "seal").split() if word.startswith("<EMAIL:")} for tenant in (acme, globex)]
    assert words[0]
    assert not words[0] & words[1]
    publish(app, acme, 2, {"manual.md": None})
    app.ingest(acme)
    assert cited(app, globex, "guide bearing") == {"manual.md"}
    assert documents.find(app, globex, "manual.md") != documents.find(app, acme, "manual.md")


def test_erasing_leaves_a_receipt_and_nothing_else(app: Runtime, acme: str) -> None:
    publish(app, acme, 3, manual_md=MANUAL, other_md="# Other\n\nStays.\n")
    app.ingest(acme)
    receipt = erasure.erase(app, acme, "manual.md")
    assert receipt.complete
    assert all(counts.after == 0 for counts in receipt.stores.values())
    assert all(receipt.stores[store].before > 0 for store in ("events", "artifacts", "chunks", "cached_vectors", "graph"))
    assert "manual" not in str(receipt)
    publish(app, acme, 2, manual_md=MANUAL)
    app.ingest(acme)
    assert cited(app, acme, "anything") == {"other.md"}


def test_content_by_reference_is_fetched_from_an_allowed_place_only(app: Runtime, acme: str) -> None:
    folder = app.settings.fetching.roots[0]
    (folder / "manual.md").write_text(MANUAL, encoding="utf-8")
    with Publisher(app.endpoints.kafka_client(), acme, WIKI) as publisher:
        publisher.upsert("inside.md", uri=(folder / "manual.md").as_uri(), sequence=1)
        publisher.upsert("outside.md", uri="file:///etc/hostname", sequence=1)
    app.ingest(acme)
    assert cited(app, acme, "guide bearing") == {"inside.md"}
    assert [letter.reason for letter in dead_letters.open_letters(app, acme)] == ["uri-not-allowed"]


def test_every_check_passes_on_good_documents(app: Runtime, acme: str) -> None:
    publish(app, acme, 1, manual_md=MANUAL, second_md=MANUAL.replace("Turbine", "Generator").replace("250", "300"))
    app.ingest(acme)
    assert {name: app.check(acme, name).explanation for name in CHECKS if not app.check(acme, name).passed} == {}


def test_explain_shows_each_stage_and_where_a_chunk_comes_from(app: Runtime, acme: str) -> None:
    publish(app, acme, 1, manual_md=MANUAL)
    app.ingest(acme)
    reported = explain.explain(app, acme, "manual.md")[0]
    assert reported.verdict == "searchable"
    assert [record.stage for record in reported.stages] == list(NAMES)
    assert int(reported.signals["characters"]) > 10
    chunk = ask(app, acme, "guide bearing")[0].chunk
    assert documents.find(app, acme, chunk) == [reported.document]


def test_another_chunk_size_rechunks_without_parsing_again(settings: Settings, app: Runtime, acme: str) -> None:
    publish(app, acme, 1, manual_md=MANUAL + "\n" + " ".join(f"The runner turned {n} times in its housing." for n in range(60)))
    app.ingest(acme)
    before = status.overview(app, acme).chunks
    smaller = settings.model_copy(update={"chunking": settings.chunking.model_copy(update={"max_tokens": 64})})
    with Runtime(smaller, app.endpoints) as other:
        _, reports = other.ingest(acme)
        assert reports["parse"].done == reports["redact"].done == 0
        assert reports["chunk"].done == 1
        assert status.overview(other, acme).chunks > before
        assert cited(other, acme, "guide bearing") == {"manual.md"}
        with other.session(acme).transaction() as connection:
            assert connection.execute("SELECT count(*) AS n FROM generation WHERE state = 'active'").fetchall() == [{"n": 1}]
            assert connection.execute("SELECT count(DISTINCT generation) AS n FROM chunk").fetchall() == [{"n": 1}]


def test_no_process_of_ours_is_left_when_headrace_closes(settings: Settings, app: Runtime, acme: str) -> None:
    publish(app, acme, 1, manual_md=MANUAL)
    with Runtime(settings, app.endpoints) as other:
        other.land(acme)
        other.run(acme, "parse")
        workers = other.models.parsers.pids
        assert workers
    listed = subprocess.run(["ps", "-o", "pid=", "-p", ",".join(map(str, workers))], capture_output=True, text=True, check=False)
    assert listed.stdout.split() == []
