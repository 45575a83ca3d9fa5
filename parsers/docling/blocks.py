"""DoclingDocument → blocks in reading order. Dropped: styles, images, furniture, and, except for PDFs, places."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from docling_core.types.doc import labels
from docling_core.types.doc.document import (  # type: ignore[attr-defined]  # re-exported without saying so
    CodeItem,
    ContentLayer,
    DocItem,
    DoclingDocument,
    FloatingItem,
    GroupItem,
    InlineGroup,
    ListGroup,
    ListItem,
    NodeItem,
    PictureItem,
    RichTableCell,
    SectionHeaderItem,
    TableCell,
    TableItem,
    TextItem,
    TitleItem,
)

from core.records import Block, BlockKind, Link
from parsers.docling.spacing import Paragraphs, key, restore

_BODY = frozenset({ContentLayer.BODY, ContentLayer.NOTES})
_FURNITURE = frozenset({labels.DocItemLabel.PAGE_HEADER, labels.DocItemLabel.PAGE_FOOTER})
_KINDS: dict[labels.DocItemLabel, BlockKind] = {
    labels.DocItemLabel.CAPTION: "caption",
    labels.DocItemLabel.CODE: "code",
    labels.DocItemLabel.FORMULA: "formula",
}
_BOXES: dict[object, str] = {labels.DocItemLabel.CHECKBOX_SELECTED: "\u2612 ", labels.DocItemLabel.CHECKBOX_UNSELECTED: "\u2610 "}
_DEEPEST_HEADING = 6

Place = tuple[float, float, float, float]
"""Left, top, right, bottom, as in `core.records.Block.box`."""


def blocks(document: DoclingDocument, paragraphs: Paragraphs, alt_texts: Iterable[str] = ()) -> tuple[Block, ...]:
    """Every block of the body and of the notes.

    `paragraphs` are the source's own texts (`parsers.docling.spacing`). `alt_texts` are the pictures' alt texts in order, for formats
    of which docling does not read them: matched one to one, or appended at the end if the numbers differ.
    """
    return tuple(Walk(document, paragraphs, tuple(alt_texts)).all())


@dataclass
class Walk:
    """The traversal of one document. A format with more information, such as places, overrides its methods."""

    document: DoclingDocument
    paragraphs: Paragraphs
    alt_texts: tuple[str, ...]
    visited: set[str] = field(default_factory=set)
    item_counts: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.below_title = any(isinstance(item, TitleItem) for item in self.document.texts)
        self.matched = len(self.alt_texts) == len(self.document.pictures)
        self.pictures = {picture.self_ref: at for at, picture in enumerate(self.document.pictures)}

    def all(self) -> Iterator[Block]:
        yield from self.children(self.document.body, 0)
        if not self.matched:
            yield from (Block("caption", text) for text in self.alt_texts if text)

    def children(self, node: NodeItem, nesting: int) -> Iterator[Block]:
        for reference in node.children:
            yield from self.item(reference.resolve(self.document), nesting)

    def item(self, node: NodeItem, nesting: int) -> Iterator[Block]:
        if node.self_ref in self.visited or node.content_layer not in _BODY or getattr(node, "label", None) in _FURNITURE:
            return
        self.visited.add(node.self_ref)
        if isinstance(node, InlineGroup):
            yield from self.text("paragraph", node)
        elif isinstance(node, GroupItem):
            yield from self.group(node, nesting)
        elif isinstance(node, TableItem):
            yield from self.table(node)
        elif isinstance(node, PictureItem):
            yield from self.picture(node, nesting)
        else:
            yield from self.words(node, nesting)

    def group(self, group: GroupItem, nesting: int) -> Iterator[Block]:
        inside = self.children(group, nesting + isinstance(group, ListGroup))
        if group.label == labels.GroupLabel.SHEET and group.name:
            inside = _below(Block("heading", group.name, level=1), inside)
        yield from inside

    def words(self, node: NodeItem, nesting: int) -> Iterator[Block]:
        """A text item, then its children. An item without a text of its own has it in an inline group."""
        text_node = node if getattr(node, "text", "") else self.inline(node)
        if text_node is not None:
            self.visited.add(text_node.self_ref)
            kind, level = self.kind(node, nesting)
            yield from self.text(kind, text_node, level, self.number(node))
        yield from self.children(node, nesting)

    def kind(self, node: NodeItem, nesting: int) -> tuple[BlockKind, int]:
        if isinstance(node, TitleItem):
            return "heading", 1
        if isinstance(node, SectionHeaderItem):
            return "heading", min(node.level + self.below_title, _DEEPEST_HEADING)
        if isinstance(node, ListItem):
            return "list_item", max(nesting, 1)
        return _KINDS.get(getattr(node, "label", labels.DocItemLabel.TEXT), "paragraph"), 0

    def number(self, node: NodeItem) -> str:
        """The number of an enumerated list's item, since other texts refer to it; or the mark of a checkbox."""
        if label := _BOXES.get(getattr(node, "label", None)):
            return label
        if not isinstance(node, ListItem) or not node.enumerated or node.parent is None:
            return ""
        self.item_counts[node.parent.cref] += 1
        return f"{node.marker.strip() or f'{self.item_counts[node.parent.cref]}.'} "

    def inline(self, node: NodeItem) -> NodeItem | None:
        first = node.children[0].resolve(self.document) if node.children else None
        return first if isinstance(first, InlineGroup) else None

    def text(self, kind: BlockKind, node: NodeItem, level: int = 0, number: str = "") -> Iterator[Block]:
        pieces = list(self.pieces(node))
        words = [piece.text for piece in pieces]
        text = "".join(words) if kind in {"code", "formula"} else restore(words, self.paragraphs)
        if text.strip():
            yield Block(
                kind, number + text.rstrip(), level=level, page=page_of(pieces[0]), links=self.links(pieces), box=self.box(pieces[0])
            )

    def pieces(self, node: NodeItem) -> Iterator[TextItem]:
        if isinstance(node, TextItem) and node.text:
            yield node
            return
        for reference in node.children:
            child = reference.resolve(self.document)
            self.visited.add(child.self_ref)
            yield from self.pieces(child)

    def links(self, pieces: Iterable[TextItem]) -> tuple[Link, ...]:
        """The links of a text. Neighbouring pieces with the same target are one link."""
        runs: list[tuple[str, list[str]]] = []
        for piece in pieces:
            target = str(piece.hyperlink) if piece.hyperlink else ""
            if runs and runs[-1][0] == target:
                runs[-1][1].append(piece.text)
            else:
                runs.append((target, [piece.text]))
        return tuple(Link(restore(texts, {}), target) for target, texts in runs if target)

    def box(self, item: DocItem) -> Place | None:
        """The item's place on its page; None here, since most formats have no meaningful places."""
        del item
        return None

    def table(self, table: TableItem) -> Iterator[Block]:
        yield from self.captions(table)
        rows = self.rows(table)
        links = self.table_links(table)
        if any(any(row) for row in rows):
            yield Block("table", page=page_of(table), rows=rows, links=links, box=self.box(table))

    def table_links(self, table: TableItem) -> tuple[Link, ...]:
        """The links in the table's cells. Visiting the cells marks their texts as visited."""
        return self.links([piece for piece in self.pieces(table) if not isinstance(piece, CodeItem)])

    def rows(self, table: TableItem) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(" ".join((self.cell(cell.text), *self.nested(cell))).strip() for cell in row) for row in table.data.grid)

    def nested(self, cell: TableCell) -> Iterator[str]:
        """The rows of tables nested in a cell, unless the cell's own text contains them, which differs by format."""
        own_text = key(cell.text)
        if isinstance(cell, RichTableCell):
            for item in self.below(cell.ref.resolve(self.document)):
                yield from (" | ".join(row) for row in self.rows(item) if any(key(text) not in own_text for text in row))

    def below(self, node: NodeItem) -> Iterator[TableItem]:
        for reference in node.children:
            item = reference.resolve(self.document)
            if isinstance(item, TableItem) and item.self_ref not in self.visited:
                self.visited.add(item.self_ref)
                yield item
            yield from self.below(item)

    def cell(self, text: str) -> str:
        return " ".join(restore([text], self.paragraphs).split())

    def picture(self, picture: PictureItem, nesting: int) -> Iterator[Block]:
        alt_text = self.alt_texts[self.pictures[picture.self_ref]] if self.matched else ""
        if alt_text.strip():
            yield Block("caption", " ".join(alt_text.split()), page=page_of(picture))
        yield from self.captions(picture)
        yield from self.chart(picture)
        yield from self.children(picture, nesting)

    def chart(self, picture: PictureItem) -> Iterator[Block]:
        chart = picture.meta.tabular_chart if picture.meta else None
        if chart is not None:
            rows = tuple(tuple(self.cell(cell.text) for cell in row) for row in chart.chart_data.grid)
            yield Block("table", page=page_of(picture), rows=rows)

    def captions(self, item: FloatingItem) -> Iterator[Block]:
        for reference in item.captions:
            yield from self.item(reference.resolve(self.document), 0)


def _below(heading: Block, inside: Iterator[Block]) -> Iterator[Block]:
    """The blocks below their heading; nothing if there are none."""
    for block in inside:
        yield heading
        yield block
        yield from inside


def page_of(item: DocItem) -> int | None:
    """The number of the page on which the item begins, from 1."""
    return item.prov[0].page_no if item.prov else None
