"""Erasure leaves a tombstone and a signed receipt, whatever lands or is claimed meanwhile."""

from __future__ import annotations

import hmac
import json
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from time import monotonic, sleep
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from core.config import Settings
from core.errors import HeadraceError, TenantError, Unavailable
from core.records import Child
from events import children
from events.landing import land
from events.publish import Publisher
from pipelines.app import Headrace
from pipelines.governance import audit, erasure, receipts, subjects, tenants
from pipelines.governance.receipts import Receipt, StoreCounts, Verification
from pipelines.operations.search import ask
from pipelines.operations.stage_counts import due
from privacy.encryption import installation_key
from tests.tenant_fixture import Inlet, World, publish, rows, verdict

PAGE = "# Seals\n\nThe shaft seal of the {} is inspected once a year.\n"
EMAIL = "jane.roe@example.com"


@pytest.fixture(autouse=True)
def empty_world(request: pytest.FixtureRequest) -> None:
    """Tests that share the world begin with an empty one."""
    if "world" in request.fixturenames:
        request.getfixturevalue("world").clear()


@pytest.fixture
def graphless(settings: Settings, app: Headrace) -> Iterator[Headrace]:
    """Headrace where Neo4j does not answer: nothing listens at port 1."""
    with Headrace(settings, app.endpoints.model_copy(update={"neo4j_url": "bolt://127.0.0.1:1"})) as headrace:
        yield headrace


def found(app: Headrace, tenant: str) -> set[str]:
    """The documents that a search finds."""
    return {cited.document for passage in ask(app, tenant, "shaft seal", top=50) for cited in passage.citations}


def verify(app: Headrace, receipt: Receipt) -> Verification:
    return receipts.verify(app, receipts.as_written(receipt))


def reason(raised: pytest.ExceptionInfo[HeadraceError]) -> str:
    return raised.value.reason


# --- a document


def test_a_text_that_another_document_has_too_survives_the_erasure_of_one(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, page=PAGE.format("pump"), copy=PAGE.format("pump"))
    app.ingest(acme)
    receipt = erasure.erase(app, acme, "page")
    assert receipt.complete
    assert receipt.stores["chunks"] == StoreCounts(0, 0)
    # the vectors of the text, and of what the document that is left is called
    assert (len(rows(app, acme, "SELECT FROM chunk")), len(rows(app, acme, "SELECT FROM embedding"))) == (1, 2)
    assert verdict(app, acme, "copy") == "searchable"


def test_erasing_takes_the_vectors_of_a_version_that_was_not_indexed_yet(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, page=PAGE.format("pump"))
    app.land(acme)
    for stage in ("parse", "redact", "chunk", "embed"):
        app.run(acme, stage)
    receipt = erasure.erase(app, acme, "page")
    assert receipt.stores["cached_vectors"] == StoreCounts(1, 0)
    assert rows(app, acme, "SELECT FROM embedding") == []
    app.ingest(acme)
    assert (due(app, acme), verify(app, receipt).verified) == (0, True)


def test_erasing_without_neo4j_takes_the_document_from_postgres_and_is_completed_later(
    app: Headrace, graphless: Headrace, acme: str
) -> None:
    publish(app, acme, 1, page=PAGE.format("pump"))
    app.ingest(acme)
    with pytest.raises(Unavailable):
        erasure.erase(graphless, acme, "page")
    assert rows(app, acme, "SELECT FROM chunk") == rows(app, acme, "SELECT FROM indexed") == rows(app, acme, "SELECT FROM event") == []
    receipt = erasure.erase(app, acme, "page")
    assert receipt.complete
    assert receipt.stores["graph"].before > 0
    assert app.models.projection.documents(acme) == {}
    states = [entry["state"] for entry in audit.entries(app, acme) if entry["action"] == "erase"]
    assert states == ["done", "begun", "failed", "begun"]


def test_an_erased_document_is_not_processed_again(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, page=PAGE.format("pump"))
    app.ingest(acme)
    erasure.erase(app, acme, "page")
    assert due(app, acme) == 0
    assert sum(report.moved for report in app.ingest(acme)[1].values()) == 0
    assert verdict(app, acme, "page") == "deleted; its tombstone keeps the sequence"


