"""Documents with a canary in every field: office files, books, Outlook messages, PDFs, pictures and archives."""

from __future__ import annotations

import bz2
import gzip
import io
import struct
import tarfile
import zipfile
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import docx
import openpyxl
import pptx
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.text.paragraph import Paragraph
from fpdf import FPDF
from openpyxl.cell.rich_text import CellRichText, TextBlock
from openpyxl.cell.text import InlineFont
from openpyxl.comments import Comment
from openpyxl.workbook.defined_name import DefinedName
from openpyxl.worksheet.datavalidation import DataValidation
from PIL import Image
from PIL.PngImagePlugin import PngInfo
from pptx.chart.data import CategoryChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from tests import documents
from tests.canaries import canary_documents
from tests.canaries.values import FieldCanaries
from tests.documents import compound, picture, saved, zipped

_CORE = ("title", "author", "subject", "keywords", "comments", "category", "last_modified_by", "content_status", "identifier", "version")
_NOW = datetime(2026, 3, 3, tzinfo=UTC).replace(tzinfo=None)


def with_members(content: bytes, change: Callable[[dict[str, bytes]], Mapping[str, bytes]]) -> bytes:
    """The archive with members added or changed."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    return zipped({**members, **change(members)})


def _custom(canary: FieldCanaries) -> bytes:
    """Office's part for custom properties."""
    space = "http://schemas.openxmlformats.org/officeDocument/2006/"
    return f"""<?xml version="1.0"?><Properties xmlns="{space}custom-properties" xmlns:vt="{space}docPropsVTypes">
<property fmtid="{{D5CDD505-2E9C-101B-9397-08002B2CF9AE}}" pid="2" name="{canary("custom property name")}">
<vt:lpwstr>{canary("custom property")}</vt:lpwstr></property></Properties>""".encode()


def _office(canary: FieldCanaries, content: bytes) -> bytes:
    company = f"<?xml version='1.0'?><Properties><Company>{canary('company')}</Company><Manager>{canary('manager')}</Manager></Properties>"
    return with_members(content, lambda _: {"docProps/custom.xml": _custom(canary), "docProps/own.xml": company.encode()})


def word(canary: FieldCanaries) -> bytes:
    document = docx.Document()
    for name in _CORE:
        setattr(document.core_properties, name, canary(f"property {name}"))
    document.sections[0].header.paragraphs[0].text = canary("header")
    document.sections[0].footer.paragraphs[0].text = canary("footer")
    document.add_heading(f"Weir of {canary('title')}", 0)
    document.add_heading(f"Part of {canary('heading')}", 1)
    paragraph = document.add_paragraph(canary.words("paragraph"))
    bold, rest = canary.halves("bold in the middle")
    paragraph.add_run(f" By {bold[:6]}").bold = True
    paragraph.add_run(bold[6:]).italic = True
    paragraph.add_run(f"{rest} too.")
    for text in canary.disguised("text"):
        document.add_paragraph(f"Seen {text} here.")
    document.add_comment(paragraph.runs, text=f"Says {canary('comment')}", author=canary("comment's author"), initials=canary("initials"))
    documents._add_link(paragraph, f"Write to {canary('link text')}", f"mailto:{canary('link')}")
    hidden = document.add_paragraph().add_run(canary("hidden text"))
    hidden.font.hidden = True
    document.add_paragraph(f"item of {canary('list item')}", style="List Bullet")
    _revised(document.add_paragraph("Revised: "), canary)
    document.add_picture(picture())
    properties = document.paragraphs[-1]._p.find(f".//{qn('wp:docPr')}")
    properties.set("descr", f"Photo of {canary('alt')}")
    properties.set("title", canary("picture title"))
    properties.set("name", canary("picture name"))
    grid = document.add_table(2, 2)
    for cell, text in zip((cell for row in grid.rows for cell in row.cells), ("table header", "n", "cell", "x"), strict=True):
        cell.text = canary.words(text)
    grid.cell(1, 1).add_table(1, 1).cell(0, 0).text = canary("nested table")
    return _office(canary, saved(document.save))


