"""What docling's models made of a PDF → blocks with places and links, and what of it is furniture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from docling_core.types.doc import labels
from docling_core.types.doc.document import (  # type: ignore[attr-defined]  # re-exported without saying so
    CodeItem,
    DocItem,
    DoclingDocument,
    ProvenanceItem,
    TableItem,
    TextItem,
)

from core.records import Block, Link
from parsers.docling.blocks import Place, Walk, page_of
from parsers.docling.spacing import key
from parsers.pdf.blocks import code, links_in, rounded
from parsers.pdf.lines import pieces, text
from parsers.pdf.pages import Box, Page, Word, clean

_FURNITURE = {labels.DocItemLabel.PAGE_HEADER: "header", labels.DocItemLabel.PAGE_FOOTER: "footer"}


def blocks(document: DoclingDocument, pages: Mapping[int, Page]) -> tuple[Block, ...]:
    """Every block that begins on one of these pages, by number; its texts are docling's, its links ours."""
    walk = _PdfWalk(document, {}, (), pages=pages)
    walk.complete()
    return tuple(block for block in walk.all() if block.page in pages)


def dropped(document: DoclingDocument, pages: Mapping[int, Page]) -> Counter[str]:
    """How many running heads and feet the layout model found on these pages."""
    return Counter(_FURNITURE[item.label] for item in document.texts if item.label in _FURNITURE and page_of(item) in pages)


@dataclass
class _PdfWalk(Walk):
    pages: Mapping[int, Page] = field(kw_only=True)

    def complete(self) -> None:
        """docling keeps no line breaks in code, and leaves the text of formulas to a model that is not asked."""
        for item in self.document.texts:
            if isinstance(item, CodeItem) and (words := self.words_of(item)):
                item.text = code(pieces(words))
            item.text = clean(item.text or item.orig)

    def box(self, item: DocItem) -> Place | None:
        return rounded(self.place(item.prov[0])) if item.prov else None

    def place(self, found: ProvenanceItem) -> Box:
        height = self.document.pages[found.page_no].size.height
        return Box(*found.bbox.to_top_left_origin(page_height=height).as_tuple())

    def places(self, items: Iterable[DocItem]) -> Iterator[tuple[Page, Box]]:
        """Where these stand: a paragraph that goes on in the next column or on the next page has two places."""
        for item in items:
            yield from ((self.pages[found.page_no], self.place(found)) for found in item.prov if found.page_no in self.pages)

    def words_of(self, item: DocItem) -> list[Word]:
        return [word for page, box in self.places([item]) for word in page.words if box.holds(word)]

    def links(self, items: Iterable[TextItem | TableItem]) -> tuple[Link, ...]:
        """docling knows links of whole paragraphs alone; the page knows the words that each is on."""
        return tuple(link for page, box in self.places(items) for link in links_in(page, box))

    def cell(self, text: str) -> str:
        return super().cell(clean(text))

    def table(self, table: TableItem) -> Iterator[Block]:
        """Words that the table model gives to no cell follow as a paragraph, and are all of it where it finds none: docling drops them."""
        yield from super().table(table)
        told = [key(text) for row in self.rows(table) for text in row if text]
        left_out = _left_out(self.words_of(table), told)
        if left_out:
            links = () if told else self.links([table])
            yield Block("paragraph", text(left_out), page=page_of(table), links=links, box=self.box(table))
        for note in table.footnotes:
            yield from self.item(note.resolve(self.document), 0)

    def table_links(self, table: TableItem) -> tuple[Link, ...]:
        return self.links([table])


def _left_out(words: Sequence[Word], cells: Sequence[str]) -> list[Word]:
    """The words that stand in no cell, in their order; `cells`: their keys.

    The longest are looked for first, as short ones are in many. At last come those that several cells side by side make up.
    """
    longest = sorted(enumerate(words), key=lambda each: -len(key(each[1].text)))
    missing, left = _used_up(longest, "\n".join(cells))
    missing, _ = _used_up(missing, left.replace("\n", ""))
    return [word for _, word in sorted(missing)]


def _used_up(words: Iterable[tuple[int, Word]], told: str) -> tuple[list[tuple[int, Word]], str]:
    """Those that are not told, and what is told beside the others: what stands for one word stands for no other."""
    missing: list[tuple[int, Word]] = []
    for at, word in words:
        wanted = key(word.text)
        if wanted not in told:
            missing.append((at, word))
        elif wanted:
            # nothing is found across the gap
            told = told.replace(wanted, "\0", 1)
    return missing, told