def test_neither_a_chunks_id_nor_an_unknown_one_erases_a_document_and_the_id_is_not_repeated(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, page=PAGE.format("pump"))
    app.ingest(acme)
    (chunk,) = rows(app, acme, "SELECT text_hash FROM chunk")
    for name in (chunk["text_hash"], EMAIL):
        with pytest.raises(HeadraceError) as refused:
            erasure.erase(app, acme, name)
        assert reason(refused) == "unknown-document"
        assert name not in str(refused.value)


def test_an_erased_id_that_was_never_published_belongs_to_nobody_and_still_fences(app: Headrace, acme: str) -> None:
    publish(app, acme, 5, source="/operator", page=None)
    app.ingest(acme)
    assert verdict(app, acme, "page").startswith("never published")
    assert erasure.erase(app, acme, "page").tombstone_sequence == 5
    publish(app, acme, 5, page=PAGE.format("pump"))
    assert app.land(acme).reasons == {"sequence-conflict": 1}
    publish(app, acme, 6, page=PAGE.format("pump"))
    assert app.ingest(acme)[0].fates == {"landed": 1}
    assert verdict(app, acme, "page") == "searchable"


def test_an_erased_document_comes_back_only_under_a_higher_sequence(app: Headrace, acme: str) -> None:
    publish(app, acme, 5, page=PAGE.format("pump"))
    app.ingest(acme)
    assert erasure.erase(app, acme, "page").tombstone_sequence == 5
    publish(app, acme, 5, page=PAGE.format("pump"))
    app.ingest(acme)
    assert verdict(app, acme, "page").startswith("deleted")
    publish(app, acme, 6, page=PAGE.format("pump"))
    app.ingest(acme)
    assert verdict(app, acme, "page") == "searchable"


def test_what_is_inside_of_a_document_is_erased_with_it_and_it_with_what_is_inside(world: World, inlet: Inlet) -> None:
    for mail, erased in (("a.eml", "a.eml"), ("b.eml", "b.eml!/letter.txt!/deep.txt")):
        inlet.land(inlet.upsert(mail, "body", sequence=1))
        for parent, path in ((mail, "letter.txt"), (f"{mail}!/letter.txt", "deep.txt")):
            with world.session.transaction() as connection:
                children.replace(connection, world.session.keys, {world.key(parent): [Child(path, b"attached")]})
        receipt = erasure.erase(world.app, world.tenant, erased)
        assert (receipt.documents, receipt.complete) == (3, True)
        assert receipt.stores["envelopes"] == StoreCounts(3, 0)
        assert receipt.stores["artifacts"] == StoreCounts(3, 0)
    assert world.rows("SELECT FROM document WHERE envelope IS NOT NULL") == []


# --- while events land, or a worker has a claim


@contextmanager
def claimed(world: World, name: str) -> Iterator[None]:
    """A live process has a claim on the document, and releases it at the end."""
    world.rows(CLAIM, document=world.key(name), stage="embed", process=world.app.database.presence())
    yield
    world.rows("DELETE FROM claim WHERE document = %(document)s RETURNING 1", document=world.key(name))


CLAIM = """INSERT INTO claim (document, stage, process, batch_size, crashes, solo_attempts)
           VALUES (%(document)s, %(stage)s, %(process)s, 1, 0, 0) RETURNING 1"""


def until(true: Callable[[], Any]) -> None:
    end = monotonic() + 20
    while not true():
        assert monotonic() < end, "it never came"
        sleep(0.01)


def test_an_event_that_is_landing_when_the_erasure_comes_is_erased_too(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("page", "one", sequence=1))
    batch = inlet.batch(inlet.upsert("page", "two", sequence=2))
    with ThreadPoolExecutor(1) as pool:
        with world.session.transaction() as connection:
            land(connection, world.session.keys, batch)
            with world.until_blocked():
                future = pool.submit(erasure.erase, world.app, world.tenant, "page")
        receipt = future.result(30)
    assert (receipt.tombstone_sequence, receipt.came_back, receipt.complete) == (2, 0, True)
    assert world.document("page")["content"] is None


def test_a_higher_sequence_that_lands_during_the_erasure_brings_the_document_back_whole_and_the_receipt_says_so(
    world: World, inlet: Inlet
) -> None:
    inlet.land(inlet.upsert("page", "one", sequence=1))
    with erasing_beside_a_worker(world) as future:
        inlet.land(inlet.upsert("page", "two", sequence=2), inlet.upsert("page", "late", sequence=1))
    receipt = future.result(30)
    assert (receipt.documents, receipt.came_back, receipt.complete) == (1, 1, True)
    assert receipt.tombstone_sequence is None
    assert world.document("page")["content"] == b"two"
    assert [row["sequence"] for row in world.rows("SELECT sequence FROM event WHERE fate = 'landed'")] == [2]
    found = verify(world.app, receipt)
    assert (found.verified, found.signature, found.audit, found.came_back) == (True, True, True, 1)