def _revised(paragraph: Paragraph, canary: FieldCanaries) -> None:
    """Tracked deletions and insertions, a field's instruction, and a bookmark."""
    pieces = (("w:del", "w:delText", "deleted text"), ("w:ins", "w:t", "inserted text"), ("w:fldSimple", "w:t", "field"))
    for outer, inner, field in pieces:
        change, run, words = OxmlElement(outer), OxmlElement("w:r"), OxmlElement(inner)
        change.set(qn("w:author"), canary(f"{field}, author"))
        change.set(qn("w:instr"), f'HYPERLINK "mailto:{canary(f"{field}, instruction")}"')
        words.text = f"Write {canary(field)} "
        words.set(qn("xml:space"), "preserve")
        run.append(words)
        change.append(run)
        paragraph._p.append(change)
    bookmark = OxmlElement("w:bookmarkStart")
    bookmark.set(qn("w:name"), canary("bookmark"))
    paragraph._p.append(bookmark)


def slides(canary: FieldCanaries) -> bytes:
    presentation = pptx.Presentation()
    for name in _CORE:
        setattr(presentation.core_properties, name, canary(f"property {name}"))
    for number in range(2):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text = f"Slide of {canary(f'title {number}')}"
        slide.placeholders[1].text = canary.words(f"text {number}")
        slide.notes_slide.notes_text_frame.text = f"Say {canary(f'notes {number}')}"
    bold, rest = canary.halves("bold in the middle")
    paragraph = slide.placeholders[1].text_frame.add_paragraph()
    for text, weight in ((bold, True), (rest, False)):
        run = paragraph.add_run()
        run.text, run.font.bold = text, weight
    link = paragraph.add_run()
    link.text, link.hyperlink.address = f" Write to {canary('link text')}", f"mailto:{canary('link')}"
    photo = slide.shapes.add_picture(picture(), 0, 0)
    photo.name = canary("picture name")
    photo._element.nvPicPr.cNvPr.set("descr", f"Photo of {canary('alt')}")
    grid = slide.shapes.add_table(2, 1, 0, 0, Inches(3), Inches(1)).table
    grid.cell(0, 0).text, grid.cell(1, 0).text = canary("table header"), canary.words("cell")
    figures = CategoryChartData()  # type: ignore[no-untyped-call]
    figures.categories = [canary("chart's category"), "b"]
    figures.add_series(canary("chart's series"), (1, 2))  # type: ignore[no-untyped-call]
    slide.shapes.add_chart(XL_CHART_TYPE.PIE, 0, 0, Inches(2), Inches(2), figures)
    slide._element.set("show", "0")
    presentation.slide_master.shapes[0].text_frame.text = canary("master")
    return _office(canary, saved(presentation.save))


def sheets(canary: FieldCanaries) -> bytes:
    book = openpyxl.Workbook()
    for name, own in (("creator", "author"), ("description", "comments"), *((n, n) for n in ("title", "subject", "keywords", "category"))):
        setattr(book.properties, name, canary(f"property {own}"))
    # a sheet's name has at most 31 characters
    sheet, hidden = book.active, book.create_sheet(canary.short("hidden sheet's name", 25))
    sheet.title = canary.short("sheet's name", 25)
    for row in (("owner", canary("header"), "account"), (canary.words("cell"), 2, canary.iban("IBAN")), ("card", canary.card("card"), 3)):
        sheet.append(row)
    sheet.append([int(canary.card("card as a number")), f'="{canary("formula")}"', canary("hidden row")])
    sheet.row_dimensions[4].hidden = sheet.column_dimensions["C"].hidden = True
    sheet["A1"].comment = Comment(f"Says {canary('comment')}", canary("comment's author"))
    sheet["B1"].hyperlink = f"mailto:{canary('link')}"
    sheet.oddHeader.center.text, sheet.oddFooter.center.text = canary("page header"), canary("page footer")
    sheet.add_data_validation(DataValidation(type="list", formula1=f'"{canary("choice")}"', prompt=canary("prompt"), error=canary("error")))
    book.defined_names["owner"] = DefinedName("owner", attr_text=f'"{canary("defined name")}"', comment=canary("defined name's comment"))
    bold, rest = canary.halves("bold in the middle")
    sheet["A6"] = CellRichText("By ", TextBlock(InlineFont(b=True), bold), f"{rest}.")
    hidden.append(["n", canary.words("hidden sheet")])
    hidden.append([1, 2])
    hidden.sheet_state = "hidden"
    return _office(canary, saved(book.save))


