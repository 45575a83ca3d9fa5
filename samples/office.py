"""Write pages as DOCX, PPTX and XLSX."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from docx import Document
from docx.opc.constants import RELATIONSHIP_TYPE
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Cm
from openpyxl import Workbook
from pptx import Presentation
from pptx.util import Cm as SlideCm

from samples.markup import Block, Heading, Items, Note, Page, Paragraph, Picture, Table
from samples.packing import WHEN, picture, repacked


def docx(page: Page) -> bytes:
    """Return the page as a document."""
    document = Document()
    _describe(document.core_properties, page)
    for block in page.blocks:
        _write_block(document, block)
    return _saved(document)


def _write_block(document: Any, block: Block) -> None:
    match block:
        case Heading(level, text):
            document.add_heading(text, level)
        case Paragraph(runs):
            _write_runs(document.add_paragraph(), runs)
        case Items(texts):
            for text in texts:
                document.add_paragraph(text, style="List Bullet")
        case Table(rows):
            _fill(document.add_table(len(rows), len(rows[0]), style="Table Grid"), rows)
        case Picture(alt, name):
            shape = document.add_picture(BytesIO(picture(name)), width=Cm(5))
            shape._inline.docPr.set("descr", alt)  # noqa: SLF001 (python-docx has no public API for alt text)
        case Note():
            raise ValueError("only slides can contain notes")


def _write_runs(paragraph: Any, runs: tuple[tuple[str, str], ...]) -> None:
    for text, target in runs:
        if target:
            _write_link(paragraph, text, target)
        else:
            paragraph.add_run(text)


def _write_link(paragraph: Any, text: str, target: str) -> None:
    """Add a hyperlink: a run inside `w:hyperlink` with an external relationship. python-docx can read hyperlinks but not write them."""
    link = OxmlElement("w:hyperlink")
    link.set(qn("r:id"), paragraph.part.relate_to(target, RELATIONSHIP_TYPE.HYPERLINK, is_external=True))
    link.append(paragraph.add_run(text)._r)  # noqa: SLF001
    paragraph._p.append(link)  # noqa: SLF001


def _fill(table: Any, rows: tuple[tuple[str, ...], ...]) -> None:
    for row, cells in enumerate(rows):
        for column, text in enumerate(cells):
            table.cell(row, column).text = text


def pptx(page: Page) -> bytes:
    """Return the page as slides, one per section."""
    deck = Presentation()
    _describe(deck.core_properties, page)
    for heading, blocks in page.sections():
        _write_slide(deck, heading, blocks)
    return _saved(deck)


def _write_slide(deck: Any, heading: Heading, blocks: list[Block]) -> None:
    bullets = any(isinstance(block, Items) for block in blocks)
    slide = deck.slides.add_slide(deck.slide_layouts[1 if bullets else 5])
    slide.shapes.title.text = heading.text
    for block in blocks:
        _write_on_slide(slide, block)


def _write_on_slide(slide: Any, block: Block) -> None:
    match block:
        case Items(texts):
            slide.placeholders[1].text = "\n".join(texts)
        case Table(rows):
            frame = slide.shapes.add_table(len(rows), len(rows[0]), SlideCm(2), SlideCm(5), SlideCm(21), SlideCm(6))
            _fill(frame.table, rows)
        case Note(text):
            slide.notes_slide.notes_text_frame.text = text
        case Picture(alt, name):
            shape = slide.shapes.add_picture(BytesIO(picture(name)), SlideCm(17), SlideCm(14), SlideCm(6))
            shape._element.nvPicPr.cNvPr.set("descr", alt)  # noqa: SLF001 (python-pptx has no public API for alt text)
        case Heading() | Paragraph():
            raise ValueError("a slide can contain items, a table, a note and a picture")


def xlsx(page: Page) -> bytes:
    """Return the page as a workbook, one sheet per section. A paragraph becomes a row with one cell."""
    book = Workbook()
    book.remove(book.worksheets[0])
    book.properties.title, book.properties.creator = page.title, page.author
    for heading, blocks in page.sections():
        sheet = book.create_sheet(heading.text)
        for row in (row for block in blocks for row in _rows(block)):
            sheet.append(row)
    return _saved(book)


def _rows(block: Block) -> list[tuple[str, ...]]:
    match block:
        case Table(rows):
            return list(rows)
        case Paragraph():
            return [(block.text,)]
        case _:
            raise ValueError("a sheet can contain tables and paragraphs")


def _describe(properties: Any, page: Page) -> None:
    properties.title, properties.author, properties.subject = page.title, page.author, page.subject
    properties.last_modified_by, properties.revision = page.author, 1
    properties.created = properties.modified = WHEN.replace(tzinfo=None)


def _saved(document: Any) -> bytes:
    target = BytesIO()
    document.save(target)
    return repacked(target.getvalue())
