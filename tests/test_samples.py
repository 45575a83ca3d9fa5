"""The samples contain every known value in the place that the list gives, and no other personal values."""

from __future__ import annotations

import csv
import email
import email.policy
import hashlib
import json
import re
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import phonenumbers
import pypdfium2
import pytest
from docx import Document
from openpyxl import load_workbook
from pptx import Presentation

from samples import DOCUMENTS, FOLDER
from samples.make import CORRUPT, write_all

Places = dict[str, str]
PII: Mapping[str, list[dict[str, str]]] = json.loads((FOLDER / "pii.json").read_text(encoding="utf-8"))
QUESTIONS: Mapping[str, list[dict[str, Any]]] = json.loads((FOLDER / "questions.json").read_text(encoding="utf-8"))
NAMES = sorted(path.relative_to(DOCUMENTS).as_posix() for path in DOCUMENTS.rglob("*") if path.is_file())
READABLE = [name for name in NAMES if name != CORRUPT]
KINDS = {"EMAIL", "PHONE", "IBAN", "CARD", "PERSON"}

EMAIL = re.compile(r"[\w.]+@[\w-]+\.[a-z]+")
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: [A-Z0-9]{4}){3,7}(?: [A-Z0-9]{1,3})?\b")
CARD = re.compile(r"(?<![A-Z]{2}\d\d )\b\d{4}(?: \d{4}){3}\b")


def _joined(parts: Iterable[tuple[str, str]]) -> Places:
    places: defaultdict[str, list[str]] = defaultdict(list)
    for place, text in parts:
        places[place].append(text)
    return {place: "\n".join(texts) for place, texts in places.items()}


class _Markup(HTMLParser):
    """Collect (place, text) pairs from HTML and XHTML."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[tuple[str, str]] = []
        self.tag = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tag = tag
        found = dict(attrs)
        for place, value in (("link", found.get("href")), ("alt", found.get("alt")), ("property", found.get("content"))):
            self.parts += [(place, value)] if value else []

    def handle_data(self, data: str) -> None:
        place = "heading" if re.fullmatch("h[1-6]|title", self.tag) else "table" if self.tag in ("td", "th") else "text"
        self.parts.append((place, data))


def _html(content: bytes) -> Places:
    parser = _Markup()
    parser.feed(content.decode())
    return _joined(parser.parts)


def _epub(content: bytes) -> Places:
    with zipfile.ZipFile(BytesIO(content)) as book:
        parser = _Markup()
        for name in book.namelist():
            if name.endswith(".xhtml"):
                parser.feed(book.read(name).decode())
        creators = ElementTree.fromstring(book.read("book/package.opf")).iter("{http://purl.org/dc/elements/1.1/}creator")
        return _joined([*parser.parts, *(("property", creator.text or "") for creator in creators)])


def _lines(heading: str, table: str) -> Callable[[bytes], Places]:
    """Return a reader for a line-based format: marks begin headings and table rows; links and alt text are as in Markdown."""

    def read(content: bytes) -> Places:
        text = content.decode()
        alt = [("alt", alt) for alt in re.findall(r"!\[([^\]]*)\]", text)]
        links = [("link", target) for target in re.findall(r"\]\(([^)]+)\)", text)]
        rest = re.sub(r"!\[[^\]]*\]\([^)]*\)|(?<=\])\([^)]+\)", "", text)
        marks = ((line[:1], line) for line in rest.splitlines())
        return _joined([*alt, *links, *(({heading: "heading", table: "table"}.get(mark, "text"), line) for mark, line in marks)])

    return read


def _eml(content: bytes) -> Places:
    message = email.message_from_bytes(content, policy=email.policy.default)
    body = message.get_body()
    assert body is not None
    headers = [("heading" if name == "Subject" else "header", value) for name, value in message.items() if name != "Message-ID"]
    return _joined([*headers, ("text", body.get_content())])


def _csv(content: bytes) -> Places:
    return {"table": "\n".join("\t".join(row) for row in csv.reader(content.decode().splitlines()))}


def _docx(content: bytes) -> Places:
    document = Document(BytesIO(content))
    parts = [("heading" if str(p.style.name).startswith("Heading") else "text", p.text) for p in document.paragraphs if p.style]
    parts += [("table", cell.text) for table in document.tables for row in table.rows for cell in row.cells]
    parts += [("link", link.address) for p in document.paragraphs for link in p.hyperlinks]
    parts += [("alt", shape._inline.docPr.get("descr") or "") for shape in document.inline_shapes]
    properties = document.core_properties
    return _joined([*parts, ("property", properties.author), ("property", properties.subject), ("property", properties.last_modified_by)])


def _pptx(content: bytes) -> Places:
    deck = Presentation(BytesIO(content))
    parts = [part for slide in deck.slides for part in _slide(slide)]
    return _joined([*parts, ("property", deck.core_properties.author)])


def _slide(slide: Any) -> Iterable[tuple[str, str]]:
    for shape in slide.shapes:
        if shape.has_text_frame:
            yield ("heading" if shape == slide.shapes.title else "text", shape.text_frame.text)
        if shape.has_table:
            yield from (("table", cell.text) for row in shape.table.rows for cell in row.cells)
        yield ("alt", shape._element._nvXxPr.cNvPr.get("descr") or "")
    if slide.has_notes_slide:
        yield ("note", slide.notes_slide.notes_text_frame.text)


def _xlsx(content: bytes) -> Places:
    book = load_workbook(BytesIO(content))
    cells = [("table", str(value)) for sheet in book for row in sheet.values for value in row if value is not None]
    titles = [("heading", sheet.title) for sheet in book]
    return _joined([*cells, *titles, ("property", book.properties.creator or "")])


def _pdf(content: bytes) -> Places:
    """A PDF has neither headings nor tables, so all of it is text. Link targets are in annotations."""
    book = pypdfium2.PdfDocument(content)
    pages = [("text", page.get_textpage().get_text_range().replace("\r\n", "\n")) for page in book]
    links = [("link", target.decode()) for target in re.findall(rb"/URI \(([^)]*)\)", content)]
    author = book.get_metadata_value("Author")
    book.close()
    return _joined([*pages, *links, ("property", author)])


_READERS: Mapping[str, Callable[[bytes], Places]] = {
    ".adoc": _lines("=", "|"),
    ".csv": _csv,
    ".docx": _docx,
    ".eml": _eml,
    ".epub": _epub,
    ".html": _html,
    ".md": _lines("#", "|"),
    ".pdf": _pdf,
    ".pptx": _pptx,
    ".txt": _lines("\0", "\0"),
    ".vtt": _lines("\0", "\0"),
    ".xlsx": _xlsx,
}


def places(name: str, folder: Path = DOCUMENTS) -> Places:
    """Return a sample's text by place: text, heading, table, link, alt, property, header, note, file-name."""
    path = folder / name
    return {**_READERS[path.suffix](path.read_bytes()), "file-name": path.name}


