"""Every format of docs/formats.md is read as documented; containers yield children; content is measured.

Each format has a real file here, written by the format's library, by LibreOffice, or by hand for formats that people write by hand.
"""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from email.message import EmailMessage
from importlib.util import find_spec
from pathlib import Path
from unicodedata import normalize

import docx
import pytest
from docx.oxml.ns import qn
from hypothesis import given, settings
from hypothesis import strategies as st

from core.config import Parsing
from core.errors import DocumentError
from core.policy import Reading
from core.records import Block, Content, Link, Signals, decode
from parsers import REASONS, Format, WorkerPool, detect
from parsers.containers import archive
from parsers.signals import is_wordlike, measure, quarantine
from tests.documents import book, legacy, message, open_document, open_text, outlook, picture, printed, saved, sheets, slides, word, zipped

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs/formats.md").read_text(encoding="utf-8")
SECRET = "Zebulon Quimby"
ARTICLE = '<article article-type="research-article"><body><sec><title>Rules</title><p>No swimming.</p></sec></body></article>'
SAVED_PAGE = (
    'MIME-Version: 1.0\nContent-Type: multipart/related; boundary="x"; type="text/html"\n\n--x\nContent-Type: text/html\n\n'
    "<html><body><nav>Home</nav><h1>Rules</h1><p>No <b>swimming</b>.</p><script>x()</script></body></html>\n--x--\n"
)

FILES: dict[Format, tuple[str, bytes, str]] = {
    Format.HTML: ("a.html", b"<h1>Rules</h1><p>No swimming.", "No swimming."),
    Format.MARKDOWN: ("a.md", b"# Rules\n\nNo *swimming*.\n", "No swimming."),
    Format.RESTRUCTURED: ("a.rst", b"Rules\n=====\n\n2. No *swimming*.\n", "2. No swimming."),
    Format.ASCIIDOC: ("a.adoc", b"= Rules\n\nNo swimming.\n", "No swimming."),
    Format.LATEX: ("a.tex", b"\\documentclass{article}\n\\begin{document}\nNo swimming.\n\\end{document}\n", "No swimming."),
    Format.TEXT: ("a.txt", "Die Größe".encode("cp1252"), "Die Größe"),
    Format.CODE: ("a.py", b"def swim():\n    raise Never\n", "def swim():\n    raise Never"),
    Format.CSV: ("a.tsv", b"part\tprice\nrake\t12\n", "price"),
    Format.JSON: ("a.json", b'{"rule": "No swimming."}', "rule: No swimming."),
    Format.JSON_LINES: ("a.jsonl", b'{"rule": "No swimming."}\n', "rule: No swimming."),
    Format.XML: ("a.xml", b"<rules><rule>No swimming.</rule></rules>", "rule: No swimming."),
    Format.VTT: ("a.vtt", b"WEBVTT\n\n00:00.000 --> 00:02.000\nNo swimming.\n", "No swimming."),
    Format.SUBRIP: ("a.srt", b"1\n00:00:00,000 --> 00:00:02,000\n<i>No</i> swimming.\n", "No swimming."),
    Format.EMAIL: ("a.eml", message(), "the rake is clean."),
    Format.OUTLOOK: ("a.msg", outlook("Weir", "The rake is clean.", {"note.txt": b"Closed."}), "The rake is clean."),
    Format.MHTML: ("a.mht", SAVED_PAGE.encode(), "No swimming."),
    Format.JATS: ("a.nxml", ARTICLE.encode(), "No swimming."),
    Format.DOCX: ("a.docx", word(), "The unbreakable rule, see the site."),
    Format.PPTX: ("a.pptx", slides(), "Coupling aligned"),
    Format.XLSX: ("a.xlsx", sheets(), "7.5"),
    Format.ODT: ("a.odt", open_text(), "No swimming."),
    Format.ODS: ("a.ods", open_document("spreadsheet"), "rake"),
    Format.ODP: ("a.odp", open_document("presentation"), "No swimming."),
    Format.EPUB: ("a.epub", book(), "Measure it twice."),
    Format.DOC: ("a.doc", legacy("handbook.doc"), "Grüße: the unbreakable rule, see the site"),
    Format.PPT: ("a.ppt", legacy("slides.ppt"), "Coupling aligned"),
    Format.XLS: ("a.xls", legacy("parts.xls"), "rake"),
    Format.PDF: ("a.pdf", printed(), "See the rules online."),
    Format.IMAGE: ("a.png", picture().getvalue(), ""),
    Format.ZIP: ("a.zip", zipped({"rules/a.txt": "No swimming."}), "rules/a.txt"),
    Format.TAR: ("a.tar", b"", "a.txt"),
    Format.COMPRESSED: ("a.txt.gz", gzip.compress(b"No swimming."), "content"),
}


