"""Write pages as PDF and EPUB."""

from __future__ import annotations

from html import escape

from fpdf import FPDF

from samples.markup import Block, Heading, Items, Page, Paragraph, Picture, Table
from samples.packing import WHEN, packed, picture


def pdf(page: Page) -> bytes:
    """Return the page as a PDF: A4, in Helvetica, so Latin-1 text only."""
    book = FPDF()
    book.set_creation_date(WHEN)
    book.set_producer("samples")
    book.set_title(page.title)
    book.set_author(page.author)
    book.add_page()
    for block in page.blocks:
        _print(book, block)
    return bytes(book.output())


def _print(book: FPDF, block: Block) -> None:
    book.set_font("Helvetica", size=11)
    match block:
        case Heading(level, text):
            book.set_font("Helvetica", "B", 18 - 3 * level)
            book.multi_cell(0, 9, text, new_x="LMARGIN", new_y="NEXT")
        case Paragraph(runs):
            for text, target in runs:
                book.write(6, text, target)
        case Items(texts):
            for text in texts:
                book.multi_cell(0, 6, f"- {text}", new_x="LMARGIN", new_y="NEXT")
        case Table(rows):
            with book.table(rows, first_row_as_headings=True, line_height=6):
                pass
        case _:
            raise ValueError("a PDF can contain headings, paragraphs, items and tables")
    book.ln(9 if isinstance(block, Paragraph) else 3)


def epub(page: Page) -> bytes:
    """Return the page as an EPUB 3, one chapter per section."""
    chapters = [(f"chapter{number}.xhtml", heading, blocks) for number, (heading, blocks) in enumerate(page.sections(), 1)]
    pictures = [block.name for block in page.blocks if isinstance(block, Picture)]
    names = [name for name, _, _ in chapters]
    members = [
        ("mimetype", b"application/epub+zip"),
        ("META-INF/container.xml", _CONTAINER),
        ("book/package.opf", _package(page, names, pictures).encode()),
        ("book/nav.xhtml", _navigation(page, chapters).encode()),
    ]
    members += [(f"book/{name}", _chapter(heading, blocks).encode()) for name, heading, blocks in chapters]
    members += [(f"book/{name}.png", picture(name)) for name in pictures]
    return packed(members)


_CONTAINER = b"""<?xml version="1.0" encoding="utf-8"?>
<container version="1.0" xmlns="urn:oasis:names:tc:opendocument:xmlns:container">
<rootfiles><rootfile full-path="book/package.opf" media-type="application/oebps-package+xml"/></rootfiles>
</container>
"""


def _package(page: Page, names: list[str], pictures: list[str]) -> str:
    items = [f'<item id="c{n}" href="{name}" media-type="application/xhtml+xml"/>' for n, name in enumerate(names)]
    items += [f'<item id="p{n}" href="{name}.png" media-type="image/png"/>' for n, name in enumerate(pictures)]
    spine = "".join(f'<itemref idref="c{n}"/>' for n in range(len(names)))
    return f"""<?xml version="1.0" encoding="utf-8"?>
<package xmlns="http://www.idpf.org/2007/opf" version="3.0" unique-identifier="id">
<metadata xmlns:dc="http://purl.org/dc/elements/1.1/">
<dc:identifier id="id">urn:headrace:sample:{escape(page.title)}</dc:identifier>
<dc:title>{escape(page.title)}</dc:title><dc:creator>{escape(page.author)}</dc:creator><dc:language>en</dc:language>
<meta property="dcterms:modified">{WHEN:%Y-%m-%dT%H:%M:%SZ}</meta>
</metadata>
<manifest><item id="nav" href="nav.xhtml" media-type="application/xhtml+xml" properties="nav"/>{"".join(items)}</manifest>
<spine>{spine}</spine>
</package>
"""


def _navigation(page: Page, chapters: list[tuple[str, Heading, list[Block]]]) -> str:
    entries = "".join(f'<li><a href="{name}">{escape(heading.text)}</a></li>' for name, heading, _ in chapters)
    return _xhtml(page.title, f'<nav epub:type="toc"><ol>{entries}</ol></nav>')


def _chapter(heading: Heading, blocks: list[Block]) -> str:
    return _xhtml(heading.text, "\n".join([f"<h1>{escape(heading.text)}</h1>", *map(_element, blocks)]))


def _xhtml(title: str, body: str) -> str:
    return f"""<?xml version="1.0" encoding="utf-8"?>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:epub="http://www.idpf.org/2007/ops">
<head><title>{escape(title)}</title></head>
<body>
{body}
</body>
</html>
"""


def _element(block: Block) -> str:
    match block:
        case Paragraph(runs):
            return f"<p>{''.join(_run(text, target) for text, target in runs)}</p>"
        case Items(texts):
            return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>"
        case Table(rows):
            return f"<table>{''.join(map(_row, rows, ['th', *['td'] * (len(rows) - 1)]))}</table>"
        case Picture(alt, name):
            return f'<p><img src="{name}.png" alt="{escape(alt)}"/></p>'
        case _:
            raise ValueError("a chapter can contain paragraphs, items, tables and pictures")


def _run(text: str, target: str) -> str:
    return f'<a href="{escape(target)}">{escape(text)}</a>' if target else escape(text)


def _row(cells: tuple[str, ...], tag: str) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in cells)}</tr>"