@contextmanager
def erasing_beside_a_worker(world: World) -> Iterator[Future[Receipt]]:
    """The block runs once the document has left Postgres, while the erasure waits for a worker's claim on it."""
    with claimed(world, "page"), ThreadPoolExecutor(1) as pool:
        future = pool.submit(erasure.erase, world.app, world.tenant, "page")
        until(lambda: world.rows("SELECT FROM document WHERE document = %(key)s AND deleted", key=world.key("page")))
        yield future
        assert not future.done()
        world.rows("DELETE FROM claim WHERE document = %(document)s RETURNING 1", document=world.key("page"))


def test_what_is_no_higher_and_lands_during_the_erasure_leaves_nothing(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("page", "one", sequence=5))
    with erasing_beside_a_worker(world) as future:
        inlet.land(inlet.upsert("page", "other", sequence=5), inlet.upsert("page", "late", sequence=4), inlet.delete("page", sequence=3))
        assert len(world.rows("SELECT FROM event WHERE document = %(key)s", key=world.key("page"))) == 3
    receipt = future.result(30)
    assert (receipt.tombstone_sequence, receipt.came_back, receipt.complete) == (5, 0, True)
    assert all(world.rows(f"SELECT FROM {table} WHERE document = %(key)s", key=world.key("page")) == [] for table in ("event", "outcome"))
    assert [letter for letter in world.letters() if letter["document"] == world.key("page")] == []


def test_a_vector_that_a_worker_keeps_after_its_document_was_erased_is_swept(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("page", "one", sequence=1))
    with erasing_beside_a_worker(world) as future:
        world.rows("INSERT INTO embedding (model, text_hash, embedding) VALUES ('m', 'erased', '[1,2,3]') RETURNING 1")
    assert future.result(30).complete
    assert world.rows("SELECT FROM embedding") == []