def tarred(*members: tarfile.TarInfo, mode: str = "w", body: bytes = b"No swimming.") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
        for member in members:
            member.size = len(body) if member.isfile() else 0
            tar.addfile(member, io.BytesIO(body))
    return buffer.getvalue()


FILES[Format.TAR] = ("a.tar", tarred(tarfile.TarInfo("a.txt")), "a.txt")


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(Parsing(workers=1, timeout_s=60, memory_mb=2048)) as running:
        yield running


@pytest.fixture
def read(pool: WorkerPool) -> Callable[..., Content]:
    return lambda content, name="", media_type="": decode(pool.parse(content, media_type, name), Content)


@pytest.fixture
def reason(pool: WorkerPool) -> Callable[..., str]:
    def _reason(content: bytes, name: str = "") -> str:
        with pytest.raises(DocumentError) as failure:
            pool.parse(content, "", name)
        assert failure.value.reason in REASONS
        return failure.value.reason

    return _reason


def outline(content: Content) -> list[tuple[str, str]]:
    return [(block.kind, block.text) for block in content.blocks]


def children(content: Content) -> dict[str, bytes | str]:
    return {child.path: child.reason or child.content for child in content.children}


# all formats


def test_every_format_has_a_file_here_and_a_row_in_the_page() -> None:
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \|$", PAGE.partition("\n## ")[0], re.MULTILINE)
    assert sorted(name for name, *_ in rows) == sorted(Format)
    assert FILES.keys() == set(Format)


@pytest.mark.parametrize("kind", [kind for kind in Format if kind is not Format.IMAGE])
def test_every_format_is_detected_and_read(read: Callable[..., Content], kind: Format) -> None:
    name, content, expected = FILES[kind]
    assert detect(content, "", name) is kind
    found = read(content, name)
    assert expected in [*(block.text for block in found.blocks), *(cell for block in found.blocks for row in block.rows for cell in row)]


def test_a_picture_without_text_or_without_text_recognition_is_refused(reason: Callable[..., str]) -> None:
    assert detect(picture().getvalue(), "", "") is Format.IMAGE
    assert reason(picture().getvalue(), "a.png") == ("no-text" if find_spec("rapidocr") else "missing-parser")


# content that is easily lost


def test_a_table_within_a_cell_is_kept_in_the_cell(read: Callable[..., Content]) -> None:
    document = docx.Document()
    outer = document.add_table(1, 2)
    outer.cell(0, 0).text = "outside"
    inner = outer.cell(0, 1).add_table(2, 2)
    for cell, text in zip((cell for row in inner.rows for cell in row.cells), ("part", "price", "rake", "12"), strict=True):
        cell.text = text
    (table,) = read(saved(document.save), "a.docx").blocks
    assert table.rows == (("outside", "part | price rake | 12"),)
    page = read(b"<table><tr><td>outside<td><table><tr><td>part<td>price<tr><td>rake<td>12</table></table>", "a.html")
    assert str(page).count("price") == 1