_ODF = "urn:oasis:names:tc:opendocument:xmlns"
_SPACES = " ".join(
    [
        *(f'xmlns:{name}="{_ODF}:{space}:1.0"' for name, space in {
            "office": "office", "text": "text", "table": "table", "draw": "drawing", "meta": "meta", "style": "style",
            "presentation": "presentation", "svg": "svg-compatible",
        }.items()),
        'xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xlink="http://www.w3.org/1999/xlink"',
    ]
)  # fmt: skip


def open_document(canary: FieldCanaries, kind: str) -> bytes:
    """An ODF text, spreadsheet or presentation with properties, styles' headers, notes and annotations."""
    body = f"<office:{kind}>{_OPEN[kind](canary)}</office:{kind}>"
    content = f'<office:document-content {_SPACES} office:version="1.2"><office:body>{body}</office:body></office:document-content>'
    described = "".join(
        f"<{name}>{canary(f'property {name}')}</{name}>"
        for name in ("dc:title", "dc:subject", "dc:description", "dc:creator", "meta:initial-creator", "meta:keyword", "meta:printed-by")
    )
    own = f'<meta:user-defined meta:name="{canary("own property name")}">{canary("own property")}</meta:user-defined>'
    meta = f"<office:document-meta {_SPACES}><office:meta>{described}{own}</office:meta></office:document-meta>"
    head = f"<style:header><text:p>{canary('header')}</text:p></style:header>"
    head += f"<style:footer><text:p>{canary('footer')}</text:p></style:footer>"
    masters = f'<office:master-styles><style:master-page style:name="a">{head}</style:master-page></office:master-styles>'
    styles = f"<office:document-styles {_SPACES}>{masters}</office:document-styles>"
    manifest = f'<manifest:manifest xmlns:manifest="{_ODF}:manifest:1.0"/>'
    members = {"mimetype": f"application/vnd.oasis.opendocument.{kind}", "content.xml": content, "meta.xml": meta, "styles.xml": styles}
    return zipped({**members, "META-INF/manifest.xml": manifest})


def _annotated(canary: FieldCanaries) -> str:
    who = f"<dc:creator>{canary('annotation, author')}</dc:creator>"
    return f"<office:annotation>{who}<text:p>{canary('annotation')}</text:p></office:annotation>"


def _grid(canary: FieldCanaries) -> str:
    first = f'<table:table-cell office:value-type="string"><text:p>{canary("table header")}</text:p>{_annotated(canary)}</table:table-cell>'
    bold, rest = canary.halves("bold in the middle of a cell")
    inner = f"<text:p>{canary.words('cell')}</text:p><text:p>By <text:span>{bold}</text:span>{rest}.</text:p>"
    second = f'<table:table-cell office:value-type="string">{inner}</table:table-cell>'
    hidden = f'<table:table-cell office:value-type="string"><text:p>{canary("hidden row")}</text:p></table:table-cell>'
    rows = f"<table:table-row>{first}</table:table-row><table:table-row>{second}</table:table-row>"
    last = f'<table:table-row table:visibility="collapse">{hidden}</table:table-row>'
    return f'<table:table table:name="{canary("table name")}">{rows}{last}</table:table>'