def test_a_claim_that_is_never_released_is_in_the_receipt(world: World, inlet: Inlet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(erasure, "PATIENCE_S", 0.2)
    inlet.land(inlet.upsert("page", "one", sequence=1))
    with claimed(world, "page"):
        receipt = erasure.erase(world.app, world.tenant, "page")
    assert (receipt.stores["claims"].after, receipt.complete) == (1, False)


def test_the_claim_of_a_dead_process_is_not_waited_for(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("page", "one", sequence=1))
    world.rows(CLAIM, document=world.key("page"), stage="parse", process=7)
    receipt = erasure.erase(world.app, world.tenant, "page")
    assert receipt.stores["claims"] == StoreCounts(1, 0)


@settings(max_examples=15)
@given(
    steps=st.lists(st.one_of(st.just("erase"), st.tuples(st.integers(1, 4), st.sampled_from(["text", "delete"]))), min_size=1, max_size=6)
)
@example(steps=[(2, "text"), "erase", (2, "text"), (3, "text"), "erase", (1, "text")])
@example(steps=[(1, "delete"), "erase", (1, "text"), (2, "text")])
def test_whatever_lands_before_and_after_only_a_sequence_above_what_was_erased_is_there(world: World, steps: list[Any]) -> None:
    world.clear()
    inlet, sequence, content = world.inlet(), 0, None
    for step in steps:
        if step != "erase":
            number, kind = step
            text = f"{kind} {inlet.offset}"
            inlet.land(inlet.upsert("page", text, sequence=number) if kind == "text" else inlet.delete("page", sequence=number))
            sequence, content = max((sequence, content), (number, text if kind == "text" else None), key=lambda state: state[0])
        elif sequence:
            assert erasure.erase(world.app, world.tenant, "page").complete
            content = None
            assert [len(rows) for table, rows in world.everything().items() if table in ("event", "outcome", "dead_letter")] == [0] * 3
    if sequence:
        found = world.document("page")
        assert (found["sequence"], found["content"]) == (sequence, content and content.encode())


# --- a source


def test_a_sources_documents_are_erased_and_no_others(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, source="/wiki", page=PAGE.format("pump"), other=PAGE.format("mill"))
    publish(app, acme, 1, source="/mail", mail=PAGE.format("turbine"))
    app.ingest(acme)
    receipt = erasure.erase_source(app, acme, "/wiki")
    assert (receipt.kind, receipt.documents, receipt.complete) == ("source", 2, True)
    assert all(receipt.stores[store].before > 0 for store in ("events", "artifacts", "chunks", "cached_vectors", "graph"))
    assert found(app, acme) == {"mail"}
    with pytest.raises(HeadraceError) as refused:
        erasure.erase_source(app, acme, "/nobody")
    assert reason(refused) == "unknown-source"


# --- a data subject


def test_every_document_with_the_value_is_erased_however_it_is_written(app: Headrace, acme: str) -> None:
    texts = {
        "text": f"# Seals\n\nAsk {EMAIL} about the shaft seal.\n",
        "table": f"# Seals\n\n| who | what |\n|---|---|\n| {EMAIL.upper()} | shaft seal |\n",
        "link": f"# Seals\n\nThe shaft seal, by [her](mailto:{EMAIL}).\n",
        "nothing": PAGE.format("pump"),
        "another": "# Seals\n\nAsk john.doe@example.com about the shaft seal.\n",
    }
    publish(app, acme, 1, texts)
    with Publisher(app.endpoints.kafka_client(), acme, "/wiki") as publisher:
        publisher.upsert("title", content=PAGE.format("mill"), title=f"By {EMAIL}", sequence=1)
        publisher.upsert("metadata", content=PAGE.format("weir"), metadata={"author": EMAIL}, sequence=1)
    app.ingest(acme)
    receipt = erasure.erase_subject(app, acme, f" {EMAIL} ")
    assert (receipt.documents, receipt.not_looked_at, receipt.complete) == (5, 0, True)
    assert found(app, acme) == {"nothing", "another"}
    again = erasure.erase_subject(app, acme, EMAIL)
    assert (again.documents, again.complete) == (0, True)
    written = json.dumps([*map(receipts.as_written, (receipt, again)), audit.entries(app, acme)], default=str)
    assert EMAIL not in written
    assert not any(token in written for token in subjects.surrogates(app, app.session(acme), EMAIL))


def test_an_older_version_that_is_still_searchable_is_found_too(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, page=f"# Seals\n\nAsk {EMAIL} about the shaft seal.\n")
    app.ingest(acme)
    publish(app, acme, 2, page=PAGE.format("pump"))
    app.land(acme)
    app.run(acme, "parse")
    app.run(acme, "redact")
    receipt = erasure.erase_subject(app, acme, EMAIL)
    assert receipt.documents == 1
    assert found(app, acme) == set()


def test_what_was_not_redacted_yet_was_not_looked_at_and_the_receipt_says_so(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, page=PAGE.format("pump"))
    app.land(acme)
    receipt = erasure.erase_subject(app, acme, EMAIL)
    assert (receipt.documents, receipt.not_looked_at, receipt.complete) == (0, 1, False)
    with pytest.raises(HeadraceError) as refused:
        erasure.erase_subject(app, acme, " ")
    assert reason(refused) == "empty-value"


# --- a tenant


def test_a_tenants_receipt_is_verified_when_its_key_is_gone_and_after_one_of_its_name_came(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, page=PAGE.format("pump"))
    app.ingest(acme)
    receipt = erasure.erase_tenant(app, acme)
    assert (receipt.documents, receipt.complete) == (1, True)
    assert all(receipt.stores[store].before > 0 for store in ("key", "tables", "roles", "topics", "graph", "chunks"))
    with pytest.raises(TenantError):
        app.session(acme)
    assert verify(app, receipt).verified
    tenants.add(app, acme)
    found = verify(app, receipt)
    assert (found.verified, found.came_back) == (True, 1)
    assert not receipts.verify(app, receipts.as_written(receipt) | {"tenant": "another"}).signature


# --- the receipt


def test_a_receipt_holds_no_key_of_a_document_and_is_verified_until_something_is_back(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("page", "one", sequence=1))
    key = world.key("page")
    receipt = erasure.erase(world.app, world.tenant, "page")
    written = receipts.as_written(receipt)
    assert key not in json.dumps(written)
    assert receipts.opened(world.session.keys, written["receipt"], written["documents_sealed"]) == [key]
    assert verify(world.app, receipt).verified
    insert = "INSERT INTO artifact (document, stage, key, payload) VALUES (%(key)s, 'parse', 'k', 'x') RETURNING 1"
    world.rows(insert, key=key)
    found = verify(world.app, receipt)
    assert (found.verified, found.signature, found.stores["artifacts"]) == (False, True, 1)
    assert erasure.erase_again(world.app, world.tenant, receipts.as_written(receipt)).stores["artifacts"] == StoreCounts(1, 0)
    assert verify(world.app, receipt).verified


@given(data=st.data())
def test_a_receipt_that_was_changed_anywhere_is_not_ours(world: World, data: st.DataObject) -> None:
    stores = {"events": StoreCounts(3, 0)}
    issued = receipts.issue(world.app, receipts.new_id(), world.tenant, "document", stores, audit.Mark(1, b"\0" * 32), documents=1)
    receipt = receipts.as_written(issued)
    assert receipts.authentic(world.app, receipt)
    written = json.dumps(receipt)
    assert receipts.authentic(world.app, json.loads(written))
    at = data.draw(st.sampled_from([place for place, character in enumerate(written) if character.isalnum()]))
    other = data.draw(st.sampled_from("0123456789abcdefz").filter(lambda character: character != written[at]))
    try:
        changed = json.loads(written[:at] + other + written[at + 1 :])
    except ValueError:
        return
    assert changed == receipt or not receipts.authentic(world.app, changed)
    assert not receipts.authentic(world.app, {**receipt, "note": "more"})


def test_a_receipts_file_has_the_fields_of_its_kind_in_order(world: World) -> None:
    stores, begun = {"events": StoreCounts(3, 0)}, audit.Mark(1, b"\0" * 32)
    head, tail = ["receipt", "tenant", "kind", "erased_at", "documents"], ["stores", "complete", "not_covered", "audit", "signature"]
    of_documents = {"documents": 1, "came_back": 0, "not_looked_at": 0, "tombstone_sequence": None, "documents_sealed": "sealed"}
    kinds: tuple[tuple[receipts.Kind, dict[str, Any]], ...] = (("source", of_documents), ("tenant", {"documents": 1, "key_mark": "mark"}))
    for kind, fields in kinds:
        written = receipts.as_written(receipts.issue(world.app, "number", world.tenant, kind, stores, begun, **fields))
        assert list(written) == [*head, *list(fields)[1:], *tail]
        assert written["stores"] == {"events": {"before": 3, "after": 0}}


def test_a_receipt_of_an_earlier_version_is_authentic_though_it_lacks_a_field(world: World) -> None:
    """The signature covers the file's mapping as it is, not the fields of today's record."""
    written = {"receipt": "number", "tenant": world.tenant, "kind": "document", "stores": {}, "audit": "1:00", "an_older_field": [1]}
    key = installation_key(world.app.master_key, "receipt")
    plain = json.dumps(written, sort_keys=True, separators=(",", ":")).encode()
    assert receipts.authentic(world.app, written | {"signature": hmac.digest(key, plain, "sha256").hex()})


def test_another_tenants_receipt_erases_nothing(world: World, inlet: Inlet, globex: str) -> None:
    inlet.land(inlet.upsert("page", "one", sequence=1))
    receipt = erasure.erase(world.app, world.tenant, "page")
    with pytest.raises(HeadraceError) as refused:
        erasure.erase_again(world.app, globex, receipts.as_written(receipt))
    assert reason(refused) == "bad-receipt"


# --- legal hold


def test_under_legal_hold_nothing_is_erased_and_nobody_is_removed(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, page=PAGE.format("pump"))
    app.land(acme)
    tenants.configure(app, acme, retention={"legal_hold": True})
    before = World(app, acme).everything()
    attempts: list[Callable[[], Any]] = [
        lambda: erasure.erase(app, acme, "page"),
        lambda: erasure.erase_source(app, acme, "/wiki"),
        lambda: erasure.erase_subject(app, acme, EMAIL),
        lambda: erasure.erase_tenant(app, acme),
        lambda: tenants.remove(app, acme),
    ]
    for attempt in attempts:
        with pytest.raises(HeadraceError) as refused:
            attempt()
        assert reason(refused) == "legal-hold"
    assert World(app, acme).everything() == before
    tenants.configure(app, acme, retention={"legal_hold": False})
    assert erasure.erase(app, acme, "page").complete