def patterned(text: str) -> set[tuple[str, str]]:
    """Return every (kind, value) in a text that has the form of a personal value."""
    numbers = (match.raw_string.lstrip("[(") for match in phonenumbers.PhoneNumberMatcher(text, "ZZ"))
    found = {"EMAIL": EMAIL.findall(text), "IBAN": IBAN.findall(text), "CARD": CARD.findall(text), "PHONE": numbers}
    return {(kind, value) for kind, values in found.items() for value in values}


def listed(name: str, place: str) -> set[tuple[str, str]]:
    return {(entry["kind"], entry["value"]) for entry in PII.get(name, []) if entry["where"] == place}


def values(kind: str) -> list[str]:
    return sorted({entry["value"] for entries in PII.values() for entry in entries if entry["kind"] == kind})


def test_two_tenants_have_at_least_fourteen_documents_in_at_least_ten_formats() -> None:
    assert {name.split("/")[0] for name in NAMES} == {"acme", "globex"}
    assert len(NAMES) >= 14
    assert len({Path(name).suffix for name in NAMES}) >= 10


def test_every_sample_is_small_enough_to_review() -> None:
    assert [name for name in NAMES if (DOCUMENTS / name).stat().st_size > 60_000] == []


@pytest.mark.parametrize("name", READABLE)
def test_every_listed_value_is_in_the_listed_place(name: str) -> None:
    found = places(name)
    missing = [number for number, entry in enumerate(PII.get(name, [])) if entry["value"] not in found.get(entry["where"], "")]
    assert missing == []


@pytest.mark.parametrize("name", READABLE)
def test_nothing_with_the_form_of_a_personal_value_is_unlisted(name: str) -> None:
    for place, text in places(name).items():
        assert patterned(text) == {(kind, value) for kind, value in listed(name, place) if kind != "PERSON"}, place