def test_alt_texts_generated_by_a_program_are_dropped(read: Callable[..., Content]) -> None:
    document = docx.Document()
    for description in ("plan v2.PNG", "A weir\n\nDescription automatically generated with low confidence", "The plan.png shows a weir"):
        document.add_picture(picture())
        document.paragraphs[-1]._p.find(f".//{qn('wp:docPr')}").set("descr", description)
    assert outline(read(saved(document.save), "a.docx")) == [("caption", "A weir"), ("caption", "The plan.png shows a weir")]


def test_numbers_of_steps_are_kept(read: Callable[..., Content]) -> None:
    page = read(b"<ol start=3><li>one<li>two</ol><ul><li>point</ul>", "a.html")
    assert outline(page) == [("list_item", "3. one"), ("list_item", "4. two"), ("list_item", "point")]
    source = b"3. one\n4. two\n\n* point\n\n(b) second\n(c) third\n"
    numbered = ["3. one", "4. two", "point", "(b) second", "(c) third"]
    assert outline(read(source, "a.rst")) == [("list_item", text) for text in numbered]


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("a.md", "A <placeholder> and an **un**breakable rule."),
        ("a.adoc", "= Rules\n\nAn **un**breakable rule."),
        ("a.vtt", "WEBVTT\n\n00:00.000 --> 00:02.000\nAn <b>un</b>breakable rule.\n"),
        ("a.nxml", ARTICLE.replace("No swimming.", "An <bold>un</bold>breakable rule.<fn><p>Note.</p></fn>")),
        ("a.tex", "\\documentclass{article}\n\\begin{document}\nAn \\textbf{un}breakable rule.\n\\end{document}\n"),
    ],
)
def test_a_partly_bold_word_is_one_word(read: Callable[..., Content], name: str, source: str) -> None:
    assert "unbreakable rule" in str(read(source.encode(), name))


def test_a_partly_italic_word_in_a_book_is_one_word(read: Callable[..., Content]) -> None:
    with zipfile.ZipFile(io.BytesIO(book())) as whole:
        members = {name: whole.read(name) for name in whole.namelist()}
    members["a.xhtml"] = members["a.xhtml"].replace(b"<i>twice</i>", b"t<i>wi</i>ce")
    assert ("paragraph", "Measure it twice.") in outline(read(zipped(members), "a.epub"))


def test_a_links_address_and_its_text_are_separate_words(read: Callable[..., Content]) -> None:
    source = "\\documentclass{article}\n\\begin{document}\n\\href{https://example.org/a}{The rules} hold.\n\\end{document}\n"
    assert outline(read(source.encode(), "a.tex")) == [("paragraph", "https://example.org/a The rules hold.")]


# the old office formats


def test_word_97(read: Callable[..., Content]) -> None:
    content = read(legacy("handbook.doc"), "a.doc")
    assert outline(content) == [
        ("heading", "Handbook"),
        ("heading", "First steps"),
        ("paragraph", "Grüße: the unbreakable rule, see the site"),
        ("list_item", "a point"),
        ("list_item", "a step"),
        ("table", ""),
        ("paragraph", "After the table, Ω and 日本."),
    ]
    assert content.blocks[2].links == (Link("the site", "https://example.org/rules"),)
    assert content.blocks[5].rows == (("part", "price"), ("rake", "12"))
    assert (content.title, content.properties["author"]) == ("Handbook", "Ada Pool")


def test_powerpoint_97(read: Callable[..., Content]) -> None:
    content = read(legacy("slides.ppt"), "a.ppt")
    assert [(block.kind, block.text, block.page) for block in content.blocks] == [
        ("heading", "Before water", 1),
        ("paragraph", "Coupling aligned", 1),
        ("heading", "After water", 2),
        ("paragraph", "Guide vanes closed: Ω", 2),
        ("paragraph", "Say it twice.", 2),
    ]


def test_excel_97(read: Callable[..., Content]) -> None:
    content = read(legacy("parts.xls"), "a.xls")
    assert outline(content) == [("heading", "Spare parts"), ("table", "")]
    assert content.blocks[1].rows == (("part", "price", "since"), ("rake", "12", "2026-03-01"), ("seal", "7.5", ""))


