"""Data of an earlier version, whose ids were stored as they came: each document is found, changed and deleted under its normalised id."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Any
from unicodedata import normalize
from zipfile import ZipFile

import pytest
from msgspec.structs import replace

from core import artifacts, envelopes
from core.ledger.stage import Session
from core.records import encode
from core.schema.migrate import owner
from core.sensitivity import SEALED
from events.digests import document_key
from events.publish import Publisher
from pipelines import maintenance, upgrade
from pipelines.dagster.runtime import Runtime
from pipelines.governance import erasure
from pipelines.operations import explain, replay
from pipelines.operations.search import ask
from pipelines.stages.registry import NAMES
from tests.tenant_fixture import WIKI, publish, rows

NAME = "notes/Überblick.md"
DECOMPOSED = normalize("NFD", NAME)
PAGE = "# Lemurs\n\nThe overview of lemurs is read once a year.\n"
TABLES = ("event", "outcome", "artifact", "stage_record", "chunk_source", "indexed", "dead_letter")


def former_key(session: Session, name: str = NAME) -> str:
    """The key that the decomposed id had."""
    return session.keys.digest(normalize("NFD", name).encode(), "document")


def spell_as_before(app: Runtime, tenant: str, name: str = NAME) -> None:
    """Store a document that has landed, and is parsed at most, as the earlier version did for the decomposed id."""
    session = app.session(tenant)
    key, former = document_key(name, session.keys), former_key(session, name)
    with session.transaction() as connection:
        values: dict[str, Any] = {"key": key, "former": former}
        connection.execute("UPDATE document SET document = %(former)s WHERE document = %(key)s", values)
        connection.execute("UPDATE document SET parent = %(former)s WHERE parent = %(key)s", values)
        for table in ("event", "outcome", "stage_record"):
            connection.execute(f"UPDATE {table} SET document = %(former)s WHERE document = %(key)s", values)
        for stage in SEALED:
            for payload in artifacts.get(connection, session.keys, stage, [key]).values():
                artifacts.put(connection, session.keys, stage, {former: payload})
            artifacts.discard(connection, [stage], [key])
        [row] = connection.execute("SELECT envelope FROM document WHERE document = %(former)s", values).fetchall()
        if row["envelope"]:
            envelope = replace(envelopes.unseal(session.keys, row["envelope"], key), name=normalize("NFD", name))
            values |= {"envelope": envelopes.seal(session.keys, envelope, former)}
            values |= {"envelope_key": envelopes.digest(session.keys, encode(envelope)), "state_key": "0" * 32}
            connection.execute(
                "UPDATE document SET envelope = %(envelope)s, envelope_key = %(envelope_key)s, state_key = %(state_key)s"
                " WHERE document = %(former)s",
                values,
            )
    return_to_version_0(app, tenant)


def return_to_version_0(app: Runtime, tenant: str) -> None:
    with owner(app.owner_url) as connection:
        connection.execute("UPDATE headrace.tenant SET data_version = 0 WHERE tenant = %(tenant)s", {"tenant": tenant})
    app.maintained_at.pop((tenant, "upgrade"), None)


def run_stages(app: Runtime, tenant: str) -> dict[str, int]:
    """Documents that each stage took, until nothing is stale; no maintenance by itself."""
    session, taken = app.session(tenant), dict.fromkeys(NAMES, 0)
    for _ in range(2):
        for name in NAMES:
            taken[name] += app.step(session, name).moved
    return taken


def cited(app: Runtime, tenant: str, query: str = "overview of lemurs") -> set[str]:
    return {c.document for passage in ask(app, tenant, query, top=20) for c in passage.citations}


def documents_of(app: Runtime, tenant: str) -> dict[str, bool]:
    """By key, whether each document is live."""
    return {row["document"]: not row["deleted"] for row in rows(app, tenant, "SELECT document, deleted FROM document")}


@pytest.fixture
def lemurs(app: Runtime, acme: str) -> str:
    """A tenant with one document that an earlier version landed under its decomposed id, indexed and in the graph."""
    publish(app, acme, None, {NAME: PAGE})
    app.land(acme)
    spell_as_before(app, acme)
    run_stages(app, acme)
    assert cited(app, acme) == {DECOMPOSED}
    assert documents_of(app, acme) == {former_key(app.session(acme)): True}
    return acme


def test_a_document_is_moved_with_everything_that_it_has_and_searchable_all_the_time(app: Runtime, lemurs: str) -> None:
    session = app.session(lemurs)
    key, former = document_key(NAME, session.keys), former_key(session)
    before = {table: rows(app, lemurs, f"SELECT count(*) AS n FROM {table}")[0]["n"] for table in TABLES}
    assert maintenance.due(app, session) == ["upgrade"]
    assert maintenance.run_due(app, session)["upgrade"] == {"renamed": 1}
    assert maintenance.due(app, session) == []
    assert cited(app, lemurs) == {DECOMPOSED}
    taken = run_stages(app, lemurs)
    assert cited(app, lemurs) == {NAME}
    assert taken["embed"] <= 2
    assert documents_of(app, lemurs) == {key: True, former: False}
    for table in TABLES:
        found = {row["document"] for row in rows(app, lemurs, f"SELECT document FROM {table}")}
        assert former not in found or table in ("stage_record", "artifact")
    after = {table: rows(app, lemurs, f"SELECT count(*) AS n FROM {table} WHERE document = '{key}'")[0]["n"] for table in TABLES}
    assert after == before
    assert app.models.projection.documents(lemurs).keys() == {key}
    assert app.models.projection.document_counts(lemurs, key)["documents"] == 1
    assert explain.explain(app, lemurs, NAME)[0].verdict == "searchable"
    assert sum(run_stages(app, lemurs).values()) == 0


@pytest.mark.parametrize("spelling", [NAME, DECOMPOSED])
@pytest.mark.parametrize("upgraded", [False, True])
def test_explain_and_erase_find_a_document_in_either_spelling(app: Runtime, lemurs: str, spelling: str, upgraded: bool) -> None:
    if upgraded:
        upgrade.ensure(app, app.session(lemurs))
    [explained] = explain.explain(app, lemurs, spelling)
    assert explained.state
    assert not explained.state.deleted
    receipt = erasure.erase(app, lemurs, spelling)
    assert receipt.complete
    assert receipt.stores["chunks"].before > 0
    assert cited(app, lemurs) == set()
    assert set(documents_of(app, lemurs).values()) == {False}


def test_a_receipt_from_before_erases_the_document_that_was_moved(app: Runtime, lemurs: str) -> None:
    """As after a backup was restored that had the document still: the receipt names its former key."""
    session = app.session(lemurs)
    upgrade.ensure(app, session)
    receipt = erasure.erase(app, lemurs, former_key(session))
    assert (receipt.complete, receipt.stores["chunks"].before > 0) == (True, True)
    assert cited(app, lemurs) == set()
    assert app.models.projection.documents(lemurs) == {}


def test_the_next_event_changes_the_document_and_lands_no_second_one(app: Runtime, lemurs: str) -> None:
    publish(app, lemurs, None, {NAME: PAGE.replace("once", "twice")})
    landed, _ = app.ingest(lemurs)
    assert landed.fates == {"landed": 1}
    assert sum(documents_of(app, lemurs).values()) == 1
    assert cited(app, lemurs) == {NAME}
    publish(app, lemurs, None, {NAME: None})
    app.ingest(lemurs)
    assert cited(app, lemurs) == set()
    assert app.models.projection.documents(lemurs) == {}


def test_a_replay_of_the_topic_lands_no_second_document(app: Runtime, lemurs: str) -> None:
    [row] = [row for row in replay.topic(app, lemurs) if row["events"]]
    assert row["fates"] == {"unchanged": 1}
    assert sum(documents_of(app, lemurs).values()) == 1


@pytest.mark.parametrize("newer", ["composed", "decomposed"])
def test_of_two_documents_that_are_spelt_alike_the_newer_stays(app: Runtime, acme: str, newer: str) -> None:
    publish(app, acme, None, {NAME: PAGE})
    app.land(acme)
    spell_as_before(app, acme)
    app.maintained_at[acme, "upgrade"] = 0.0  # as the earlier version, which landed a second document
    publish(
        app, acme, None, {NAME: "# Lynxes\n\nThe overview of lynxes is read once a week.\n", "other": "# Cats\n\nThe overview of cats.\n"}
    )
    app.land(acme)
    app.maintained_at.clear()
    session = app.session(acme)
    key, former = document_key(NAME, session.keys), former_key(session)
    run_stages(app, acme)
    assert cited(app, acme) == {NAME, DECOMPOSED, "other"}
    if newer == "decomposed":
        rows(app, acme, f"UPDATE document SET landed_at = now() WHERE document = '{former}' RETURNING document")
    done = maintenance.run_due(app, session)["upgrade"]
    assert done == ({"deleted": 1} if newer == "composed" else {"renamed": 1})
    run_stages(app, acme)
    assert {name: live for name, live in documents_of(app, acme).items() if name in (key, former)} == {key: True, former: False}
    animal = "lynxes" if newer == "composed" else "lemurs"
    texts = [passage.text for passage in ask(app, acme, "overview", top=20)]
    assert sorted(text for text in texts if "read once" in text) == [text for text in texts if animal in text]
    assert cited(app, acme) == {NAME, "other"}
    assert app.models.projection.documents(acme).keys() == {key, document_key("other", session.keys)}
    assert sum(run_stages(app, acme).values()) == 0
    outcomes = [row["outcome"] for row in rows(app, acme, "SELECT outcome FROM outcome")]
    assert None not in outcomes


def test_members_of_an_archive_keep_their_parent(app: Runtime, acme: str) -> None:
    packed, name = BytesIO(), "größen.zip"
    with ZipFile(packed, "w") as archive:
        archive.writestr(normalize("NFD", "Übersicht.md"), "# Members\n\nThe overview of lemurs.\n")
        archive.writestr("Übersicht.md", "# Members\n\nThe overview of lynxes.\n")
    with Publisher(app.endpoints.kafka_client(), acme, WIKI) as publisher:
        publisher.upsert(name, content=packed.getvalue(), file_name="a.zip")
    app.land(acme)
    members, session = {f"{name}!/Übersicht.md", f"{name}!/Übersicht.md (2)"}, app.session(acme)
    app.step(session, "parse")
    for document in (name, *members):
        spell_as_before(app, acme, document)
    run_stages(app, acme)
    assert cited(app, acme, "overview of members") >= {normalize("NFD", member) for member in members}
    assert upgrade.upgrade(app, session) == {"renamed": 3}
    run_stages(app, acme)
    assert cited(app, acme, "overview of members") == {name, *members}
    parents = rows(app, acme, "SELECT document, parent FROM document WHERE NOT deleted AND parent IS NOT NULL")
    assert {row["document"]: row["parent"] for row in parents} == {
        document_key(member, session.keys): document_key(name, session.keys) for member in members
    }
    publish(app, acme, None, {normalize("NFD", name): None})
    app.ingest(acme)
    assert set(documents_of(app, acme).values()) == {False}
    assert cited(app, acme, "overview of members") == set()


@pytest.mark.parametrize("spelling", [NAME, DECOMPOSED])
def test_a_tombstone_under_another_spelling_fences(app: Runtime, acme: str, spelling: str) -> None:
    publish(app, acme, 1, {NAME: PAGE})
    publish(app, acme, 5, {NAME: None})
    app.land(acme)
    spell_as_before(app, acme)
    publish(app, acme, 4, {spelling: PAGE})
    assert app.land(acme).fates == {"superseded": 1}
    publish(app, acme, 6, {spelling: PAGE}, source="/other")
    assert app.land(acme).reasons == {"source-mismatch": 1}
    publish(app, acme, 6, {spelling: PAGE})
    assert app.ingest(acme)[0].fates == {"landed": 1}
    assert cited(app, acme) == {spelling}
    return_to_version_0(app, acme)
    assert "renamed" not in upgrade.upgrade(app, app.session(acme))
    assert cited(app, acme) == {spelling}


def test_a_tombstone_of_an_id_that_was_never_published_belongs_to_nobody(app: Runtime, acme: str) -> None:
    publish(app, acme, None, {NAME: PAGE})
    publish(app, acme, None, {"wiki/page": None}, source="/stranger")
    app.land(acme)
    publish(app, acme, None, {NAME: None})
    app.land(acme)
    rows(app, acme, "UPDATE document SET published = true, source_key = 'stranger' WHERE NOT published RETURNING document")
    return_to_version_0(app, acme)
    assert upgrade.upgrade(app, app.session(acme)) == {"disowned": 1}
    publish(app, acme, None, {"wiki/page": PAGE, NAME: PAGE})
    assert app.land(acme).fates == {"landed": 2}


def test_a_document_whose_content_has_expired_stays_searchable_as_it_is(app: Runtime, lemurs: str) -> None:
    with app.session(lemurs).transaction() as connection:
        connection.execute("DELETE FROM artifact WHERE stage IN ('land', 'parse')")
    upgrade.ensure(app, app.session(lemurs))
    taken = run_stages(app, lemurs)
    assert (taken["redact"], taken["embed"]) == (1, 1)  # the tombstone's
    assert cited(app, lemurs) == {DECOMPOSED}
    assert rows(app, lemurs, "SELECT FROM dead_letter") == []


def test_two_processes_upgrade_a_tenant_together_and_new_tenants_need_it_not(app: Runtime, lemurs: str, globex: str) -> None:
    session = app.session(lemurs)
    with ThreadPoolExecutor(2) as threads:
        done = list(threads.map(lambda _: dict(upgrade.upgrade(app, session)), range(2)))
    assert sum(counts.get("renamed", 0) for counts in done) == 1
    run_stages(app, lemurs)
    assert cited(app, lemurs) == {NAME}
    assert "upgrade" not in maintenance.due(app, app.session(globex))
