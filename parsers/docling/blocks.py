"""DoclingDocument → blocks in reading order. What docling knows and we do not keep: styles, images, furniture; boxes but for PDFs."""

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
"""As `core.records.Block.box` has it."""


def blocks(document: DoclingDocument, paragraphs: Paragraphs, alternatives: Iterable[str] = ()) -> tuple[Block, ...]:
    """Every block of the body and of the notes.

    `paragraphs` are the source's own texts (`parsers.docling.spacing`); `alternatives` the alt texts of the pictures in order, where
    docling
    does not read them: they are matched one to one, or follow at the end where the numbers differ.
    """
    return tuple(Walk(document, paragraphs, tuple(alternatives)).all())


@dataclass
class Walk:
    """One document's blocks. What a format has beside, places for one, it adds by a walk of its own."""

    document: DoclingDocument
    paragraphs: Paragraphs
    alternatives: tuple[str, ...]
    shown: set[str] = field(default_factory=set)
    counted: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.below_title = any(isinstance(item, TitleItem) for item in self.document.texts)
        self.matched = len(self.alternatives) == len(self.document.pictures)
        self.pictures = {picture.self_ref: at for at, picture in enumerate(self.document.pictures)}

    def all(self) -> Iterator[Block]:
        yield from self.children(self.document.body, 0)
        if not self.matched:
            yield from (Block("caption", text) for text in self.alternatives if text)

    def children(self, node: NodeItem, nesting: int) -> Iterator[Block]:
        for reference in node.children:
            yield from self.item(reference.resolve(self.document), nesting)

    def item(self, node: NodeItem, nesting: int) -> Iterator[Block]:
        if node.self_ref in self.shown or node.content_layer not in _BODY or getattr(node, "label", None) in _FURNITURE:
            return
        self.shown.add(node.self_ref)
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
        if group.label == labels.GroupLabel.SHEET and group.name:
            yield Block("heading", group.name, level=1)
        yield from self.children(group, nesting + isinstance(group, ListGroup))

    def words(self, node: NodeItem, nesting: int) -> Iterator[Block]:
        """A text item, then what hangs below it. One without text of its own has it in an inline group."""
        carrier = node if getattr(node, "text", "") else self.inline(node)
        if carrier is not None:
            self.shown.add(carrier.self_ref)
            kind, level = self.kind(node, nesting)
            yield from self.text(kind, carrier, level, self.number(node))
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
        """The number of an item in a list that counts: other texts refer to a step by it. Or whether a box is ticked."""
        if label := _BOXES.get(getattr(node, "label", None)):
            return label
        if not isinstance(node, ListItem) or not node.enumerated or node.parent is None:
            return ""
        self.counted[node.parent.cref] += 1
        return f"{node.marker.strip() or f'{self.counted[node.parent.cref]}.'} "

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
            self.shown.add(child.self_ref)
            yield from self.pieces(child)

    def links(self, pieces: Iterable[TextItem]) -> tuple[Link, ...]:
        """Neighbouring pieces with one target are one link."""
        runs: list[tuple[str, list[str]]] = []
        for piece in pieces:
            target = str(piece.hyperlink) if piece.hyperlink else ""
            if runs and runs[-1][0] == target:
                runs[-1][1].append(piece.text)
            else:
                runs.append((target, [piece.text]))
        return tuple(Link(restore(texts, {}), target) for target, texts in runs if target)

    def box(self, item: DocItem) -> Place | None:
        """Where on its page it stands; most formats have no places, or none that mean anything."""
        del item
        return None

    def table(self, table: TableItem) -> Iterator[Block]:
        yield from self.captions(table)
        rows = self.rows(table)
        links = self.table_links(table)
        if any(any(row) for row in rows):
            yield Block("table", page=page_of(table), rows=rows, links=links, box=self.box(table))

    def table_links(self, table: TableItem) -> tuple[Link, ...]:
        """The links in its cells, whose texts are told once they are asked for."""
        return self.links([piece for piece in self.pieces(table) if not isinstance(piece, CodeItem)])

    def rows(self, table: TableItem) -> tuple[tuple[str, ...], ...]:
        return tuple(tuple(" ".join((self.cell(cell.text), *self.nested(cell))).strip() for cell in row) for row in table.data.grid)

    def nested(self, cell: TableCell) -> Iterator[str]:
        """The tables within a cell, row for row, where the cell's own text does not have them: that differs by format."""
        told = key(cell.text)
        if isinstance(cell, RichTableCell):
            for item in self.below(cell.ref.resolve(self.document)):
                yield from (" | ".join(row) for row in self.rows(item) if any(key(text) not in told for text in row))

    def below(self, node: NodeItem) -> Iterator[TableItem]:
        for reference in node.children:
            item = reference.resolve(self.document)
            if isinstance(item, TableItem) and item.self_ref not in self.shown:
                self.shown.add(item.self_ref)
                yield item
            yield from self.below(item)

    def cell(self, text: str) -> str:
        return " ".join(restore([text], self.paragraphs).split())

    def picture(self, picture: PictureItem, nesting: int) -> Iterator[Block]:
        alternative = self.alternatives[self.pictures[picture.self_ref]] if self.matched else ""
        if alternative.strip():
            yield Block("caption", " ".join(alternative.split()), page=page_of(picture))
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


def page_of(item: DocItem) -> int | None:
    """The page on which it begins, from 1."""
    return item.prov[0].page_no if item.prov else None