def test_a_legacy_office_file_is_refused_with_the_right_reason(reason: Callable[..., str]) -> None:
    whole = legacy("handbook.doc")
    start = whole.index(b"\xec\xa5", 512)
    assert reason(whole[: start + 2] + b"\x65\x00" + whole[start + 4 :], "a.doc") == "legacy-format"
    assert reason(whole[: start + 11] + bytes([whole[start + 11] | 1]) + whole[start + 12 :], "a.doc") == "encrypted-document"
    assert reason(whole[: start + 0x1A2] + b"\xff" * 8 + whole[start + 0x1AA :], "a.doc") == "corrupt-document"
    presented = legacy("slides.ppt")
    assert reason(presented.replace(b"\x5f\xc0\x91\xe3", b"\xdf\xc4\xd1\xf3"), "a.ppt") == "encrypted-document"


def test_a_summary_declaring_billions_of_properties_is_read_quickly(read: Callable[..., Content]) -> None:
    whole = legacy("handbook.doc")
    section = whole.index(b"\xfe\xff\x00\x00", 512) + 48
    assert read(whole, "a.doc").properties
    assert outline(read(whole[: section + 4] + b"\xff" * 4 + whole[section + 8 :], "a.doc"))[0] == ("heading", "Handbook")


@pytest.mark.parametrize("name", ["handbook.doc", "slides.ppt", "parts.xls"])
def test_a_damaged_office_file_always_yields_content_or_a_reason(pool: WorkerPool, name: str) -> None:
    whole = legacy(name)

    @settings(max_examples=25, deadline=None, database=None)
    @given(st.integers(512, len(whole) - 64), st.binary(min_size=1, max_size=64))
    def check(at: int, damage: bytes) -> None:
        try:
            pool.parse(whole[:at] + damage + whole[at + len(damage) :], "", name)
        except DocumentError as error:
            reasons.add(error.reason)

    reasons: set[str] = set()
    check()
    # calamine aborts the process if a damaged size exceeds the memory limit; the next document gets a new process
    crashes = {"parse-crashed"} if name == "parts.xls" else set()
    assert reasons <= {"corrupt-document", "encrypted-document", "legacy-format", "no-text", "unsupported-media-type"} | crashes


# plain text


POLISH = "Krata jest czyszczona przed nadejściem wody, a strażnik sprawdza jaz każdego ranka."
RUSSIAN = "Решётка очищается до прихода воды и проверяется смотрителем каждое утро."
JAPANESE = "水が来る前に格子を掃除し、毎朝、番人が堰を確認します。"


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        *((POLISH, encoding) for encoding in ("cp1250", "iso8859_2")),
        *((RUSSIAN, encoding) for encoding in ("cp1251", "koi8_r", "cp866")),
        *((JAPANESE, encoding) for encoding in ("cp932", "euc_jp", "iso2022_jp")),
        ("The rake is cleaned before the first water arrives.", "cp037"),
    ],
)
def test_the_encoding_of_plain_text_without_a_byte_order_mark_is_detected(read: Callable[..., Content], text: str, encoding: str) -> None:
    assert outline(read(text.encode(encoding), "a.txt")) == [("paragraph", text)]


# data


def test_json_is_read_as_fields_records_and_headings(read: Callable[..., Content]) -> None:
    source = {
        "title": "Weirs",
        "built": 1912,
        "gate": {"open": True, "height": 2.50},
        "parts": [{"name": "rake", "price": 12}, {"name": "seal", "price": 7, "maker": {"name": "ACME"}}],
        "rules": ["No swimming.", "No diving."],
        "notes": {"first": {"long": "x" * 300}, "second": None},
    }
    content = read(json.dumps(source).replace("2.5", "2.50").encode(), "a.json")
    assert [(block.kind, block.text, block.level) for block in content.blocks] == [
        ("paragraph", "title: Weirs\nbuilt: 1912\ngate.open: true\ngate.height: 2.50", 0),
        ("heading", "parts", 1),
        ("table", "", 0),
        ("paragraph", "rules: No swimming., No diving.", 0),
        ("heading", "notes", 1),
        ("paragraph", f"first.long: {'x' * 300}", 0),
    ]
    assert content.blocks[2].rows == (("name", "price", "maker.name"), ("rake", "12", ""), ("seal", "7", "ACME"))
    assert content.title == "Weirs"


