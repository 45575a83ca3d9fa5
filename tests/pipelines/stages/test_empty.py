"""A document that was emptied has no passages left: in every stage, in what people see of it, and after any history."""

from __future__ import annotations

from collections.abc import Sequence
from email.message import EmailMessage

import pytest
from fpdf import FPDF
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config import Settings
from events.outcomes import Outcomes
from events.publish import Publisher
from pipelines.dagster.runtime import Runtime
from pipelines.governance import tenants
from pipelines.operations import explain, status
from pipelines.operations.checks import check
from pipelines.operations.search import ask
from pipelines.stages.registry import NAMES
from quality.catalogue import NAMES as CHECKS
from tests.documents import printed, zipped
from tests.tenant_fixture import WIKI, World, publish, rows, verdict

PAGE = "# The {} page\n\nThe {} word of the harbour is eleven. See [the rules](rules.md).\n"
EMPTY = "empty: indexed with no passages"
CLEARED = {
    "empty": "",
    "blank": "  \n\t\n",
    "html": "<html><body><img src='x.png'></body></html>",
    "front": "---\ntitle: nothing\n---\n",
    "comment": "<!-- cleared by the author -->",
    "picture": "![](logo.png)\n",
}


def found(app: Runtime, tenant: str) -> set[str]:
    """The documents that a passage, or one that is nearly the same, is cited from."""
    passages = ask(app, tenant, "the word of the harbour", top=50)
    alike = [citation.document for passage in passages for one in passage.alike for citation in one.citations]
    return {*alike, *(citation.document for passage in passages for citation in passage.citations)}


def size(app: Runtime, tenant: str) -> status.TenantOverview:
    return status.overview(app, tenant)


def placed_key(app: Runtime, tenant: str, name: str) -> str:
    return explain.explain(app, tenant, name)[0].document


def test_an_emptied_document_leaves_no_passage_and_is_indexed(app: Runtime, acme: str) -> None:
    publish(app, acme, 1, documents={f"{name}.md": PAGE.format(name, name) for name in CLEARED}, kept_md=PAGE.format("kept", "kept"))
    app.ingest(acme)
    assert found(app, acme) == {"kept.md", *(f"{name}.md" for name in CLEARED)}
    graph = app.models.projection.counts(acme)

    publish(app, acme, 2, documents={f"{name}.md": content for name, content in CLEARED.items()}, title="The harbour")
    _, reports = app.ingest(acme)
    assert found(app, acme) == {"kept.md"}
    assert {name: reports[name].tally["empty"] for name in ("parse", "index")} == dict.fromkeys(("parse", "index"), len(CLEARED))
    assert [report.failed for report in reports.values()] == [0] * len(NAMES)
    assert rows(app, acme, "SELECT document FROM stage_record WHERE status <> 'done'") == []
    assert (size(app, acme).indexed, size(app, acme).empty, size(app, acme).dead_letters) == (len(CLEARED) + 1, len(CLEARED), 0)
    assert {verdict(app, acme, f"{name}.md") for name in CLEARED} == {EMPTY}
    (placed,) = explain.explain(app, acme, "blank.md")[0].index
    assert (placed.chunks, placed.title, placed.sequence) == (0, "The harbour", 2)

    # the documents stay in the graph under their names, and all else that they contributed is gone
    assert app.models.projection.counts(acme)["Document"] == graph["Document"]
    left = app.models.projection.document_counts(acme, placed_key(app, acme, "blank.md"))
    assert {what: count for what, count in left.items() if count} == {"documents": 1, "relations": 1}
    # and nothing that only they used is left
    texts = {row["text"] for row in rows(app, acme, "SELECT text FROM chunk")}
    assert all("kept" in text for text in texts)
    named = {"kept", "The harbour"}
    assert rows(app, acme, "SELECT count(*) AS vectors FROM embedding") == [{"vectors": len(texts) + len(named)}]