def _photo(canary: FieldCanaries) -> str:
    inner = f"<svg:title>{canary('picture title')}</svg:title><svg:desc>{canary('alt')}</svg:desc>"
    return f'<draw:frame draw:name="{canary("picture name")}"><draw:image xlink:href="Pictures/a.png"/>{inner}</draw:frame>'


def _open_text(canary: FieldCanaries) -> str:
    bold, rest = canary.halves("bold in the middle")
    inner = f"<text:note-body><text:p>{canary('footnote')}</text:p></text:note-body>"
    note = f'<text:note text:note-class="footnote"><text:note-citation>1</text:note-citation>{inner}</text:note>'
    changed = f"<text:tracked-changes><text:changed-region><text:deletion><text:p>{canary('deleted text')}</text:p></text:deletion>"
    return f"""{changed}</text:changed-region></text:tracked-changes>
<text:h text:outline-level="1">Part of {canary("heading")}</text:h><text:p>{canary.words("paragraph")} <text:span>{bold}</text:span>{rest}
<text:a xlink:href="mailto:{canary("link")}">{canary("link text")}</text:a>{note}{_annotated(canary)}
{_photo(canary)}</text:p>
<text:list><text:list-item><text:p>{canary("list item")}</text:p></text:list-item></text:list>{_grid(canary)}"""


def _open_slides(canary: FieldCanaries) -> str:
    box = f"<draw:frame><draw:text-box><text:p>{canary('notes')}</text:p></draw:text-box></draw:frame>"
    notes = f"<presentation:notes>{box}</presentation:notes>"
    bold, rest = canary.halves("bold in the middle")
    inner = f"<text:p>{canary.words('text')}</text:p><text:p>By <text:span>{bold}</text:span>{rest}.</text:p>"
    text = f"<draw:frame><draw:text-box>{inner}</draw:text-box></draw:frame>"
    return f'<draw:page draw:name="{canary("slide name")}">{text}{_photo(canary)}{_annotated(canary)}{notes}</draw:page>'


_OPEN: Mapping[str, Callable[[FieldCanaries], str]] = {"text": _open_text, "spreadsheet": _grid, "presentation": _open_slides}


def book(canary: FieldCanaries) -> bytes:
    container = '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles><rootfile full-path="book.opf"/></rootfiles>'
    names = ("title", "creator", "subject", "description", "publisher", "contributor", "identifier", "rights", "source")
    metadata = "".join(f"<dc:{name}>{canary(name)}</dc:{name}>" for name in names)
    package = f"""<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">{metadata}
<meta property="file-as">{canary("file as")}</meta></metadata><manifest><item id="a" href="a.xhtml" media-type="application/xhtml+xml"/>
<item id="n" properties="nav" href="n.xhtml" media-type="application/xhtml+xml"/></manifest><spine><itemref idref="a"/></spine></package>"""
    contents = f"<nav><ol><li><a href='a.xhtml'>{canary('contents')}</a></li></ol></nav>"
    nav = f"<html xmlns='http://www.w3.org/1999/xhtml'><body>{contents}</body></html>"
    chapter = (
        canary_documents.html(canary).partition(b"<!doctype html>")[2].replace(b"<html", b"<html xmlns='http://www.w3.org/1999/xhtml'", 1)
    )
    own = {"mimetype": "application/epub+zip", "META-INF/container.xml": f"{container}</container>", "book.opf": package}
    return zipped({**own, "a.xhtml": chapter, "n.xhtml": nav, f"OEBPS/{canary('member name')}.css": canary("style")})


def legacy_word(canary: FieldCanaries) -> bytes:
    """A document whose texts are replaced by addresses of the same length, which the old formats need."""
    return _overwritten(
        "handbook.doc", canary, {"the unbreakable rule": "paragraph", "https://example.org/rules": "link", "After the table": "last"}
    )


def legacy_slides(canary: FieldCanaries) -> bytes:
    return _overwritten("slides.ppt", canary, {"Coupling aligned": "text", "Guide vanes closed": "second text"})