def test_invalid_lines_of_json_lines_are_kept(read: Callable[..., Content]) -> None:
    content = read(b'{"a": 1, "b": "x"}\n{"a": 2, "b": "y"}\nbroken {\n', "a.jsonl")
    assert content.blocks[0].rows == (("a", "b"), ("1", "x"), ("2", "y"))
    assert outline(content)[1:] == [("list_item", "broken {")]


def test_invalid_json_and_xml_are_kept_as_code(read: Callable[..., Content]) -> None:
    assert outline(read(b"// a comment\n{}", "a.json")) == [("code", "// a comment\n{}")]
    assert outline(read(b"<a><b></a>", "a.xml")) == [("code", "<a><b></a>")]


def test_deeply_nested_json_is_refused(reason: Callable[..., str]) -> None:
    assert reason(b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "a.json") == "document-too-deep"


def test_xml_prose_is_prose_and_xml_data_is_data(read: Callable[..., Content]) -> None:
    source = (
        '<?xml version="1.0"?><book lang="en"><title>Weirs</title><chapter><title>Rules</title><para>No <b>swimming</b> here.</para>'
        "<programlisting>if x:\n    y()</programlisting></chapter>"
        "<parts><part id='1'><name>rake</name></part><part id='2'><name>seal</name></part></parts></book>"
    )
    content = read(source.encode(), "a.xml")
    assert [(block.kind, block.text, block.level) for block in content.blocks] == [
        ("paragraph", "lang: en", 0),
        ("heading", "Weirs", 1),
        ("heading", "Rules", 2),
        ("paragraph", "No swimming here.", 0),
        ("code", "if x:\n    y()", 0),
        ("heading", "parts", 2),
        ("heading", "part", 3),
        ("table", "", 0),
    ]
    assert content.blocks[-1].rows == (("id", "name"), ("1", "rake"), ("2", "seal"))


def test_xml_entities_are_not_resolved(read: Callable[..., Content], tmp_path: Path) -> None:
    (tmp_path / "secret").write_text(SECRET)
    source = f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file://{tmp_path}/secret">]>'
    source += '<a xmlns:xi="http://www.w3.org/2001/XInclude"><p>Before &x; after.</p>'
    source += f'<xi:include href="file://{tmp_path}/secret" parse="text"/></a>'
    content = read(source.encode(), "a.xml")
    assert ("paragraph", "Before &x; after.") in outline(content)
    assert SECRET not in str(content)


def test_nested_xml_entities_are_not_expanded(read: Callable[..., Content]) -> None:
    inside = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))
    content = read(f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY e0 "boom">{inside}]><a>&e9;</a>'.encode(), "a.xml")
    assert str(content).count("boom") <= 1


# mail


def test_attachments_and_forwarded_messages_become_children(read: Callable[..., Content]) -> None:
    inner = EmailMessage()
    inner["Subject"] = "Weir"
    inner.set_content("It is closed.")
    mail = EmailMessage()
    mail["From"], mail["Subject"] = "ada@example.org", "Fwd"
    mail.set_content("See below.")
    mail.add_attachment(word(), maintype="application", subtype="octet-stream", filename="../hand/book.docx")
    mail.add_attachment("again", filename="notes.txt")
    mail.add_attachment("other", filename="notes.txt")
    mail.add_attachment(inner)
    content = read(mail.as_bytes(), "a.eml")
    assert [child.path for child in content.children] == [".._hand_book.docx", "notes.txt", "notes.txt (2)", "Weir.eml"]
    assert content.children[0].content == word() or detect(content.children[0].content, "", "") is Format.DOCX
    assert outline(read(content.children[3].content, "Weir.eml")) == [("heading", "Weir"), ("paragraph", "It is closed.")]
    assert ("paragraph", "It is closed.") not in outline(content)


