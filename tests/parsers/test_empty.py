"""An empty document is read as one without blocks; a document that could not be read is never taken for an empty one (docs/formats.md)."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import re
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from email.message import EmailMessage
from pathlib import Path
from types import MappingProxyType

import docx
import openpyxl
import pptx
import pytest
from fpdf import FPDF
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from core.config import Parsing
from core.errors import DocumentError
from core.policy import Reading
from core.records import Content, Signals, decode
from parsers import Format, WorkerPool, detect, unread
from parsers.docling.web import markdown
from parsers.pdf.reader import read as read_pdf
from parsers.reasons import ParseError
from parsers.signals import quarantine
from tests.documents import book, legacy, open_text, picture, printed, saved, sheets, slides, word, zipped

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).parents[2] / "docs/formats.md").read_text(encoding="utf-8")
NEVER_EMPTY = {Format.DOC, Format.PPT, Format.XLS, Format.OUTLOOK, Format.IMAGE}


@pytest.fixture(scope="module")
def pool() -> Iterator[WorkerPool]:
    with WorkerPool(Parsing(workers=1, timeout_s=60, memory_mb=2048)) as running:
        yield running


Outcome = Callable[[bytes, str], "Content | str"]


@pytest.fixture(scope="module")
def outcome(pool: WorkerPool) -> Outcome:
    """The content, or the reason why there is none."""

    def _outcome(content: bytes, name: str) -> Content | str:
        try:
            return decode(pool.parse(content, "", name, Reading()), Content)
        except DocumentError as error:
            return error.reason

    return _outcome


def written(*draw: Callable[[FPDF], object], pages: int = 1) -> bytes:
    document = FPDF()
    document.set_font("helvetica", size=12)
    for _ in range(pages):
        document.add_page()
        for step in draw:
            step(document)
    return bytes(document.output())


def texted(change: Callable[[docx.document.Document], object] = lambda _: None) -> bytes:
    document = docx.Document()
    change(document)
    return saved(document.save)


def presented(change: Callable[[pptx.presentation.Presentation], object] = lambda _: None) -> bytes:
    presentation = pptx.Presentation()
    change(presentation)
    return saved(presentation.save)


def calculated(change: Callable[[openpyxl.Workbook], object] = lambda _: None) -> bytes:
    workbook = openpyxl.Workbook()
    change(workbook)
    return saved(workbook.save)


def edited(whole: bytes, members: Mapping[str, str | bytes] = MappingProxyType({}), without: str = "") -> bytes:
    """The archive with other members, and without those whose name begins with `without`."""
    with zipfile.ZipFile(io.BytesIO(whole)) as archive:
        kept = {name: archive.read(name) for name in archive.namelist() if not (without and name.startswith(without))}
    return zipped({**kept, **members})


def chapter(body: str) -> bytes:
    return edited(book(), {"a.xhtml": f"<html xmlns='http://www.w3.org/1999/xhtml'><body>{body}</body></html>"})


def opened(kind: str, body: str) -> bytes:
    """An ODF document of this kind ([ODF 1.2] 3.1)."""
    prefixes = {"office": "office", "text": "text", "table": "table", "draw": "drawing"}
    spaces = " ".join(f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{space}:1.0"' for name, space in prefixes.items())
    content = f'<office:document-content {spaces} office:version="1.2"><office:body><office:{kind}>{body}</office:{kind}></office:body>'
    manifest = '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>'
    media_type = f"application/vnd.oasis.opendocument.{kind}"
    return zipped({"mimetype": media_type, "content.xml": f"{content}</office:document-content>", "META-INF/manifest.xml": manifest})


def archived(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, body in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            tar.addfile(member, io.BytesIO(body))
    return buffer.getvalue()


def page_of(body: str) -> str:
    head = 'MIME-Version: 1.0\nContent-Type: multipart/related; boundary="x"; type="text/html"\n\n--x\nContent-Type: text/html\n\n'
    return f"{head}{body}\n--x--\n"


def mailed(attachments: Mapping[str, bytes]) -> bytes:
    mail = EmailMessage()
    mail["Subject"] = "Weir"
    mail.set_content("")
    for name, content in attachments.items():
        mail.add_attachment(content, maintype="application", subtype="octet-stream", filename=name)
    return mail.as_bytes()


def with_picture() -> bytes:
    mail = EmailMessage()
    mail.set_content("")
    mail.add_related(picture().getvalue(), maintype="image", subtype="png", cid="<scan>")
    return mail.as_bytes()


def noise() -> io.BytesIO:
    return io.BytesIO(saved(lambda buffer: Image.effect_noise((300, 200), 80).convert("RGB").save(buffer, "PNG")))


EMPTY: Mapping[Format, list[bytes]] = {
    Format.TEXT: [
        *(b"", b" \n\t\r\n\v", b"\xef\xbb\xbf", "\ufeff \n".encode("utf-16"), " \n \n".encode("utf-16-le")),
        "\u00a0\u200b".encode(),
    ],
    Format.CODE: [b"", b"\n\n"],
    Format.MARKDOWN: [
        *(b"<!-- cleared -->", b"---\ntitle: Weir\n---\n", b'+++\ntitle = "Weir"\n+++\n', b"![](logo.png)\n", b"---\n\n***\n"),
        *(b"#\n\n- \n", b"```\n```\n", b"| | |\n|-|-|\n| | |\n", b"[weir]: http://example.org\n", b"<br>\n&nbsp;\n"),
        b"[](http://example.org)\n",
    ],
    Format.HTML: [
        *(b"<html><body><img src='x.png'></body></html>", b"<!doctype html>", b"<p>&nbsp;</p>", b"<!-- cleared -->"),
        b"<html><head><title>Weir</title></head><body></body></html>",
        b"<html><body><nav>Home</nav><script>x()</script><footer>Imprint</footer></body></html>",
    ],
    Format.RESTRUCTURED: [b".. cleared\n", b".. image:: logo.png\n", b".. toctree::\n\n   weir\n"],
    Format.ASCIIDOC: [b"// cleared\n", b"////\ncleared\n////\n", b":toc:\n", b"image::logo.png[]\n"],
    Format.LATEX: [b"\\documentclass{article}\n\\begin{document}\n\\end{document}\n", b"% cleared\n"],
    Format.CSV: [b",,,\n,,,\n", b'"",""\n', b" ; \n"],
    Format.JSON: [b"null", b"{}", b"[]", b'""', b'{"a": null, "b": [{"c": null}, {"d": {}}], "e": {"f": [[""]]}}'],
    Format.JSON_LINES: [b"{}\n\n[]\n"],
    Format.XML: [b"<a/>", b"<a><b><c/></b><!-- cleared --></a>", b"<a><title/><p> </p></a>"],
    Format.JATS: [b'<article article-type="research-article"><front/><body/></article>'],
    Format.VTT: [b"WEBVTT\n", b"WEBVTT\n\nNOTE cleared\n", b"WEBVTT\n\n00:00.000 --> 00:02.000\n\n"],
    Format.SUBRIP: [b"1\n00:00:00,000 --> 00:00:02,000\n\n"],
    Format.EMAIL: [b"MIME-Version: 1.0\nContent-Type: text/plain\n\n \n"],
    Format.MHTML: [page_of("<html><body><img src='cid:1'></body></html>").encode()],
    Format.DOCX: [
        *(texted(), texted(lambda document: document.add_paragraph(" ")), texted(lambda document: document.add_table(2, 2))),
        texted(lambda document: document.sections[0].header.paragraphs[0].add_run("head").add_picture(picture())),
    ],
    Format.PPTX: [presented(), presented(lambda presentation: presentation.slides.add_slide(presentation.slide_layouts[1]))],
    Format.XLSX: [calculated(), calculated(lambda workbook: setattr(workbook.active["B2"], "number_format", "0.0"))],
    Format.ODT: [opened("text", ""), opened("text", "<text:p/>")],
    Format.ODS: [
        opened("spreadsheet", '<table:table table:name="One"><table:table-row><table:table-cell/></table:table-row></table:table>')
    ],
    Format.ODP: [opened("presentation", '<draw:page draw:name="page1"/>')],
    Format.EPUB: [chapter(""), chapter("<p>&#160;</p>")],
    Format.PDF: [
        *(written(pages=3), written(lambda pdf: pdf.text(50, 50, "   "))),
        # running page numbers alone, and a white ground
        written(lambda pdf: pdf.text(100, 290, str(pdf.page_no())), pages=4),
        written(lambda pdf: pdf.set_fill_color(255), lambda pdf: pdf.rect(0, 0, 210, 297, style="F")),
    ],
    Format.ZIP: [zipped({}), zipped({"folder/": ""}), zipped({"__MACOSX/._a": "x"})],
    Format.TAR: [archived({})],
    Format.COMPRESSED: [gzip.compress(archived({})), bz2.compress(archived({})), lzma.compress(archived({}))],
}
EXTENSIONS: Mapping[Format, str] = {
    Format.TEXT: "txt",
    Format.CODE: "py",
    Format.MARKDOWN: "md",
    Format.RESTRUCTURED: "rst",
    Format.ASCIIDOC: "adoc",
    Format.LATEX: "tex",
    Format.SUBRIP: "srt",
    Format.EMAIL: "eml",
    Format.MHTML: "mht",
    Format.COMPRESSED: "gz",
}


def name_of(kind: Format) -> str:
    return f"a.{EXTENSIONS.get(kind, kind.value)}"


def test_every_format_can_be_empty_or_never_is_and_the_page_says_which() -> None:
    assert EMPTY.keys() | NEVER_EMPTY == set(Format)
    assert not EMPTY.keys() & NEVER_EMPTY
    rows = re.findall(r"^\| (`.+?`) \| (.+?) \| .+? \|$", PAGE.partition("## Empty documents")[2].partition("\n## ")[0], re.MULTILINE)
    said = {name: empty for names, empty in rows for name in re.findall(r"`(\w+)`", names)}
    assert said.keys() == set(Format)
    assert {name for name, empty in said.items() if empty == "never"} == NEVER_EMPTY


@pytest.mark.parametrize("kind", EMPTY)
def test_a_document_without_text_is_empty(outcome: Outcome, kind: Format) -> None:
    for content in EMPTY[kind]:
        read = outcome(content, name_of(kind))
        assert isinstance(read, Content), (read, content[:80])
        assert (read.blocks, read.children, read.signals.characters) == ((), (), 0), content[:80]


@pytest.mark.parametrize("kind", [kind for kind in EMPTY if kind not in {Format.TEXT, Format.CODE}])
def test_the_files_of_empty_documents_are_of_their_format(kind: Format) -> None:
    assert {detect(content, "", name_of(kind)) for content in EMPTY[kind]} == {kind}


def hide_the_first_sheet(workbook: openpyxl.Workbook) -> None:
    workbook.active.append(["Weir"])
    workbook.active.sheet_state = "hidden"
    workbook.active = workbook.create_sheet("shown")


UNREAD = {
    "picture.docx": (texted(lambda document: document.add_picture(picture())), "no-text"),
    "picture.pptx": (
        presented(lambda presentation: presentation.slides.add_slide(presentation.slide_layouts[6]).shapes.add_picture(picture(), 0, 0)),
        "no-text",
    ),
    "formula.xlsx": (calculated(lambda workbook: workbook.active.append(["=A2+1"])), "no-text"),
    "hidden.xlsx": (
        calculated(hide_the_first_sheet),
        "no-text",
    ),
    "picture.odt": (opened("text", "<text:p><draw:frame><draw:image/></draw:frame></text:p>"), "no-text"),
    "picture.odp": (opened("presentation", '<draw:page draw:name="page1"><draw:frame><draw:image/></draw:frame></draw:page>'), "no-text"),
    "picture.epub": (chapter("<img src='a.png'/>"), "no-text"),
    "picture.pdf": (written(lambda pdf: pdf.image(noise(), 0, 0, 100)), "no-text"),
    "drawing.pdf": (written(lambda pdf: pdf.line(10, 10, 50, 50)), "no-text"),
    "one blank page.pdf": (written(lambda pdf: pdf.page_no() == 2 and pdf.line(10, 10, 50, 50), pages=3), "no-text"),
    "picture.eml": (with_picture(), "no-text"),
    "slides are missing.pptx": (edited(slides(), without="ppt/slides/"), "corrupt-document"),
    "a slide is broken.pptx": (edited(slides(), {"ppt/slides/slide1.xml": "<a", "ppt/slides/slide2.xml": "<a"}), "corrupt-document"),
    "sheets are missing.xlsx": (edited(sheets(), without="xl/worksheets/"), "corrupt-document"),
    "a sheet is broken.xlsx": (edited(sheets(), {"xl/worksheets/sheet1.xml": "<a"}), "corrupt-document"),
    "the body is missing.docx": (edited(word(), without="word/document.xml"), "corrupt-document"),
    "a chapter is missing.epub": (edited(book(), without="a.xhtml"), "corrupt-document"),
    "the package is missing.epub": (edited(book(), without="book.opf"), "corrupt-document"),
    "nothing.pdf": (b"", "empty-document"),
    "blank.docx": (b" \n", "empty-document"),
    "nothing.zip": (b"", "empty-document"),
    "zeros.txt": (bytes(4096), "corrupt-document"),
    "controls.txt": (b"\x01\x02\x1f", "unsupported-media-type"),
    "cut off.html": (b"<html><head><title>Weir</title></head>", "corrupt-document"),
    "cut off in a comment.html": (b"<html><body><!-- The rake </body></html>", "corrupt-document"),
    "cut off in a comment.md": (b"<!-- note\n\nThe rake is clean.\n", "corrupt-document"),
    "cut off in a script.html": (b"<div></div><script>var text = '", "corrupt-document"),
    "written by a script.html": (
        b"<html><body><div id=root></div><noscript>Enable JavaScript.</noscript><script>x()</script></body></html>",
        "no-text",
    ),
    "cut off.mht": (page_of("<html><body><sty").encode(), "corrupt-document"),
    "cut off.gz": (gzip.compress(b"")[:-4], "corrupt-document"),
    "picture.png": (picture().getvalue(), "no-text"),
}


@pytest.mark.parametrize("name", UNREAD)
def test_a_document_that_could_not_be_read_is_not_taken_for_an_empty_one(outcome: Outcome, name: str) -> None:
    content, reason = UNREAD[name]
    assert outcome(content, name) == reason


@pytest.mark.parametrize("kind", sorted(NEVER_EMPTY))
def test_readers_that_cannot_tell_never_call_a_document_empty(kind: Format) -> None:
    with pytest.raises(ParseError) as failure:
        unread.refuse(kind, b"", Content(blocks=()))
    assert failure.value.reason == "no-text"


TEXTS: Mapping[str, bytes] = {
    "a.pdf": printed(),
    "a.docx": word(),
    "a.pptx": slides(),
    "a.xlsx": sheets(),
    "a.odt": open_text(),
    "a.epub": book(),
    "a.doc": legacy("handbook.doc"),
    "a.zip": zipped({"a.txt": "The rake is clean."}),
    "a.tar.gz": gzip.compress(archived({"a.txt": b"The rake is clean."})),
    "a.html": b"<html><head><title>Weir</title><style>p {}</style></head><body><!-- x --><p>The rake is clean.</p></body></html>",
}


def test_the_beginning_of_a_document_with_text_is_never_empty(outcome: Outcome) -> None:
    @settings(max_examples=120)
    @given(name=st.sampled_from(sorted(TEXTS)), share=st.floats(0, 1, exclude_max=True))
    def check(name: str, share: float) -> None:
        length = max(1, int(share * len(TEXTS[name])))
        read = outcome(TEXTS[name][:length], name)
        assert isinstance(read, str) or read.blocks

    check()


CLEARED = ("<!-- cleared -->", "![](logo.png)", "---", " ", "<br>", "- ", "#", "&nbsp;", "[a]: http://example.org", "```\n```")
INVISIBLE = st.lists(st.sampled_from(CLEARED)).map(lambda pieces: "".join(f"{piece}\n\n" for piece in pieces))


@given(before=INVISIBLE, after=INVISIBLE, front=st.sampled_from(["", "---\ntitle: Weir\n---\n"]))
def test_markdown_is_empty_exactly_if_nothing_of_it_is_seen(before: str, after: str, front: str) -> None:
    assert markdown((front + before + after).encode()).blocks == ()
    seen = markdown(f"{front}{before}The rake is clean.\n\n{after}".encode()).blocks
    assert [block.text for block in seen] == ["The rake is clean."]


def test_empty_members_of_archives_and_messages_are_documents(outcome: Outcome) -> None:
    files = {"nothing.txt": b"", "blank.md": b" \n"}
    for content, name in ((zipped(files), "a.zip"), (archived(files), "a.tar"), (mailed(files), "a.eml")):
        read = outcome(content, name)
        assert isinstance(read, Content)
        assert {child.path: (child.content, child.reason) for child in read.children} == {path: (body, "") for path, body in files.items()}
    for compress in (gzip.compress, bz2.compress, lzma.compress):
        read = outcome(compress(b""), "a.any")
        assert isinstance(read, Content)
        assert [(child.content, child.reason) for child in read.children] == [(b"", "")]


def test_comments_of_asciidoc_are_not_text_and_slashes_in_a_listing_are(outcome: Outcome) -> None:
    read = outcome(b"= Weir\n\n// cleared\nThe rake\n// cleared\nis clean.\n\n----\n// kept\n----\n\n////\ncleared\n////\n", "a.adoc")
    assert isinstance(read, Content)
    assert [block.text for block in read.blocks] == ["Weir", "The rake is clean.", "// kept"]


def test_front_matter_in_toml_is_properties(outcome: Outcome) -> None:
    read = outcome(b'+++\ntitle = "Weir"\ntags = ["rake", "apron"]\n[menu]\nweight = 1\n+++\nClean.\n', "a.md")
    assert isinstance(read, Content)
    assert (read.title, read.properties) == ("Weir", {"title": "Weir", "tags": "rake, apron"})
    assert [block.text for block in read.blocks] == ["Clean."]


def test_a_name_with_nothing_below_it_is_not_text(outcome: Outcome) -> None:
    """A program names the sheets and slides of every file, and an empty field's name says nothing."""
    read = outcome(calculated(lambda workbook: workbook.create_sheet("Parts").append(["rake"])), "a.xlsx")
    assert isinstance(read, Content)
    assert [block.text or block.rows for block in read.blocks] == ["Parts", (("rake",),)]


