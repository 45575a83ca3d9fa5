"""The contribution of a redacted document: sections, links, references, entities; the same bytes for the same document."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import ConfigurationError
from core.frames import CHUNKED, RESULT
from core.records import Block, Chunk, Contribution, Link, Redacted, Relation, Section, decode, encode
from graph import Extractor, extract, extractors_for, fingerprint, projection_fingerprint
from graph.extractors import Findings, Occurrence
from graph.extractors.names import Names
from graph.extractors.sections import Sections
from graph.keys import KEY_CHARACTERS, bounded, entity_key, link_key

EMAIL = "<EMAIL:a1b2c3d4e5f60718>"
PERSON = "<PERSON:b0b0b0b0b0b0b0b0>"


RULES = extractors_for(None)
RECORDED = json.loads((Path(__file__).parent / "recorded_contributions.json").read_text(encoding="utf-8"))
"""Documents and their contributions, with names and without, from before there was a list of extractors."""


class Acme:
    """An extractor of one name."""

    name = "acme"
    fingerprint = "1"

    def extract(self, document: Redacted, chunks: Sequence[Chunk]) -> Findings:
        found = ((chunk.ordinal, match[0]) for chunk in chunks for match in re.finditer("acme corp", chunk.text, re.IGNORECASE))
        return Findings(occurrences=tuple(Occurrence(ordinal, entity_key("ORG", name), "ORG", name) for ordinal, name in found))


class Employment:
    """An extractor of relations between entities, and of a section besides."""

    name = "employment"
    fingerprint = "1"

    def extract(self, document: Redacted, chunks: Sequence[Chunk]) -> Findings:
        return Findings(sections=(Section(("Guide",), (7,)),), relations=(Relation("PERSON:jo", "WORKS_FOR", "ORG:acme corp"),) * 2)


@pytest.fixture(scope="module")
def names() -> Names:
    return Names("en_core_web_sm")


def chunk(ordinal: int, text: str, *path: str) -> Chunk:
    return Chunk(ordinal, text, f"{ordinal:032x}", 5, tuple(path))


def linking(*targets: str) -> tuple[Block, ...]:
    return tuple(Block("paragraph", "see there", links=(Link("there", target),)) for target in targets)


def extracted(redacted: Redacted, *chunks: Chunk, extractors: Sequence[Extractor] = RULES) -> bytes:
    row = {"document": "0" * 32, "input_key": "k", "redacted": encode(redacted), "chunks": encode(chunks)}
    frame = extract(pl.DataFrame([row], schema=dict(CHUNKED)), extractors)
    assert dict(frame.schema) == dict(RESULT)
    assert frame["reason"].to_list() == [None]
    return bytes(frame["payload"][0])


def contribution(redacted: Redacted, *chunks: Chunk, extractors: Sequence[Extractor] = RULES) -> Contribution:
    return decode(extracted(redacted, *chunks, extractors=extractors), Contribution)


def document(name: str = "docs/a.md", *targets: str) -> Redacted:
    return Redacted(name, linking(*targets), title="A")


def targets(found: Contribution, kind: str) -> list[str]:
    return [relation.target for relation in found.relations if relation.kind == kind]


def mentioned(found: Contribution) -> dict[tuple[str, int], int]:
    return {(mention.entity, mention.ordinal): mention.count for mention in found.mentions}


def test_sections_are_the_heading_paths_in_reading_order_each_after_its_ancestors() -> None:
    found = contribution(
        document(),
        chunk(0, "preface"),
        chunk(1, "x", "Guide", "Install"),
        chunk(2, "x", "Guide", "Install"),
        chunk(3, "x", "Guide"),
        chunk(4, "x", "Notes"),
    )
    assert found.sections == (Section(("Guide",), (3,)), Section(("Guide", "Install"), (1, 2)), Section(("Notes",), (4,)))


def test_web_links_point_to_urls_in_normal_form() -> None:
    found = contribution(document("a.md", "HTTPS://Example.org:443/Path?q=1#part", "https://example.org/Path?q=1", "http://example.org"))
    assert targets(found, "LINKS_TO") == ["URL:http://example.org/", "URL:https://example.org/Path?q=1"]
    assert [(entity.kind, entity.key) for entity in found.entities] == [("URL", key) for key in targets(found, "LINKS_TO")]


@pytest.mark.parametrize(
    ("name", "target", "key"),
    [
        ("docs/a.md", "../b.md#x", "document:b.md"),
        ("docs/a.md", "b.md", "document:docs/b.md"),
        ("docs/a.md", "./sub/b%20c.md", "document:docs/sub/b c.md"),
        ("docs/a.md", "b.php?id=1", "document:docs/b.php?id=1"),
        ("docs/a.md", "?id=2", "document:docs/a.md?id=2"),
        ("docs/a.md", "/b.md", "document:b.md"),
        ("a.md", "../../b.md", "document:b.md"),
        ("docs/a.md", "#self", None),
        ("docs/a.md", "  ", None),
        ("docs/a.md", "mailto:x", None),
        ("docs/a.md", "javascript:void(0)", None),
        ("docs/a.md", "http://[broken", None),
        ("docs/a.md", "http://host:port/", None),
        ("docs/a.md", "//example.org/x", "URL:https://example.org/x"),
        ("docs/a.md", "https://somebody:secret@example.org/x", "URL:https://example.org/x"),
        ("https://example.org/docs/a", "../b#x", "URL:https://example.org/b"),
        ("http://example.org/docs/a", "//other.example/x", "URL:http://other.example/x"),
        ("s3://bucket/docs/a.md", "../b.md", "URL:s3://bucket/b.md"),
        (r"C:\docs\a.md", r"..\b.md", "document:C:/b.md"),
        (r"C:\docs\a.md", "/b.md", "document:C:/b.md"),
        (r"\\server\share\a.md", "b.md", "URL:file://server/share/b.md"),
        ("jira:ABC-1", "b.md", "document:b.md"),
        ("docs/a.md", "jira:ABC-1", "document:jira:ABC-1"),
        ("docs/a.md", "java\nscript:void(0)", None),
    ],
)
def test_a_link_target_is_resolved_against_the_documents_own_name(name: str, target: str, key: str | None) -> None:
    assert link_key(name, target) == key


def test_relative_links_refer_to_documents_by_name_which_are_not_entities() -> None:
    found = contribution(document("docs/a.md", "../b.md#x"))
    assert found.relations == (Relation("document:docs/a.md", "REFERS_TO", "document:b.md"),)
    assert found.entities == ()


def test_a_relative_link_is_one_from_the_documents_id_and_from_its_address() -> None:
    redacted = Redacted("guide/a.md", linking("b.md"), uri="https://example.org/docs/guide/a")
    found = contribution(redacted)
    assert targets(found, "REFERS_TO") == ["document:guide/b.md"]
    assert targets(found, "LINKS_TO") == ["URL:https://example.org/docs/guide/b.md"]


@pytest.mark.parametrize("link", ["#part", "a.md", "../docs/a.md#part", "/docs//./a.md", "https://EXAMPLE.org/a", "//example.org/a#b"])
def test_a_link_to_the_document_itself_is_none(link: str) -> None:
    found = contribution(Redacted("docs/a.md", linking(link), uri="https://example.org/a"))
    assert targets(found, "REFERS_TO") == []
    assert "URL:https://example.org/a" not in targets(found, "LINKS_TO")


def test_a_document_whose_name_is_written_otherwise_has_the_key_that_links_to_it_have() -> None:
    assert contribution(document("docs/a.md")).key == ""
    found = contribution(document("/docs//%c3%9c.md", "b.md"))
    assert found.key == "document:docs/Ü.md"
    assert found.relations == (Relation("document:docs/Ü.md", "REFERS_TO", "document:docs/b.md"),)


def test_numbered_references_are_one_entity_in_every_spelling() -> None:
    found = contribution(document(), chunk(0, "See PEP 8, PEP-0008 and RFC 822."), chunk(1, "pep 8 is not written so; PEP 20 is"))
    assert mentioned(found) == {("REFERENCE:pep 8", 0): 2, ("REFERENCE:rfc 822", 0): 1, ("REFERENCE:pep 20", 1): 1}


@pytest.mark.parametrize("text", ["UTF-8 and SHA-256", "USD 500", "TLS 1.2", "A-PEP 8", "ABCDEFGH 12", "DEC 25", "PEP 123456", EMAIL])
def test_text_that_only_resembles_a_reference_is_not_one(text: str) -> None:
    assert not [key for key, _ in mentioned(contribution(document(), chunk(0, text))) if key.startswith("REFERENCE")]


@pytest.mark.parametrize("name", ["peps/pep-0008.rst", r"C:\peps\PEP%208.txt", "https://example.org/pep-0008/?raw=1"])
def test_a_document_has_the_number_in_its_name(name: str) -> None:
    found = contribution(document(name))
    assert targets(found, "NUMBERED") == ["REFERENCE:pep 8"]
    assert "REFERENCE:pep 8" not in targets(found, "KNOWN_AS")


def test_a_page_of_a_series_that_is_none_has_no_number() -> None:
    assert targets(contribution(document("peps/page-12.rst")), "NUMBERED") == []


def test_a_document_is_known_by_its_web_address() -> None:
    found = contribution(Redacted("a.md", (), uri="https://Example.org/a"))
    assert targets(found, "KNOWN_AS") == ["URL:https://example.org/a"]


def test_a_document_is_known_by_the_path_of_its_file() -> None:
    found = contribution(Redacted("a.md", (), uri="file:///srv/wiki/a.md"))
    assert targets(found, "KNOWN_AS") == ["document:srv/wiki/a.md"]


def test_a_surrogate_is_an_entity_of_its_kind_counted_per_chunk() -> None:
    found = contribution(document(), chunk(0, f"{PERSON} wrote to {EMAIL} and {EMAIL}"), chunk(1, f"for {PERSON}"))
    assert mentioned(found) == {
        ("EMAIL:a1b2c3d4e5f60718", 0): 2,
        ("PERSON:b0b0b0b0b0b0b0b0", 0): 1,
        ("PERSON:b0b0b0b0b0b0b0b0", 1): 1,
    }
    assert [(entity.kind, entity.name) for entity in found.entities] == [("EMAIL", EMAIL), ("PERSON", PERSON)]


def test_documents_that_mention_the_same_hidden_person_share_one_entity() -> None:
    one = contribution(document("a.md"), chunk(0, f"{PERSON} here"))
    other = contribution(Redacted("b.md", (), metadata={"author": PERSON}))
    assert {entity.key for entity in one.entities} & {entity.key for entity in other.entities} == {"PERSON:b0b0b0b0b0b0b0b0"}


@pytest.mark.parametrize(
    ("redacted", "path"),
    [
        (Redacted("a.md", (), title=f"Letter to {PERSON}"), ()),
        (Redacted(f"{PERSON}.md", ()), ()),
        (Redacted("a.md", (), metadata={"to": PERSON}), ()),
        (Redacted("a.md", linking(f"mailto:{PERSON}")), ()),
        (Redacted("a.md", ()), (f"From {PERSON}",)),
    ],
)
def test_a_surrogate_outside_the_running_text_is_named_by_the_document(redacted: Redacted, path: tuple[str, ...]) -> None:
    assert targets(contribution(redacted, chunk(0, "x", *path)), "NAMES") == ["PERSON:b0b0b0b0b0b0b0b0"]


def test_without_a_model_there_are_no_names() -> None:
    assert contribution(document(), chunk(0, "Microsoft bought a company.")).entities == ()


@pytest.mark.slow
def test_names_come_from_the_model_under_one_key_whatever_their_case(names: Names) -> None:
    found = contribution(
        document(), chunk(0, "Microsoft and the European Union talked."), chunk(1, "Then Microsoft left."), extractors=(*RULES, names)
    )
    assert {("ORG:microsoft", 0), ("ORG:microsoft", 1), ("ORG:european union", 0)} <= set(mentioned(found))
    assert entity_key("ORG", "MICROSOFT\n Corp") == entity_key("ORG", "Microsoft Corp")


@pytest.mark.slow
def test_surrogates_do_not_confuse_the_model(names: Names) -> None:
    text = f"{PERSON} of Acme Corporation wrote to {EMAIL} about Google. {PERSON} {EMAIL}, <IBAN:c0ffee00c0ffee00>."
    (found,) = names.find([text])
    assert {"Acme Corporation", "Google"} <= {name for _, name in found}
    assert not [name for _, name in found if any(part in name for part in ("<", "EMAIL", "PERSON", "IBAN", "b0b0", "it "))]


@pytest.mark.slow
def test_people_and_places_are_never_entities_by_name(names: Names) -> None:
    (found,) = names.find(["Angela Merkel met Barack Obama in Berlin."])
    assert found == []


@pytest.mark.slow
def test_the_same_document_gives_the_same_bytes_whatever_the_order_of_its_chunks_and_links(names: Names) -> None:
    chunks = [chunk(i, f"PEP {i} by {PERSON} of Google and Microsoft", "Top", f"S{i // 3}") for i in range(9)]
    links = [f"b{i}.md" for i in range(5)]
    first = extracted(document("a.md", *links), *chunks, extractors=(*RULES, names))
    random.shuffle(chunks)
    random.shuffle(links)
    assert extracted(document("a.md", *links), *chunks, extractors=(*RULES, names)) == first


@pytest.mark.parametrize("recorded", RECORDED, ids=[recorded["redacted"]["name"][:30] for recorded in RECORDED])
@pytest.mark.parametrize(("expected", "extractors"), [("contribution", RULES), ("with_names", (*RULES, Acme()))])
def test_documents_contribute_what_was_recorded_in_any_order_of_the_extractors(
    recorded: dict[str, object], expected: str, extractors: tuple[Extractor, ...]
) -> None:
    redacted = decode(encode(recorded["redacted"]), Redacted)
    chunks = decode(encode(recorded["chunks"]), tuple[Chunk, ...])
    for start in range(len(extractors)):
        rotated = (*extractors[start:], *extractors[:start])
        assert extracted(redacted, *chunks, extractors=rotated) == msgspec.json.encode(recorded[expected])
        assert extracted(redacted, *chunks, extractors=rotated[::-1]) == msgspec.json.encode(recorded[expected])


def test_text_that_only_resembles_a_surrogate_is_not_one() -> None:
    assert contribution(document(), chunk(0, "<FIX:a1b2c3d4e5f60718> <EMAIL:1234> <EMAIL:1111222233334444>")).entities == ()


def test_an_extractor_may_relate_entities_and_both_become_entities() -> None:
    found = contribution(document(), extractors=[Employment()])
    assert found.relations == (Relation("PERSON:jo", "WORKS_FOR", "ORG:acme corp"),)
    assert [entity.key for entity in found.entities] == ["ORG:acme corp", "PERSON:jo"]


def test_a_section_that_two_extractors_find_is_one() -> None:
    both: list[Extractor] = [Employment(), Sections()]
    for extractors in (both, both[::-1]):
        found = contribution(document(), chunk(0, "x", "Guide"), chunk(1, "x", "Guide", "Install"), extractors=extractors)
        assert found.sections == (Section(("Guide",), (0, 7)), Section(("Guide", "Install"), (1,)))


def test_extractors_of_the_same_name_are_refused() -> None:
    with pytest.raises(ValueError, match="distinct names, were: acme, acme"):
        contribution(document(), extractors=[Acme(), Acme()])
    with pytest.raises(ValueError, match="distinct names"):
        fingerprint([Acme(), Acme()])


@pytest.mark.slow
def test_the_fingerprint_covers_every_extractor_and_not_their_order(names: Names) -> None:
    changed = Acme()
    changed.fingerprint = "2"
    lists: list[tuple[Extractor, ...]] = [(), RULES, RULES[1:], (*RULES, Acme()), (*RULES, changed), (*RULES, names)]
    assert len({fingerprint(extractors) for extractors in lists}) == len(lists)
    assert {len(fingerprint(extractors)) for extractors in lists} == {32}
    assert fingerprint(RULES[::-1]) == fingerprint(RULES)
    assert fingerprint((names, *RULES)) == fingerprint(extractors_for("en_core_web_sm"))


def test_documents_that_were_projected_before_stay_current() -> None:
    assert projection_fingerprint() == "ab010683cb02cc817523586c076bc7a8"


def test_a_missing_model_is_refused_at_once() -> None:
    with pytest.raises(ConfigurationError, match="no_such_model"):
        extractors_for("no_such_model")


@given(st.text(min_size=KEY_CHARACTERS, max_size=3 * KEY_CHARACTERS), st.text(min_size=1, max_size=5))
def test_keys_are_bounded_and_distinct_long_names_have_distinct_keys(name: str, more: str) -> None:
    key = bounded(f"ORG:{name}")
    assert len(key) <= KEY_CHARACTERS
    assert bounded(key) == key
    assert bounded(f"ORG:{name}{more}") != key