def test_signatures_and_inline_pictures_are_counted(read: Callable[..., Content]) -> None:
    mail = EmailMessage()
    mail["Subject"] = "Weir"
    mail.set_content("See below.")
    mail.add_related(picture().getvalue(), maintype="image", subtype="png", cid="<logo>")
    mail.add_attachment(b"\x30\x82", maintype="application", subtype="pkcs7-signature", filename="smime.p7s")
    content = read(mail.as_bytes(), "a.eml")
    assert content.signals.dropped == {"pictures-within-the-text": 1, "signatures": 1}


def test_attachments_of_outlook_become_children(read: Callable[..., Content]) -> None:
    content = read(outlook("Grüße", "The rake is clean.", {"note.txt": b"Closed.", "scan.bin": b"x" * 9000}), "a.msg")
    assert children(content) == {"note.txt": b"Closed.", "scan.bin": b"x" * 9000}
    assert outline(content)[0] == ("heading", "Grüße")
    assert outline(content)[-2:] == [("list_item", "note.txt"), ("list_item", "scan.bin")]


# archives


def test_members_of_a_zip_become_children_and_their_names_become_text(read: Callable[..., Content]) -> None:
    content = read(zipped({"a/rules.txt": "No swimming.", "b.docx": word(), "__MACOSX/._b": "x", "empty": ""}), "a.zip")
    assert [child.path for child in content.children] == ["a/rules.txt", "b.docx", "empty"]
    assert outline(content) == [("list_item", "a/rules.txt"), ("list_item", "b.docx"), ("list_item", "empty")]
    assert content.signals.dropped == {"leftover-files": 1}


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_members_of_a_compressed_tar_become_children(read: Callable[..., Content], compress: Callable[[bytes], bytes]) -> None:
    link = tarfile.TarInfo("link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    content = read(compress(tarred(tarfile.TarInfo("a/rules.txt"), link)), "a.tar.any")
    assert children(content) == {"a/rules.txt": b"No swimming."}
    assert content.signals.dropped == {"links-and-devices": 1}


def test_a_single_compressed_file_is_a_child_with_its_name(read: Callable[..., Content]) -> None:
    buffer = io.BytesIO()
    with gzip.GzipFile("rules.txt", "wb", fileobj=buffer) as file:
        file.write(b"No swimming.")
    assert children(read(buffer.getvalue(), "a.gz")) == {"rules.txt": b"No swimming."}


def encrypted(whole: bytes, name: str) -> bytes:
    """The archive with the member's encryption flag set in both of its headers."""
    out = bytearray(whole)
    for at in (match.start() for match in re.finditer(re.escape(name.encode()), whole)):
        for start, flags in ((at - 30, 6), (at - 46, 8)):
            if whole[start : start + 4] in (b"PK\x03\x04", b"PK\x01\x02"):
                out[start + flags] |= 1
    return bytes(out)


def test_an_encrypted_or_broken_member_fails_alone(read: Callable[..., Content], reason: Callable[..., str]) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as zipfile_:
        for name, body in (("open.txt", "open"), ("locked.txt", "locked"), ("broken.txt", "BODY-OF-THE-BROKEN")):
            zipfile_.writestr(name, body)
    whole = encrypted(buffer.getvalue(), "locked.txt").replace(b"BODY-OF-THE-BROKEN", b"body-of-the-broken")
    assert children(read(whole, "a.zip")) == {"open.txt": b"open", "locked.txt": "encrypted-document", "broken.txt": "corrupt-document"}
    assert reason(encrypted(zipped({"locked.txt": "x"}), "locked.txt"), "a.zip") == "encrypted-document"


def test_archive_bombs_and_oversized_archives_are_refused(reason: Callable[..., str]) -> None:
    zeros = bytes(3 << 20)
    assert reason(zipped({"zeros": zeros}), "a.zip") == "archive-bomb"
    assert reason(gzip.compress(zeros), "a.gz") == "archive-bomb"
    assert reason(bz2.compress(zeros), "a.bz2") == "archive-bomb"
    assert reason(lzma.compress(zeros), "a.xz") == "archive-bomb"
    assert reason(zipped({f"{n}.txt": "x" for n in range(archive.MOST_MEMBERS + 1)}), "a.zip") == "archive-too-large"
    sparse = tarfile.TarInfo("huge")
    sparse.size = archive.MOST_BYTES + 1
    assert reason(sparse.tobuf() + bytes(1024), "a.tar") == "archive-too-large"


def test_broken_archives_have_reasons(reason: Callable[..., str]) -> None:
    whole = zipped({"a.txt": "No swimming." * 100})
    assert reason(whole[:60], "a.zip") == "corrupt-document"
    assert reason(gzip.compress(b"No swimming." * 100)[:30], "a.gz") == "corrupt-document"
    assert reason(tarred(tarfile.TarInfo("a"), body=b"x" * 5000)[:2000], "a.tar") == "corrupt-document"


NAMES = st.lists(st.text(alphabet=st.one_of(st.characters(), st.sampled_from("./\\!: C\0\n\u202ee\u0301\u00e9")), max_size=30), max_size=12)


@given(NAMES)
def test_member_paths_are_always_relative_and_unique(names: list[str]) -> None:
    found = list(archive.paths(names))
    assert len(found) == len({normalize("NFC", path) for path in found}) == len(names)
    for path in found:
        assert path
        assert path.isprintable()
        assert not path.startswith("/")
        assert "!/" not in path
        assert not {"", ".", ".."} & set(path.split("/"))


# nothing is fetched or executed


def test_fields_and_links_that_would_execute_or_fetch_are_plain_text(read: Callable[..., Content]) -> None:
    table = read(b"name,value\nx,\"=cmd|' /C calc'!A0\"\n", "a.csv")
    assert table.blocks[0].rows[1] == ("x", "=cmd|' /C calc'!A0")
    with zipfile.ZipFile(io.BytesIO(word())) as whole:
        members = {name: whole.read(name) for name in whole.namelist()}
    field = (
        '<w:p><w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>DDEAUTO c:\\\\windows\\\\cmd.exe "/k calc"</w:instrText></w:r>'
    )
    field += '<w:r><w:fldChar w:fldCharType="separate"/></w:r><w:r><w:t>shown</w:t></w:r><w:r><w:fldChar w:fldCharType="end"/></w:r></w:p>'
    members["word/document.xml"] = members["word/document.xml"].replace(b"<w:body>", b"<w:body>" + field.encode())
    content = read(zipped(dict(members)), "a.docx")
    assert ("paragraph", "shown") in outline(content)
    assert "calc" not in str(content)
    page = read(
        b"<p onclick='x()'>Text <a href='javascript:alert(1)'>here</a><svg onload='x()'></svg><object data='a.swf'></object>", "a.html"
    )
    assert outline(page) == [("paragraph", "Text here")]


# signals

DE = (
    "Der Rechen wird gereinigt, bevor das Wasser kommt. Die Größe der Öffnung und die Höhe der Wehrkrone hängen über die Mühle zusammen. "
    * 3
)
EN = "The rake is cleaned before the first water arrives, and the keeper checks the weir every morning before breakfast. " * 3
RU = "Решётка очищается до прихода воды и проверяется смотрителем каждое утро. " * 5
JA = "水が来る前に格子を掃除し、毎朝、番人が堰を確認します。" * 12


def measured(text: str) -> Content:
    return measure(Content(blocks=(Block("paragraph", text),)))


@pytest.mark.parametrize(
    ("text", "language"), [(DE, "de"), (EN, "en"), (RU, "ru"), (JA, "ja"), ("Too short.", ""), ("def f(x): f(x+1)\n" * 40, "")]
)
def test_language_is_identified_if_there_is_enough_text(text: str, language: str) -> None:
    assert measured(text).language == language


@pytest.mark.parametrize("text", [DE, EN, RU, JA])
def test_ordinary_text_of_any_language_is_not_quarantined(text: str) -> None:
    signals = measured(text).signals
    assert signals.characters == len(text)
    assert signals.replaced == 0
    assert signals.wordlike is None or signals.wordlike > 0.95
    assert quarantine(signals, Reading()) is None


@pytest.mark.parametrize(
    "garbage",
    [
        DE.encode().decode("cp1252", "replace"),
        RU.encode().decode("latin-1"),
        DE.encode("ascii", "replace").decode().replace("?", "\ufffd"),
        EN.translate({ord(char): f"(cid:{ord(char)})" for char in "aeiou"}),
        EN.translate({char: 0xF000 + char for char in range(65, 123)}),
        "".join(char if char == " " else "~1l|{;}xq"[at * 7 % 9] for at, char in enumerate(EN)),
        "".join(char if char == " " else "!\"#$%&'()*+"[at * 7 % 11] for at, char in enumerate(EN)),
    ],
    ids=["utf-8-as-1252", "utf-8-as-latin-1", "replaced", "cid", "symbol-font", "doubtful-letters", "signs"],
)
def test_garbage_is_quarantined(garbage: str) -> None:
    assert quarantine(measured(garbage).signals, Reading()) == "low-quality-text"


def test_thresholds_are_those_of_the_tenant() -> None:
    sparse, doubtful = Signals(characters=900, pages=10, empty_pages=9), Signals(characters=900, ocr_confidence=0.4)
    assert quarantine(sparse, Reading()) == "mostly-empty-pages"
    assert quarantine(sparse, Reading(most_empty_pages=0.9)) is None
    assert quarantine(doubtful, Reading()) == "low-ocr-confidence"
    assert quarantine(doubtful, Reading(least_ocr_confidence=0.3)) is None
    assert quarantine(measured(DE.encode().decode("cp1252", "replace")).signals, Reading(most_replaced=1, least_wordlike=0)) is None


def test_tables_without_a_filled_cell_are_counted_and_dropped() -> None:
    content = measure(Content(blocks=(Block("table", rows=(("", ""),)), Block("table", rows=(("a", ""),), page=3))))
    assert (len(content.blocks), content.signals.empty_tables, content.signals.pages) == (1, 1, 3)


def test_signals_set_by_a_reader_are_kept() -> None:
    own = Signals(pages=4, empty_pages=1, grades={"layout": 4}, dropped={"footer": 3}, ocr_confidence=0.9)
    signals = measure(Content(blocks=(Block("paragraph", "Text."),), signals=own, language="fi")).signals
    assert (signals.pages, signals.empty_pages, signals.grades, signals.dropped, signals.ocr_confidence) == (
        4,
        1,
        {"layout": 4},
        {"footer": 3},
        0.9,
    )


@pytest.mark.parametrize(
    "word_", ["Rechtschreibung", "čtvrt", "d'été", "well-known", "Ψυχή", "слово", "日本語", "النص", "NATO", "naïve", "(water),"]
)
def test_words_of_many_languages_are_wordlike(word_: str) -> None:
    assert is_wordlike(word_) is True


@pytest.mark.parametrize("piece", ["rn1ll", "fÃ¼r", "xkqzt", "Gr??e", "aaaa", "waTEr", "#$%&(", "ﬁ\ufffdsh"])
def test_garbage_is_not_wordlike(piece: str) -> None:
    assert is_wordlike(piece) is False


@pytest.mark.parametrize(
    "piece", ["12,5", "2026-03-01", "a@example.org", "https://example.org", "x", "snake_case", "-----", "utf8", "f(x)"]
)
def test_numbers_addresses_and_code_are_not_judged(piece: str) -> None:
    assert is_wordlike(piece) is None


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=400))
def test_measuring_never_fails_and_is_deterministic(text: str) -> None:
    first = measured(text)
    assert first == measured(text)
    assert 0 <= (first.signals.wordlike or 0) <= 1
    assert first.signals.replaced <= first.signals.characters