def _overwritten(name: str, canary: FieldCanaries, fields: Mapping[str, str]) -> bytes:
    whole = documents.legacy(name)
    for text, field in fields.items():
        assert text.encode("utf-16-le") in whole
        whole = whole.replace(text.encode("utf-16-le"), canary.short(field, len(text)).encode("utf-16-le"))
    return whole


def legacy_sheets(canary: FieldCanaries) -> bytes:
    """A workbook of Excel 97 ([MS-XLS]): one sheet of labels, and its properties ([MS-OLEPS])."""
    name = canary.short("sheet's name", 25)
    cells = [["owner", canary("header")], [canary("cell"), canary.iban("IBAN")], [canary.card("card"), "x"]]
    labels = b"".join(
        _record(0x0204, struct.pack("<HHH", row, column, 0) + _unicode(text, 2))
        for row, line in enumerate(cells)
        for column, text in enumerate(line)
    )
    sheet = _record(0x0809, struct.pack("<HHHHII", 0x600, 0x10, 0, 0, 0, 6)) + labels + _record(0x0A, b"")
    comment = _record(0x1C, struct.pack("<HHHHH", 0, 0, 0, 1, 0) + _unicode(canary("comment's author"), 2) + b"\0")
    bound = 8 + len(_unicode(name, 1)) - 2
    globals_ = _record(0x0809, struct.pack("<HHHHII", 0x600, 5, 0, 0, 0, 6)) + _record(0x5C, canary("user name").encode().ljust(112))
    start = len(globals_) + 4 + bound + 4
    globals_ += _record(0x85, struct.pack("<IH", start, 0) + _unicode(name, 1)) + _record(0x0A, b"")
    return compound(
        {"Workbook": globals_ + sheet + comment, "\x05SummaryInformation": _summary(canary), "\x05Own": canary("stream").encode()}
    )


def _record(kind: int, body: bytes) -> bytes:
    return struct.pack("<HH", kind, len(body)) + body


def _unicode(text: str, length_bytes: int) -> bytes:
    return len(text).to_bytes(length_bytes, "little") + b"\0" + text.encode("latin-1")


def _summary(canary: FieldCanaries) -> bytes:
    names = {2: "title", 3: "subject", 4: "author", 5: "keywords", 6: "comments", 8: "last author", 18: "application"}
    places, values = b"", b""
    for number, name in names.items():
        text = canary(f"property {name}").encode() + b"\0"
        places += struct.pack("<II", number, 8 + 8 * len(names) + len(values))
        values += struct.pack("<II", 0x1E, len(text)) + text + b"\0" * (-len(text) % 4)
    section = struct.pack("<II", 8 + len(places) + len(values), len(names)) + places + values
    return struct.pack("<HHI16xI16sI", 0xFFFE, 0, 0, 1, bytes.fromhex("e0859ff2f94f6810ab9108002b27b3d9"), 48) + section


def outlook(canary: FieldCanaries) -> bytes:
    attached = {f"note of {canary('attachment name')}.txt": f"Closed, says {canary('attachment')}.".encode()}
    whole = documents.outlook(f"Of {canary('subject')}", canary.words("text"), attached)
    # the address of the only recipient has 15 characters
    return whole.replace("ada@example.org".encode("utf-16-le"), canary.short("recipient", 15).encode("utf-16-le"))