@pytest.mark.parametrize("name", READABLE)
def test_a_listed_person_is_listed_in_every_place_with_that_name(name: str) -> None:
    for place, text in places(name).items():
        unbroken = " ".join(text.split())
        named = {("PERSON", person) for person in values("PERSON") if person in unbroken}
        assert named == {entry for entry in listed(name, place) if entry[0] == "PERSON"}, place


def test_the_list_names_only_documents_and_kinds_that_exist() -> None:
    assert set(PII) <= set(NAMES)
    assert {entry["kind"] for entries in PII.values() for entry in entries} == KINDS


def test_every_kind_of_place_has_known_values() -> None:
    expected = {"text", "heading", "table", "link", "alt", "property", "header", "note", "file-name"}
    assert {entry["where"] for entries in PII.values() for entry in entries} == expected


@pytest.mark.parametrize("iban", values("IBAN"))
def test_every_iban_has_a_valid_checksum(iban: str) -> None:
    """ISO 13616: move the first four characters to the end and replace letters by numbers (A = 10); the result modulo 97 is 1."""
    compact = iban.replace(" ", "")
    assert int("".join(str(int(character, 36)) for character in compact[4:] + compact[:4])) % 97 == 1


@pytest.mark.parametrize("card", values("CARD"))
def test_every_card_number_has_a_valid_checksum(card: str) -> None:
    """ISO/IEC 7812, annex B (Luhn)."""
    digits = [int(digit) for digit in reversed(card.replace(" ", ""))]
    assert sum(digits[::2] + [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]) % 10 == 0


@pytest.mark.parametrize("phone", values("PHONE"))
def test_every_telephone_number_is_valid_and_in_a_range_reserved_for_fiction(phone: str) -> None:
    assert phonenumbers.is_valid_number(phonenumbers.parse(phone))
    assert re.fullmatch(r"\+1\d{3}55501\d\d|\+442079460\d{3}|\+493023125\d{3}", re.sub("[ -]", "", phone))


@pytest.mark.parametrize("address", values("EMAIL"))
def test_every_address_is_in_a_domain_reserved_for_examples(address: str) -> None:
    assert re.fullmatch(r"[a-z.]+@example\.(com|net|org)", address)


def _by_digest(tenant: str) -> defaultdict[str, list[str]]:
    groups: defaultdict[str, list[str]] = defaultdict(list)
    for name in NAMES:
        if name.startswith(f"{tenant}/"):
            groups[hashlib.sha256((DOCUMENTS / name).read_bytes()).hexdigest()].append(name)
    return groups


def test_both_tenants_share_one_identical_document() -> None:
    acme, globex = _by_digest("acme"), _by_digest("globex")
    assert [acme[digest] for digest in acme.keys() & globex.keys()] == [["acme/policies/supplier-code.md"]]


def test_one_document_is_an_exact_duplicate_under_another_name() -> None:
    twins = [names for names in _by_digest("acme").values() if len(names) > 1]
    assert twins == [["acme/archive/warranty-2026.html", "acme/policies/warranty.html"]]


def test_one_file_is_corrupt() -> None:
    with pytest.raises(zipfile.BadZipFile):
        zipfile.ZipFile(DOCUMENTS / CORRUPT)


def test_every_question_names_documents_of_its_tenant() -> None:
    assert {tenant: len(questions) for tenant, questions in QUESTIONS.items()} == {"acme": 3, "globex": 3}
    expected = [f"{tenant}/{name}" for tenant, questions in QUESTIONS.items() for question in questions for name in question["documents"]]
    assert set(expected) <= set(READABLE)


def test_every_answer_occurs_in_the_documents_that_the_question_names_and_in_no_other() -> None:
    for tenant, questions in QUESTIONS.items():
        texts = {name: " ".join(" ".join(places(name).values()).split()) for name in READABLE if name.startswith(f"{tenant}/")}
        for question in questions:
            containing = {name for name, text in texts.items() if question["answer"] in text}
            assert containing == {f"{tenant}/{name}" for name in question["documents"]}


def test_generating_the_binary_samples_twice_writes_the_same_bytes(tmp_path: Path) -> None:
    first = {path.name: path.read_bytes() for path in write_all(tmp_path / "first")}
    assert {path.name: path.read_bytes() for path in write_all(tmp_path / "second")} == first


def test_the_committed_binary_samples_match_their_sources(tmp_path: Path) -> None:
    """Compares content instead of bytes, because other zlib versions compress differently."""
    written = [path.relative_to(tmp_path).as_posix() for path in write_all(tmp_path)]
    assert all(places(name) == places(name, tmp_path) for name in written if name != CORRUPT)
    assert CORRUPT in written
