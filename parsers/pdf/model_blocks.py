"""A PDF converted by docling's models → blocks with places and links, and the count of furniture."""

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
    """The blocks that begin on one of these pages, by page number. Texts come from docling, links from `pages`."""
    walk = _PdfWalk(document, {}, (), pages=pages)
    walk.complete()
    return tuple(block for block in walk.all() if block.page in pages)


def dropped(document: DoclingDocument, pages: Mapping[int, Page]) -> Counter[str]:
    """The number of running heads and feet that the layout model found on these pages, by kind."""
    return Counter(_FURNITURE[item.label] for item in document.texts if item.label in _FURNITURE and page_of(item) in pages)


@dataclass
class _PdfWalk(Walk):
    pages: Mapping[int, Page] = field(kw_only=True)

    def complete(self) -> None:
        """Restore the line breaks in code, which docling drops, and the text of formulas, which it leaves to a model that is not used."""
        for item in self.document.texts:
            if isinstance(item, CodeItem) and (words := self.words_of(item)):
                item.text = code(pieces(words))
            item.text = clean(item.text or item.orig)

    def box(self, item: DocItem) -> Place | None:
        return rounded(self.place(item.prov[0])) if item.prov else None

    def place(self, provenance: ProvenanceItem) -> Box:
        height = self.document.pages[provenance.page_no].size.height
        return Box(*provenance.bbox.to_top_left_origin(page_height=height).as_tuple())

    def places(self, items: Iterable[DocItem]) -> Iterator[tuple[Page, Box]]:
        """The items' places: a paragraph that continues in the next column or page has two."""
        for item in items:
            yield from ((self.pages[each.page_no], self.place(each)) for each in item.prov if each.page_no in self.pages)

    def words_of(self, item: DocItem) -> list[Word]:
        return [word for page, box in self.places([item]) for word in page.words if box.contains_center(word)]

    def links(self, items: Iterable[TextItem | TableItem]) -> tuple[Link, ...]:
        """The links from the pages, which know the words that each covers; docling only links whole paragraphs."""
        return tuple(link for page, box in self.places(items) for link in links_in(page, box))

    def cell(self, text: str) -> str:
        return super().cell(clean(text))

    def table(self, table: TableItem) -> Iterator[Block]:
        """The table, then a paragraph of the words that the table model assigned to no cell: docling drops them."""
        yield from super().table(table)
        cell_keys = [key(text) for row in self.rows(table) for text in row if text]
        missing = _missing(self.words_of(table), cell_keys)
        if missing:
            links = () if cell_keys else self.links([table])
            yield Block("paragraph", text(missing), page=page_of(table), links=links, box=self.box(table))
        for note in table.footnotes:
            yield from self.item(note.resolve(self.document), 0)

    def table_links(self, table: TableItem) -> tuple[Link, ...]:
        return self.links([table])


def _missing(words: Sequence[Word], cells: Sequence[str]) -> list[Word]:
    """The words that occur in no cell, in order; `cells` are the cells' keys.

    Longer words are matched first, since short ones occur within others; finally words that are split over neighbouring cells.
    """
    longest = sorted(enumerate(words), key=lambda each: -len(key(each[1].text)))
    missing, unmatched = _match(longest, "\n".join(cells))
    missing, _ = _match(missing, unmatched.replace("\n", ""))
    return [word for _, word in sorted(missing)]


def _match(words: Iterable[tuple[int, Word]], text: str) -> tuple[list[tuple[int, Word]], str]:
    """The words that do not occur in the text, and the text without the others: each occurrence matches one word."""
    missing: list[tuple[int, Word]] = []
    for at, word in words:
        word_key = key(word.text)
        if word_key not in text:
            missing.append((at, word))
        elif word_key:
            # a NUL, so that nothing matches across the gap
            text = text.replace(word_key, "\0", 1)
    return missing, text
