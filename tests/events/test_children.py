"""Documents inside documents: a child follows its parent's content, access and deletion, and takes no id that belongs to another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from email.message import EmailMessage
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import artifacts
from core.ledger import ledger
from core.ledger.ledger import DeadLetter, Step
from core.records import Child
from events import children
from pipelines.app import Headrace
from pipelines.operations import dead_letters
from pipelines.operations.search import ask
from tests.tenant_fixture import Inlet, World, publish

pytestmark = pytest.mark.usefixtures("empty_world")

MAIL = "mail.eml"
PARSE = Step("parse", None, "content", "parser-1")


def set_children(world: World, parent: str = MAIL, /, **contents: str) -> int:
    return set_all(world, parent, [Child(path.replace("_", "."), content.encode()) for path, content in contents.items()])


def set_all(world: World, parent: str, found: Sequence[Child]) -> int:
    with world.session.transaction() as connection:
        return children.replace(connection, world.session.keys, {world.key(parent): found})


def rows(world: World) -> dict[str, dict[str, Any]]:
    """Documents by key."""
    return {row["document"]: row for row in world.rows("SELECT * FROM document")}


def child(world: World, path: str, parent: str = MAIL) -> dict[str, Any]:
    return rows(world)[world.key(f"{parent}!/{path}")]


def existing(world: World) -> set[str]:
    return {document for document, row in rows(world).items() if not row["deleted"]}


def stale(world: World) -> set[str]:
    with world.session.transaction() as connection:
        ledger.revalidate(connection, PARSE)
        return {row.document for row in ledger.stale(connection, PARSE, 1000)}


def parsed(world: World) -> None:
    """Record all stale documents as parsed, without further children."""
    with world.session.transaction() as connection:
        found = ledger.stale(connection, PARSE, 1000)
        ledger.record(connection, PARSE, [ledger.Entry(row.document, row.input_key, "done", output_key="read") for row in found])


def test_a_child_has_its_parents_access_sequence_and_position_and_is_stale_for_the_parser(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert(MAIL, "body", sequence=7, acl=["jo"]))
    assert set_children(world, report_txt="a report") == 1
    parent, found = rows(world)[world.key(MAIL)], child(world, "report.txt")
    inherited = ("sequence", "sequence_explicit", "source_key", "acl", "acl_key", "kafka_partition", "kafka_offset", "received_at")
    assert {name: found[name] for name in inherited} == {name: parent[name] for name in inherited}
    with world.session.transaction() as connection:
        kept = artifacts.get(connection, world.session.keys, "land", [found["document"]])
    assert kept == {found["document"]: b"a report"}
    assert found["document"] in stale(world)


def test_children_that_are_found_unchanged_write_nothing(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert(MAIL, "body"))
    set_children(world, report_txt="a report")
    before = world.everything()
    assert set_children(world, report_txt="a report") == 0
    assert world.everything() == before


def test_a_changed_child_is_parsed_again_and_its_neighbour_is_not(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert(MAIL, "body"))
    set_children(world, a_txt="one", b_txt="two")
    parsed(world)
    assert set_children(world, a_txt="other", b_txt="two") == 1
    assert stale(world) == {child(world, "a.txt")["document"]}


def test_a_child_that_its_parent_no_longer_contains_is_deleted(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert(MAIL, "body"))
    set_children(world, a_txt="one", b_txt="two")
    set_children(world, b_txt="two")
    assert existing(world) == {world.key(MAIL), world.key("mail.eml!/b.txt")}
    assert child(world, "a.txt")["envelope"] is None
    assert world.artifact("land", "mail.eml!/a.txt") is None


def test_a_landed_delete_deletes_all_documents_inside(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert(MAIL, "body"))
    set_children(world, a_zip="one")
    set_all(world, "mail.eml!/a.zip", [Child("deep/b.txt", b"two")])
    assert len(existing(world)) == 3
    inlet.land(inlet.delete(MAIL))
    assert existing(world) == set()


def test_a_parent_that_is_restored_unchanged_is_parsed_again_for_its_children(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert(MAIL, "body"))
    set_children(world, a_txt="one")
    parsed(world)
    inlet.land(inlet.delete(MAIL))
    inlet.land(inlet.upsert(MAIL, "body"))
    assert world.key(MAIL) in stale(world)
    assert set_children(world, a_txt="one") == 1


def test_access_that_is_narrowed_is_narrowed_inside_at_once(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert(MAIL, "body", acl=["jo", "kim"]))
    set_children(world, a_zip="one")
    set_all(world, "mail.eml!/a.zip", [Child("b.txt", b"two")])
    inlet.land(inlet.upsert(MAIL, "body", acl=["jo"]))
    assert {tuple(row["acl"]) for row in rows(world).values()} == {("jo",)}


def test_an_id_with_an_event_of_its_own_is_not_taken_by_a_child(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert("mail.eml!/a.txt", "of its own"), inlet.upsert(MAIL, "body"))
    assert set_children(world, a_txt="one") == 0
    assert world.artifact("land", "mail.eml!/a.txt") == b"of its own"


def test_an_event_of_its_own_takes_a_child_over(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert(MAIL, "body"))
    set_children(world, a_txt="one")
    inlet.land(inlet.upsert("mail.eml!/a.txt", "of its own"))
    assert child(world, "a.txt")["parent"] is None
    inlet.land(inlet.delete(MAIL))
    assert existing(world) == {world.key("mail.eml!/a.txt")}


def test_parent_and_children_that_fail_have_a_dead_letter_each(world: World, inlet: Inlet) -> None:
    inlet.land(inlet.upsert(MAIL, "body"))
    set_children(world, a_txt="one", b_txt="two")
    letters = [DeadLetter(row["kafka_partition"], row["kafka_offset"], "parse", key, "no-text", "") for key, row in rows(world).items()]
    for _ in range(2):
        with world.session.transaction() as connection:
            ledger.dead_letter(connection, letters)
    assert sorted(letter["attempts"] for letter in world.letters()) == [2, 2, 2]


PATHS = st.sampled_from(["a.txt", "b.txt", "c/d.txt"])
CHILDREN = st.dictionaries(PATHS, st.sampled_from(["one", "two"]))
MOVES = st.lists(st.one_of(st.tuples(st.just("contains"), CHILDREN), st.just(("deleted", None)), st.just(("published", None))), max_size=8)


@given(MOVES)
@settings(max_examples=30)
def test_whatever_happens_to_a_parent_its_children_are_what_it_holds(
    world: World, moves: list[tuple[str, Mapping[str, str] | None]]
) -> None:
    world.clear()
    inlet, there, inside = world.inlet(), False, dict[str, str]()
    for what, found in moves:
        if what == "contains" and found is not None and there:
            set_all(world, MAIL, [Child(path, content.encode()) for path, content in found.items()])
            inside = dict(found)
        elif what == "deleted":
            inlet.land(inlet.delete(MAIL))
            there, inside = False, {}
        elif what == "published":
            inlet.land(inlet.upsert(MAIL, "body"))
            there = True
    expected = {world.key(f"{MAIL}!/{path}") for path in inside} | ({world.key(MAIL)} if there else set())
    assert existing(world) == expected
    assert all(world.artifact("land", f"{MAIL}!/{path}") == content.encode() for path, content in inside.items())


def mail(*attachments: tuple[str, bytes]) -> bytes:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "ann@example.com", "bob@example.com", "The yearly inspection"
    message.set_content("See the reports that are attached.")
    for name, content in attachments:
        message.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    return message.as_bytes()


def zipped(**members: bytes) -> bytes:
    buffer = BytesIO()
    with ZipFile(buffer, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("_", "."), content)
    return buffer.getvalue()


def publish_and_ingest(app: Headrace, tenant: str, content: bytes | None, sequence: int, name: str = MAIL) -> None:
    publish(app, tenant, sequence, {name: content}, source="/mail")
    app.ingest(tenant)


def cited(app: Headrace, tenant: str) -> set[str]:
    return {citation.document for passage in ask(app, tenant, "inspection report", top=50) for citation in passage.citations}


def test_attachments_and_members_of_archives_are_found_edited_and_gone_with_their_message(app: Headrace, acme: str) -> None:
    inside = zipped(deep_md=b"# Deep\n\nThe deep report of the inspection.")
    publish_and_ingest(app, acme, mail(("notes.md", b"# Notes\n\nThe report of the inspection."), ("all.zip", inside)), 1)
    assert cited(app, acme) == {MAIL, f"{MAIL}!/notes.md", f"{MAIL}!/all.zip", f"{MAIL}!/all.zip!/deep.md"}
    publish_and_ingest(app, acme, mail(("notes.md", b"# Notes\n\nThe other report of the inspection.")), 2)
    assert cited(app, acme) == {MAIL, f"{MAIL}!/notes.md"}
    publish_and_ingest(app, acme, None, 3)
    assert cited(app, acme) == set()
    assert not app.models.projection.documents(acme)


def test_an_attachment_that_cannot_be_read_is_a_dead_letter_and_its_message_is_found(app: Headrace, acme: str) -> None:
    publish_and_ingest(app, acme, mail(("broken.docx", b"PK\x03\x04 cut off"), ("broken.pdf", b"%PDF-1.4 cut off")), 1)
    assert cited(app, acme) == {MAIL}
    assert [letter.stage for letter in dead_letters.open_letters(app, acme)] == ["parse", "parse"]


def test_documents_inside_documents_end_somewhere(app: Headrace, acme: str) -> None:
    content = b"# Deepest\n\nA report of the inspection."
    for _ in range(children.DEEPEST + 2):
        content = zipped(next_zip=content)
    publish_and_ingest(app, acme, content, 1, "all.zip")
    assert [letter.reason for letter in dead_letters.open_letters(app, acme)] == ["nested-too-deep"]