def test_a_tenant_whose_documents_are_all_empty_passes_every_check(app: Runtime, acme: str) -> None:
    publish(app, acme, 1, documents={f"{name}.md": content for name, content in CLEARED.items()})
    app.ingest(acme)
    assert found(app, acme) == set()
    results = {name: check(app, acme, name) for name in CHECKS}
    assert {name: (result.passed, result.explanation) for name, result in results.items() if not result.passed} == {}
    assert results["index_completeness"].measured["empty"] == len(CLEARED)
    assert results["parse_quality"].measured["empty"] == len(CLEARED)


def test_nothing_is_done_twice_for_an_empty_document(app: Runtime, acme: str) -> None:
    publish(app, acme, 1, page_md="")
    app.ingest(acme)
    _, reports = app.ingest(acme)
    assert {name: report.moved for name, report in reports.items()} == dict.fromkeys(NAMES, 0)


def test_an_emptied_document_keeps_its_sequence_and_is_searchable_once_it_has_text_again(app: Runtime, acme: str) -> None:
    publish(app, acme, 5, page_md=PAGE.format("first", "first"))
    publish(app, acme, 7, page_md="")
    publish(app, acme, 6, page_md=PAGE.format("late", "late"))
    app.ingest(acme)
    assert (found(app, acme), verdict(app, acme, "page.md")) == (set(), EMPTY)
    publish(app, acme, 8, page_md=PAGE.format("new", "new"))
    app.ingest(acme)
    assert found(app, acme) == {"page.md"}
    assert size(app, acme).empty == 0
    publish(app, acme, 9, page_md=" ")
    app.ingest(acme)
    publish(app, acme, 10, page_md=None)
    publish(app, acme, 9, page_md=PAGE.format("late", "late"))
    app.ingest(acme)
    assert (found(app, acme), size(app, acme).tombstones, size(app, acme).empty) == (set(), 1, 0)


def test_a_text_that_another_document_has_too_stays_with_it(app: Runtime, acme: str) -> None:
    publish(app, acme, 1, one_md=PAGE.format("same", "same"), two_md=PAGE.format("same", "same"))
    app.ingest(acme)
    publish(app, acme, 2, one_md="<!-- cleared -->")
    app.ingest(acme)
    assert found(app, acme) == {"two.md"}


def test_content_by_reference_may_be_empty(app: Runtime, settings: Settings, acme: str) -> None:
    path = settings.fetching.roots[0] / f"{acme}.md"
    for content, cited in ((PAGE.format("fetched", "fetched"), {"page.md"}), ("", set())):
        path.write_text(content)
        with Publisher(app.endpoints.kafka_client(), acme, WIKI) as publisher:
            publisher.upsert("page.md", uri=path.as_uri())
        app.ingest(acme)
        assert found(app, acme) == cited
    assert verdict(app, acme, "page.md") == EMPTY


def test_a_document_that_cannot_be_read_is_a_dead_letter_and_its_passages_stay(app: Runtime, acme: str) -> None:
    publish(app, acme, 1, page_md=PAGE.format("old", "old"), paper_md=PAGE.format("old", "old"), empty_md="")
    app.ingest(acme)
    publish(app, acme, 2, page_md=b"PK\x03\x04 cut off", paper_md=printed()[:400], empty_md=bytes(512))
    app.ingest(acme)
    assert found(app, acme) == {"page.md", "paper.md"}
    assert size(app, acme).dead_letters == 3
    assert verdict(app, acme, "page.md") == "an older version is searchable: parse failed with corrupt-document"
    # nothing of an empty older version is searchable
    assert verdict(app, acme, "empty.md") == "not searchable: parse failed with corrupt-document"


