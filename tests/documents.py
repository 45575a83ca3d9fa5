"""Documents of many formats as bytes, written by the libraries of their formats, or by hand if there is none."""

from __future__ import annotations

import io
import lzma
import struct
import zipfile
from collections.abc import Callable, Mapping
from email.message import EmailMessage
from itertools import pairwise
from pathlib import Path

import docx
import openpyxl
import pptx
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.text.paragraph import Paragraph
from fpdf import FPDF
from PIL import Image


def saved(save: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    save(buffer)
    return buffer.getvalue()


def zipped(members: Mapping[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return buffer.getvalue()


def picture() -> io.BytesIO:
    return io.BytesIO(saved(lambda buffer: Image.new("RGB", (8, 8), "red").save(buffer, "PNG")))


def word() -> bytes:
    document = docx.Document()
    document.core_properties.author, document.core_properties.subject = "Ada Pool", "Turbines"
    document.sections[0].header.paragraphs[0].text = "running head"
    document.sections[0].footer.paragraphs[0].text = "running foot"
    document.add_heading("Handbook", 0)
    document.add_heading("First steps", 1)
    paragraph = document.add_paragraph("The un")
    paragraph.add_run("break").bold = True
    paragraph.add_run("able rule, see ")
    _add_link(paragraph, "the site", "https://example.org/rules")
    paragraph.add_run(".")
    document.add_paragraph("a point", style="List Bullet")
    document.add_paragraph("a point below", style="List Bullet 2")
    document.add_picture(picture())
    document.paragraphs[-1]._p.find(f".//{qn('wp:docPr')}").set("descr", "A red square")
    table = document.add_table(2, 2)
    for cell, text in zip((cell for row in table.rows for cell in row.cells), ("part", "price", "rake", "12"), strict=True):
        cell.text = text
    return saved(document.save)


_ATTACHED_TEMPLATE = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/attachedTemplate"


def linked(url: str) -> bytes:
    """A document whose picture and template are external."""
    document = docx.Document()
    document.add_paragraph("Text.")
    document.add_picture(picture())
    place = document.part.relate_to(url, RELATIONSHIP_TYPE.IMAGE, is_external=True)
    blip = document.paragraphs[-1]._p.find(f".//{qn('a:blip')}")
    del blip.attrib[qn("r:embed")]
    blip.set(qn("r:link"), place)
    template = OxmlElement("w:attachedTemplate")
    settings = document.part.part_related_by(RELATIONSHIP_TYPE.SETTINGS)
    template.set(qn("r:id"), settings.relate_to(url, _ATTACHED_TEMPLATE, is_external=True))
    document.settings.element.append(template)
    return saved(document.save)


def _add_link(paragraph: Paragraph, text: str, target: str) -> None:
    link = OxmlElement("w:hyperlink")
    link.set(qn("r:id"), paragraph.part.relate_to(target, RELATIONSHIP_TYPE.HYPERLINK, is_external=True))
    run, words = OxmlElement("w:r"), OxmlElement("w:t")
    words.text = text
    run.append(words)
    link.append(run)
    paragraph._p.append(link)


def slides() -> bytes:
    presentation = pptx.Presentation()
    presentation.core_properties.author = "Ada Pool"
    for title, point in (("Before water", "Coupling aligned"), ("After water", "Guide vanes closed")):
        slide = presentation.slides.add_slide(presentation.slide_layouts[1])
        slide.shapes.title.text, slide.placeholders[1].text = title, point
    return saved(presentation.save)


def sheets() -> bytes:
    workbook = openpyxl.Workbook()
    workbook.properties.title = "Prices"
    workbook.active.title = "Spare parts"
    for row in (("part", "price"), ("rake", 12), ("seal", 7.5)):
        workbook.active.append(row)
    return saved(workbook.save)


def printed(password: str = "") -> bytes:
    document = FPDF()
    document.set_title("Handbook")
    document.set_author("Ada Pool")
    document.add_page()
    document.set_font("helvetica", size=24)
    document.cell(text="First steps", new_x="LMARGIN", new_y="NEXT")
    document.set_font("helvetica", size=11)
    document.multi_cell(0, text="The rake is cleaned before the first water. " * 6, new_x="LMARGIN", new_y="NEXT")
    document.ln(8)
    document.cell(text="See the rules online.", link="https://example.org/rules", new_x="LMARGIN", new_y="NEXT")
    document.add_page()
    document.cell(text="On the second page.")
    if password:
        document.set_encryption(owner_password=password, user_password=password)
    return bytes(document.output())


def message() -> bytes:
    mail = EmailMessage()
    mail["From"], mail["To"] = "Ada Pool <ada@example.org>", "ops@example.org"
    mail["Subject"], mail["Date"] = "Grüße from the weir", "Tue, 03 Mar 2026 09:12:00 +0000"
    mail.set_content("Dear all,\n\nthe rake is clean.\n")
    mail.add_alternative("<p>the rake is <b>clean</b></p>", subtype="html")
    mail.add_attachment(b"%PDF-", maintype="application", subtype="pdf", filename="rake.pdf")
    return mail.as_bytes()


def book() -> bytes:
    container = '<container xmlns="urn:oasis:names:tc:opendocument:xmlns:container"><rootfiles>'
    container += '<rootfile full-path="book.opf"/></rootfiles></container>'
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" version="3.0"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/">'
        "<dc:title>Field guide</dc:title><dc:creator>Ada Pool</dc:creator></metadata>"
        '<manifest><item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest><spine><itemref idref="a"/></spine></package>'
    )
    chapter = "<html xmlns='http://www.w3.org/1999/xhtml'><body><h1>The head</h1><p>Measure it <i>twice</i>.</p></body></html>"
    return zipped({"mimetype": "application/epub+zip", "META-INF/container.xml": container, "book.opf": package, "a.xhtml": chapter})


def open_text(encrypted: bool = False) -> bytes:
    spaces = 'xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"'
    body = f'<office:document-content {spaces} office:version="1.2"><office:body><office:text>'
    body += (
        '<text:h text:outline-level="1">Rules</text:h><text:p>No swimming.</text:p></office:text></office:body></office:document-content>'
    )
    entry = '<manifest:file-entry manifest:full-path="content.xml" manifest:media-type="text/xml">{}</manifest:file-entry>'
    manifest = '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0">'
    manifest += entry.format("<manifest:encryption-data/>" if encrypted else "") + "</manifest:manifest>"
    kind = "application/vnd.oasis.opendocument.text"
    return zipped({"mimetype": kind, "content.xml": body, "META-INF/manifest.xml": manifest})


def legacy(name: str) -> bytes:
    """A file saved by LibreOffice in a binary format: `handbook.doc`, `slides.ppt`, `parts.xls`."""
    return lzma.decompress((Path(__file__).parent / "data/legacy" / f"{name}.xz").read_bytes())


def outlook(subject: str, body: str, attachments: Mapping[str, bytes]) -> bytes:
    """A message as saved by Outlook ([MS-OXMSG]): a storage per attachment, a stream per text, and a stream listing all properties."""
    counts = struct.pack("<8x4I8x", 1, len(attachments), 1, len(attachments))
    tree = _properties(counts, {}, {0x001A: "IPM.Note", 0x0037: subject, 0x1000: body}) | {"__nameid_version1.0": {}}
    person = {0x3001: "Ada Pool", 0x39FE: "ada@example.org", 0x3003: "ada@example.org"}
    tree["__recip_version1.0_#00000000"] = _properties(bytes(8), {0x0C15: 1}, person)
    for number, (name, content) in enumerate(attachments.items()):
        texts: dict[int, str | bytes] = {0x3707: name, 0x370E: "text/plain", 0x3701: content}
        tree[f"__attach_version1.0_#{number:08X}"] = _properties(bytes(8), {0x3705: 1}, texts)
    return compound(tree)


def _properties(header: bytes, numbers: Mapping[int, int], texts: Mapping[int, str | bytes]) -> dict[str, object]:
    kinds = {tag: 0x001F if isinstance(value, str) else 0x0102 for tag, value in texts.items()}
    streams = {tag: value.encode("utf-16-le") if isinstance(value, str) else value for tag, value in texts.items()}
    listed = [struct.pack("<HHIIxxxx", 3, tag, 6, value) for tag, value in numbers.items()]
    listed += [struct.pack("<HHIIxxxx", kinds[tag], tag, 6, len(value) + 2) for tag, value in streams.items()]
    named: dict[str, object] = {f"__substg1.0_{tag:04X}{kinds[tag]:04X}": value for tag, value in streams.items()}
    return {"__properties_version1.0": header + b"".join(listed), **named}


_SECTOR, _MINI, _CUTOFF = 512, 64, 4096
_END, _FREE, _FAT = 0xFFFFFFFE, 0xFFFFFFFF, 0xFFFFFFFD


def compound(tree: Mapping[str, object]) -> bytes:
    """A compound file ([MS-CFB], version 3): storages as mappings, streams as bytes. Siblings form a chain of right children."""
    entries: list[tuple[str, int, bytes, int, int]] = []  # name, kind, content, right, child
    _add(entries, "Root Entry", 5, tree)
    mini = b""
    minis: list[int] = []
    places: dict[int, int] = {}
    large: list[tuple[int, bytes]] = []
    for at, (_, kind, content, _, _) in enumerate(entries):
        if kind == 2 and 0 < len(content) < _CUTOFF:
            places[at], count = len(minis), -(-len(content) // _MINI)
            minis += [*range(len(minis) + 1, len(minis) + count), _END]
            mini += content.ljust(count * _MINI, b"\0")
        elif kind == 2 and content:
            large.append((at, content))
    sectors: list[bytes] = []
    fat: list[int] = []
    for at, content in [*large, (0, mini)]:
        places[at] = _chain(sectors, fat, content)
    minifat = _chain(sectors, fat, struct.pack(f"<{len(minis)}I", *minis), b"\xff")
    sizes = {0: len(mini)}
    directory = b"".join(_entry(entry, places.get(at, _END), sizes.get(at, len(entry[2]))) for at, entry in enumerate(entries))
    first = _chain(sectors, fat, directory)
    fat_at, fat_sectors = len(fat), -(-(len(fat) + 8) // 128)
    fat += [_FAT] * fat_sectors
    table = struct.pack(f"<{len(fat)}I", *fat).ljust(fat_sectors * _SECTOR, b"\xff")
    counts = (fat_sectors, first, 0, _CUTOFF, minifat, -(-len(minis) // 128), _END, 0)
    header = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + struct.pack("<16xHHHHH6xI8I", 0x3E, 3, 0xFFFE, 9, 6, 0, *counts)
    difat = struct.pack("<109I", *range(fat_at, fat_at + fat_sectors), *[_FREE] * (109 - fat_sectors))
    return header + difat + b"".join(sectors) + table


def _add(entries: list[tuple[str, int, bytes, int, int]], name: str, kind: int, value: object) -> int:
    """Add an entry and its descendants; returns its number."""
    at = len(entries)
    entries.append((name, kind, value if isinstance(value, bytes) else b"", _FREE, _FREE))
    child = _FREE
    if isinstance(value, Mapping):
        # the format's order: shorter names first
        names = sorted(value, key=lambda key: (len(key), key.upper()))
        numbers = [_add(entries, key, 2 if isinstance(value[key], bytes) else 1, value[key]) for key in names]
        for left, right in pairwise(numbers):
            entries[left] = (*entries[left][:3], right, entries[left][4])
        child = numbers[0] if numbers else _FREE
    entries[at] = (*entries[at][:4], child)
    return at


def _chain(sectors: list[bytes], fat: list[int], content: bytes, filler: bytes = b"\0") -> int:
    if not content:
        return _END
    first, count = len(sectors), -(-len(content) // _SECTOR)
    sectors += [content[at * _SECTOR : (at + 1) * _SECTOR].ljust(_SECTOR, filler) for at in range(count)]
    fat += [*range(first + 1, first + count), _END]
    return first


def _entry(entry: tuple[str, int, bytes, int, int], start: int, size: int) -> bytes:
    name, kind, _, right, child = entry
    written = name.encode("utf-16-le") + b"\0\0"
    packed = struct.pack("<64sHBB3I16xI16xIQ", written, len(written), kind, 1, _FREE, right, child, 0, start, size)
    assert len(packed) == 128
    return packed


def open_document(kind: str) -> bytes:
    """An ODF spreadsheet or presentation."""
    prefixes = {"office": "office", "text": "text", "table": "table", "draw": "drawing"}
    spaces = " ".join(f'xmlns:{name}="urn:oasis:names:tc:opendocument:xmlns:{space}:1.0"' for name, space in prefixes.items())
    cells = "".join(f'<table:table-cell office:value-type="string"><text:p>{text}</text:p></table:table-cell>' for text in ("part", "rake"))
    bodies = {
        "spreadsheet": f'<table:table table:name="Parts"><table:table-row>{cells}</table:table-row></table:table>',
        "presentation": '<draw:page draw:name="Rules"><draw:frame><draw:text-box>'
        "<text:p>No swimming.</text:p></draw:text-box></draw:frame></draw:page>",
    }
    body = (
        f'<office:document-content {spaces} office:version="1.2"><office:body><office:{kind}>{bodies[kind]}</office:{kind}></office:body>'
    )
    manifest = '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>'
    media_type = f"application/vnd.oasis.opendocument.{kind}"
    return zipped({"mimetype": media_type, "content.xml": f"{body}</office:document-content>", "META-INF/manifest.xml": manifest})
