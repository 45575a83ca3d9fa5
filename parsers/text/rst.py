"""reStructuredText → blocks, from docutils' document tree, without a conversion to HTML.

Raw content, included files and configuration files are disabled, and nothing is written to stderr.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from docutils.core import publish_doctree
from docutils.parsers.rst import Directive, Parser, directives, roles
from docutils.parsers.rst.languages import en as english

from core.records import Block, BlockKind, Content, Link
from parsers.decoding import decode

_SETTINGS: dict[str, Any] = {
    "_disable_config": True,
    "docinfo_xform": False,
    "doctitle_xform": False,
    "file_insertion_enabled": False,
    "halt_level": 5,
    "raw_enabled": False,
    # messages below an error are noise; an error carries the source that docutils could not parse, which is kept as code
    "report_level": 3,
    "smart_quotes": False,
    "syntax_highlight": "none",
    "warning_stream": False,
    "line_length_limit": 1_000_000,
}
_PEP = re.compile(r"PEP: \d+\n")
_DIRECTIVE = re.compile(r"^[ \t]*\.\.[ \t]+(?:\|[^|\n]+\|[ \t]+)?([A-Za-z][\w:.+-]*?)[ \t]*::(?:\s|$)", re.MULTILINE)
_ROLE = re.compile(r":([A-Za-z][\w:.+-]*):`|`:([A-Za-z][\w:.+-]*):")
_SILENT = {"currentmodule", "default-domain", "highlight", "index", "module", "tabularcolumns", "toctree"}
_ROLE_TARGET = re.compile(r"^(?P<text>.+?)\s*<(?P<target>[^<>]+)>$", re.DOTALL)

_DROPPED = (
    nodes.comment,
    nodes.substitution_definition,
    nodes.target,
    nodes.pending,
    nodes.raw,
    nodes.decoration,
    nodes.meta,
)
# classes of nodes that docutils generates: tables of contents, lists of messages
_GENERATED = {"contents", "system-messages"}
_TEXTS: dict[type[nodes.Node], BlockKind] = {
    nodes.paragraph: "paragraph",
    nodes.line_block: "paragraph",
    nodes.rubric: "paragraph",
    nodes.attribution: "paragraph",
    nodes.subtitle: "paragraph",
    nodes.literal_block: "code",
    nodes.doctest_block: "code",
    nodes.math_block: "formula",
    nodes.caption: "caption",
    nodes.legend: "caption",
}


def read(content: bytes) -> Content:
    """Blocks in reading order; the field list before the first section (such as a PEP's preamble) also as properties."""
    source = decode(content)
    tree = _tree(source)
    blocks = tuple(_blocks(tree, depth=0, nesting=0))
    properties = _properties(tree)
    heading = next((block.text for block in blocks if block.kind == "heading"), "")
    return Content(blocks=blocks, title=properties.get("title") or heading, properties=properties)


def _tree(source: str) -> nodes.document:
    _accept_unknown(source)
    return publish_doctree(source, parser=Parser(rfc2822=bool(_PEP.match(source))), settings_overrides=_SETTINGS)


def _accept_unknown(source: str) -> None:
    """Register the source's unknown directives and roles (Sphinx's), so that docutils keeps their content instead of reporting errors."""
    for name in ("code", "code-block", "sourcecode"):
        directives.register_directive(name, _Code)
    for name in set(_DIRECTIVE.findall(source)):
        if name.lower() not in english.directives:
            directives.register_directive(name, _Hidden if name.lower() in _SILENT else _Container)
    for name in {first or second for first, second in _ROLE.findall(source)}:
        if name.lower() not in english.roles:
            roles.register_local_role(name, _as_text)  # type: ignore[arg-type]  # a role may return any nodes


class _AnyOption(dict[str, Any]):
    """An option specification that accepts every option, as text."""

    def __missing__(self, name: str) -> Any:
        return directives.unchanged


class _Lenient(Directive):
    has_content = True
    optional_arguments = 1
    final_argument_whitespace = True
    option_spec = _AnyOption(name=directives.unchanged)


class _Hidden(_Lenient):
    """A directive that renders nothing."""

    def run(self) -> list[nodes.Node]:
        return []


class _Code(_Lenient):
    """A code block, with any of Sphinx's options."""

    def run(self) -> list[nodes.Node]:
        words = "\n".join(self.content)
        caption = self.options.get("caption", "")
        return [nodes.paragraph("", caption)] * bool(caption) + [nodes.literal_block(words, words)]


class _Container(_Lenient):
    """An unknown directive: its argument and its body, parsed as ordinary text."""

    def run(self) -> list[nodes.Node]:
        container = nodes.container()
        if self.arguments:
            words, messages = self.state.inline_text(self.arguments[0], self.lineno)
            container += nodes.paragraph("", "", *words, *messages)
        self.state.nested_parse(self.content, self.content_offset, container)
        return [container]


def _as_text(_role: str, raw: str, text: str, *_: Any, **__: Any) -> tuple[list[nodes.Node], list[nodes.Node]]:
    """An unknown role: its text without the target, as Sphinx renders it."""
    words = nodes.unescape(text)
    match = _ROLE_TARGET.match(words)
    shown = match["text"] if match else words.removeprefix("!")
    return [nodes.inline(raw, shown.rpartition(".")[2] if shown.startswith("~") else shown)], []


def _properties(tree: nodes.document) -> dict[str, str]:
    first = next((child for child in tree.children if not isinstance(child, _DROPPED)), None)
    if isinstance(first, nodes.section):
        first = next((child for child in first.children[1:] if not isinstance(child, _DROPPED)), None)
    if not isinstance(first, nodes.field_list):
        return {}
    return {_field_name(field): _flat(field[-1].astext()) for field in first.children if isinstance(field, nodes.field)}


def _field_name(field: nodes.field) -> str:
    return re.sub(r"\W+", "_", field[0].astext().strip().lower())


def _blocks(node: nodes.Node, depth: int, nesting: int) -> Iterator[Block]:
    """`depth` counts sections, `nesting` lists."""
    for child in node.children:
        if not isinstance(child, _DROPPED) and _GENERATED.isdisjoint(getattr(child, "attributes", {}).get("classes", ())):
            yield from _block(child, depth, nesting)


def _block(node: nodes.Node, depth: int, nesting: int) -> Iterator[Block]:
    if isinstance(node, nodes.section):
        yield from _blocks(node, depth + 1, nesting)
    elif isinstance(node, nodes.title):
        yield from _title(node, depth)
    elif kind := _TEXTS.get(type(node)):
        yield from _leaf(node, kind)
    elif isinstance(node, nodes.list_item | nodes.definition_list_item):
        yield from _item(node, depth, nesting)
    elif isinstance(node, nodes.field_list):
        yield from _fields(node)
    elif isinstance(node, nodes.table):
        yield from _table(node)
    else:
        yield from _other(node, depth, nesting)


def _other(node: nodes.Node, depth: int, nesting: int) -> Iterator[Block]:
    if isinstance(node, nodes.image):
        yield from _text_block("caption", node.get("alt", ""))
    elif isinstance(node, nodes.footnote | nodes.citation):
        yield from _footnote(node)
    elif isinstance(node, nodes.option_list):
        yield from _options(node)
    elif isinstance(node, nodes.system_message):
        yield from _unparsed(node)
    elif isinstance(node, nodes.problematic | nodes.TextElement):
        yield from _leaf(node, "paragraph")
    else:
        yield from _blocks(node, depth, nesting + isinstance(node, nodes.Sequential))


def _title(node: nodes.title, depth: int) -> Iterator[Block]:
    """A section's title is a heading; the title of an admonition, a topic or a table is not."""
    if isinstance(node.parent, nodes.section):
        yield Block("heading", _flat(node.astext()), level=min(max(depth, 1), 6), links=_links(node))
    else:
        yield from _leaf(node, "caption" if isinstance(node.parent, nodes.table) else "paragraph")


def _leaf(node: nodes.Node, kind: BlockKind) -> Iterator[Block]:
    yield from _text_block(kind, _words(node, kind), _links(node))
    for image in node.findall(nodes.image):
        yield from _text_block("caption", image.get("alt", ""))


def _text_block(kind: BlockKind, words: str, links: tuple[Link, ...] = ()) -> Iterator[Block]:
    if words.strip():
        yield Block(kind, words.rstrip(), links=links)


def _words(node: nodes.Node, kind: BlockKind) -> str:
    """The node's text; line breaks carry meaning in code, formulas and line blocks only."""
    if isinstance(node, nodes.line_block):
        return "\n".join(line.astext() for line in node.findall(nodes.line))
    return node.astext() if kind in {"code", "formula"} else _flat(node.astext())


def _item(node: nodes.Element, depth: int, nesting: int) -> Iterator[Block]:
    """A list item for its first paragraph, or a definition's term; its other children follow as blocks of their own."""
    head, others = _split_head(node)
    if head is not None and head.astext().strip():
        yield Block("list_item", _number(node) + _flat(head.astext()), level=max(nesting, 1), links=_links(head))
    for child in others:
        if not isinstance(child, _DROPPED):
            yield from _block(child, depth, nesting)


def _number(item: nodes.Element) -> str:
    """The number of an enumerated list's item, since other texts refer to it. Roman numerals are written in Arabic."""
    if not isinstance(item.parent, nodes.enumerated_list):
        return ""
    number = item.parent.get("start", 1) + item.parent.index(item)
    letters = {"loweralpha": "a", "upperalpha": "A"}.get(item.parent["enumtype"])
    label = chr(ord(letters) + number - 1) if letters and number <= 26 else str(number)
    return f"{item.parent['prefix']}{label}{item.parent['suffix']} "


def _split_head(node: nodes.Element) -> tuple[nodes.Node | None, list[nodes.Node]]:
    children = list(node.children)
    if children and isinstance(children[0], nodes.paragraph | nodes.term):
        return children[0], children[1:]
    return None, children


def _fields(node: nodes.field_list) -> Iterator[Block]:
    """One paragraph with a line per field, so that values stay next to their labels."""
    lines = [f"{field[0].astext()}: {_flat(field[-1].astext())}" for field in node.children if isinstance(field, nodes.field)]
    yield from _text_block("paragraph", "\n".join(lines), _links(node))


def _footnote(node: nodes.Element) -> Iterator[Block]:
    label = next((child.astext() for child in node.children if isinstance(child, nodes.label)), "")
    words = _flat(" ".join(child.astext() for child in node.children if not isinstance(child, nodes.label | nodes.system_message)))
    yield from _text_block("paragraph", f"[{label}] {words}" if words else "", _links(node))


def _unparsed(message: nodes.system_message) -> Iterator[Block]:
    """The source quoted by a docutils error, as code, so that it is not lost."""
    for source in message.findall(nodes.literal_block):
        yield from _text_block("code", source.astext())


def _options(node: nodes.option_list) -> Iterator[Block]:
    for item in node.children:
        if isinstance(item, nodes.Element):
            yield Block("list_item", _flat("  ".join(child.astext() for child in item.children)), level=1, links=_links(item))


def _table(node: nodes.table) -> Iterator[Block]:
    for title in node.children:
        if isinstance(title, nodes.title):
            yield from _title(title, 0)
    rows = tuple(_row(row) for row in node.findall(nodes.row))
    if any(any(row) for row in rows):
        yield Block("table", rows=rows, links=_links(node))


def _row(row: nodes.row) -> tuple[str, ...]:
    """A row's cells. A cell that spans columns is repeated in each, so that all rows have the same length."""
    cells: list[str] = []
    for entry in row.children:
        if isinstance(entry, nodes.entry):
            cells += [_flat(entry.astext())] * (entry.get("morecols", 0) + 1)
    return tuple(cells)


def _links(node: nodes.Node) -> tuple[Link, ...]:
    links = (Link(_flat(reference.astext()), _target(reference)) for reference in node.findall(nodes.reference))
    return tuple(link for link in links if link.target)


def _target(reference: nodes.reference) -> str:
    return str(reference.get("refuri") or (f"#{reference['refid']}" if "refid" in reference else ""))


def _flat(words: str) -> str:
    return " ".join(words.split())