@pytest.mark.parametrize("kind", ["zip", "eml"])
def test_emptied_members_of_archives_and_messages_leave_no_passage(app: Runtime, acme: str, kind: str) -> None:
    def packed(*contents: str) -> bytes:
        files = {f"{number}.md": content for number, content in enumerate(contents)}
        return zipped(files) if kind == "zip" else mailed(files)

    name = f"box.{kind}"
    members = {f"{name}!/{number}.md" for number in range(3)}
    publish(app, acme, 1, documents={name: packed(*(PAGE.format(n, n) for n in ("one", "two", "three")))})
    app.ingest(acme)
    assert members < found(app, acme)
    publish(app, acme, 2, documents={name: packed("", "<!-- cleared -->", PAGE.format("three", "three"))})
    app.ingest(acme)
    assert found(app, acme) & members == {f"{name}!/2.md"}
    assert [verdict(app, acme, f"{name}!/{number}.md") for number in range(2)] == [EMPTY] * 2
    assert size(app, acme).dead_letters == 0
    publish(app, acme, 3, documents={name: zipped({})} if kind == "zip" else {name: packed("", "", "")})
    app.ingest(acme)
    assert found(app, acme) & members == set()


def mailed(files: dict[str, str]) -> bytes:
    mail = EmailMessage()
    mail["Subject"] = "Weir"
    mail.set_content("See below.")
    for name, content in files.items():
        mail.add_attachment(content.encode(), maintype="text", subtype="markdown", filename=name)
    return mail.as_bytes()


def test_no_threshold_of_the_tenant_puts_an_empty_document_aside(app: Runtime, acme: str) -> None:
    tenants.configure(app, acme, reading={"most_empty_pages": 0, "least_wordlike": 1, "most_replaced": 0, "least_ocr_confidence": 1})
    publish(app, acme, 1, documents={"page.md": "", "paper.pdf": blank_pages(9)})
    app.ingest(acme)
    assert (size(app, acme).empty, size(app, acme).dead_letters) == (2, 0)


def blank_pages(number: int) -> bytes:
    document = FPDF()
    for _ in range(number):
        document.add_page()
    return bytes(document.output())


def test_the_event_of_an_emptied_document_is_told_indexed(app: Runtime, acme: str) -> None:
    kafka = app.endpoints.kafka_client()
    with Publisher(kafka, acme, WIKI) as publisher, Outcomes(kafka, acme) as outcomes:
        for content in (PAGE.format("first", "first"), "", "<!-- cleared -->"):
            event = publisher.upsert("page.md", content=content)
            publisher.flush()
            app.ingest(acme)
            assert outcomes.wait_for([event], 20)[event].outcome == "indexed"


TEXTS = ("Alpha is a port.", "Beta is a weir.", "Gamma is a rake.")
HISTORY = st.lists(st.lists(st.sampled_from([*CLEARED.values(), *TEXTS]), min_size=1, max_size=2), min_size=1, max_size=4)
PAGES = ("one.md", "two.md")


def test_after_any_history_the_passages_are_those_of_the_newest_contents(world: World) -> None:
    @settings(max_examples=12)
    @given(histories=st.tuples(*[HISTORY] * len(PAGES)))
    def check_one(histories: Sequence[list[list[str]]]) -> None:
        world.clear()
        inlet = world.inlet()
        for step in range(max(map(len, histories))):
            records = [
                inlet.upsert(page, content)
                for page, history in zip(PAGES, histories, strict=True)
                for content in (history[step] if step < len(history) else [])
            ]
            inlet.land(*records)
            run(world)
        newest = {page: history[-1][-1] for page, history in zip(PAGES, histories, strict=True)}
        assert passages(world) == {(page, content) for page, content in newest.items() if content in TEXTS}
        assert world.letters() == []
        empty = sum(content not in TEXTS for content in newest.values())
        assert (size_of(world).indexed, size_of(world).empty) == (len(PAGES), empty)

    check_one()


def run(world: World) -> None:
    for stage in ("parse", "redact", "chunk", "embed", "index"):
        world.app.run(world.tenant, stage)


def passages(world: World) -> set[tuple[str, str]]:
    joined = "chunk JOIN chunk_source USING (generation, text_hash) JOIN indexed USING (generation, document)"
    return {(row["name"], row["text"]) for row in world.rows(f"SELECT name, text FROM {joined}")}


def size_of(world: World) -> status.TenantOverview:
    return status.overview(world.app, world.tenant)