@pytest.mark.usefixtures("without_ocr")
@pytest.mark.parametrize("grade", ["text", "layout"])
def test_a_scan_without_text_recognition_is_refused_and_a_blank_page_is_empty(grade: str) -> None:
    for content in EMPTY[Format.PDF]:
        assert read_pdf(content, grade).blocks == ()
    with pytest.raises(ParseError) as failure:
        read_pdf(UNREAD["picture.pdf"][0], grade)
    assert failure.value.reason == "no-text-layer"


def test_pages_of_a_file_that_was_repaired_are_not_taken_for_blank_ones() -> None:
    """The page and its tree come before the content in many files: without the end of the file, the page is found and is blank."""
    objects = [
        "<</Type/Catalog/Pages 2 0 R>>",
        "<</Type/Pages/Kids[3 0 R]/Count 1>>",
        "<</Type/Page/Parent 2 0 R/MediaBox[0 0 99 99]/Contents 4 0 R>>",
    ]
    cut = "%PDF-1.4\n" + "".join(f"{number} 0 obj{body}endobj\n" for number, body in enumerate(objects, 1)) + "trailer<</Root 1 0 R>>\n"
    with pytest.raises(ParseError) as failure:
        read_pdf(cut.encode())
    assert failure.value.reason == "no-text"


@given(pages=st.integers(0, 99), empty=st.integers(0, 99), share=st.floats(0, 1))
def test_no_threshold_puts_an_empty_document_aside(pages: int, empty: int, share: float) -> None:
    signals = Signals(pages=pages, empty_pages=min(pages, empty))
    assert quarantine(signals, Reading(most_empty_pages=share, least_wordlike=share, most_replaced=share)) is None