def printed(canary: FieldCanaries) -> bytes:
    document = FPDF()
    document.creation_date = datetime(2026, 3, 3, tzinfo=UTC)
    for name in ("title", "author", "subject", "keywords", "creator", "producer"):
        getattr(document, f"set_{name}")(canary(f"property {name}"))
    document.set_xmp_metadata(f"<x:xmpmeta xmlns:x='adobe:ns:meta/'><owner>{canary('XMP')}</owner></x:xmpmeta>")
    document.add_page()
    document.set_font("helvetica", size=24)
    document.start_section(f"Outline of {canary('outline')}")
    document.cell(text=canary.short("heading", 25), new_x="LMARGIN", new_y="NEXT")
    document.set_font("helvetica", size=9)
    document.multi_cell(0, text=canary.words("paragraph"), new_x="LMARGIN", new_y="NEXT")
    document.multi_cell(0, text=f"Cut by its line {canary('line break').replace('@', '@' + chr(10))} here.", new_x="LMARGIN", new_y="NEXT")
    bold, rest = canary.halves("bold in the middle")
    document.ln(8)
    document.cell(text=f"By **{bold}**{rest} too.", markdown=True, new_x="LMARGIN", new_y="NEXT")
    document.ln(8)
    document.cell(text=f"Write to {canary('link text')}", link=f"mailto:{canary('link')}", new_x="LMARGIN", new_y="NEXT")
    document.ln(8)
    with document.table() as grid:
        for row in (("owner", canary("table header")), ("rake", canary("cell"))):
            grid.row(row)
    document.image(picture(), w=20, alt_text=f"Photo of {canary('alt')}", title=canary("picture title"))
    document.text_annotation(10, 250, canary("annotation"), title=canary("annotation, author"))
    document.free_text_annotation(canary("free text annotation"), x=10, y=260, w=80, h=10)
    document.embed_file(
        bytes=canary("attachment").encode(), basename=f"{canary('attachment name')}.txt", desc=canary("attachment, description")
    )
    return bytes(document.output())


def photo(canary: FieldCanaries) -> bytes:
    """A picture whose only text is in the metadata that cameras and programs write."""
    image = Image.new("RGB", (64, 64), "white")
    chunks = PngInfo()
    for name in ("Author", "Description", "Comment", "XML:com.adobe.xmp"):
        chunks.add_itxt(name, canary(f"chunk {name}"))
    exif = image.getexif()
    for tag, field in {0x010E: "description", 0x013B: "artist", 0x8298: "copyright", 0x9C9D: "author"}.items():
        exif[tag] = canary(f"EXIF {field}")
    return saved(lambda buffer: image.save(buffer, "PNG", pnginfo=chunks, exif=exif))


def archive(canary: FieldCanaries) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as whole:
        member = zipfile.ZipInfo(f"of {canary('folder')}/of {canary('member name')}.txt", _NOW.timetuple()[:6])
        member.comment, member.extra = (
            canary("member's comment").encode(),
            struct.pack("<HH", 0x7075, 49) + canary("extra").encode().ljust(49),
        )
        whole.writestr(member, canary.words("member"))
        whole.writestr(f"{canary.iban('own name, IBAN')}.csv", canary_documents.table(canary))
        whole.writestr("inner.tar", tarred(canary))
        whole.writestr(f"{canary('damaged name')}.docx", b"PK\x03\x04" + canary("damaged").encode())
        whole.writestr(f"__MACOSX/._{canary('leftover')}", canary("leftover, content"))
        whole.comment = canary("comment").encode()
    return buffer.getvalue()


def tarred(canary: FieldCanaries) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as whole:
        body = canary.words("member").encode()
        member = tarfile.TarInfo(f"of {canary('folder')}/{canary('member name')}.txt")
        member.size, member.uname, member.gname = len(body), canary.short("user", 20), canary.short("group", 20)
        member.pax_headers = {"comment": canary("comment"), canary("header's name"): canary("header")}
        whole.addfile(member, io.BytesIO(body))
        link = tarfile.TarInfo(canary("link"))
        link.type, link.linkname = tarfile.SYMTYPE, canary("link's target")
        whole.addfile(link)
    return buffer.getvalue()


def compressed(canary: FieldCanaries) -> bytes:
    buffer = io.BytesIO()
    with gzip.GzipFile(f"{canary('file name')}.txt", "wb", fileobj=buffer, mtime=0) as file:
        file.write(canary.words("text").encode())
    return buffer.getvalue()


def compressed_tar(canary: FieldCanaries) -> bytes:
    return bz2.compress(tarred(canary))
