"""Data as readable text: JSON, JSON Lines and XML of any vocabulary.

All become a tree of named fields, and the tree becomes blocks: a value follows its name, records of one shape form a table, nested fields
go under a heading. Nothing is interpreted: numbers stay as written.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

from lxml import etree  # type: ignore[import-untyped]

from core.records import Block, BlockKind, Content
from parsers.decoding import decode
from parsers.properties import xml_parser
from parsers.text import plain

_DEEPEST_HEADING = 6
# below this level a record's fields are written with their path (`server.port`) instead of a heading
_HEADINGS_DOWN_TO = 3
_SMALL_CELLS, _SMALL_CHARACTERS = 3, 200
_WIDEST_TABLE = 64
# a longer text is not a cell; mostly empty rows are not one table
_LONGEST_CELL = 500
_LEAST_FILLED = 0.5

# element names of the common prose vocabularies (DocBook, DITA, TEI, NewsML …)
_PROSE_ELEMENTS: dict[str, BlockKind] = {
    **dict.fromkeys(("title", "head", "heading", "headline", "subtitle", "subheading"), "heading"),
    **dict.fromkeys(("p", "para", "simpara", "paragraph"), "paragraph"),
    **dict.fromkeys(("li", "listitem"), "list_item"),
    **dict.fromkeys(("code", "codeblock", "programlisting", "screen", "pre"), "code"),
    **dict.fromkeys(("caption", "alt"), "caption"),
    **dict.fromkeys(("formula", "equation"), "formula"),
}


class Field(NamedTuple):
    """A named value (the name is empty within a list); `prose` is the block kind that the name of an XML element implies."""

    name: str
    value: str | tuple[Field, ...]
    prose: BlockKind | None = None


def read_json(content: bytes) -> Content:
    """An object's fields or a list's records. Invalid JSON (with comments, or truncated) is kept as code."""
    try:
        fields = _fields(_loads(decode(content)))
    except ValueError:
        return plain.code(content)
    return Content(blocks=tuple(blocks(fields)), title=_title(fields))


def read_json_lines(content: bytes) -> Content:
    """One record per line; an invalid line is kept verbatim."""
    lines = [line for line in decode(content).split("\n") if line.strip()]
    return Content(blocks=tuple(blocks([_field("", _line(line)) for line in lines])))


def read_xml(content: bytes) -> Content:
    """Elements and their attributes by local name; no entity is resolved. XML that is not well-formed is kept as code."""
    try:
        root = etree.fromstring(content, xml_parser())
    except (etree.XMLSyntaxError, ValueError):
        return plain.code(content)
    field = _element(root)
    fields = field.value if isinstance(field.value, tuple) else (field,)
    return Content(blocks=tuple(blocks(fields)), title=_title(fields))


def _title(fields: Sequence[Field]) -> str:
    return next((field.value for field in fields if field.name.lower() == "title" and isinstance(field.value, str)), "")


def _loads(source: str) -> Any:
    return json.loads(source, parse_float=str, parse_int=str, parse_constant=str, object_pairs_hook=_Object)


class _Object(list[tuple[str, Any]]):
    """A JSON object's pairs in their order, repeated names included."""


def _line(line: str) -> Any:
    try:
        return _loads(line)
    except ValueError:
        return line.strip()


def _fields(value: Any) -> tuple[Field, ...]:
    if isinstance(value, _Object):
        return tuple(_field(name, inner) for name, inner in value)
    if isinstance(value, list):
        return tuple(_field("", inner) for inner in value)
    return (_field("", value),)


def _field(name: str, value: Any) -> Field:
    if isinstance(value, list):
        return Field(_flat(name), _fields(value))
    words = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return Field(_flat(name), _clean(words))


def _element(element: etree._Element) -> Field:
    name = etree.QName(element).localname
    children = [child for child in element if isinstance(child.tag, str)]
    prose = _PROSE_ELEMENTS.get(name.lower())
    if prose or _has_text(element, children):
        words = "".join(element.itertext())
        text = words.strip("\n").rstrip() if prose == "code" else _flat(words)
        own = _attributes(element) if not children and not prose else ()
        return Field(name, (*own, Field("", text)) if own else text, prose)
    return Field(name, (*_attributes(element), *map(_element, children)))


def _has_text(element: etree._Element, children: list[etree._Element]) -> bool:
    """Whether the element is a leaf or has mixed content."""
    return not children or any((words or "").strip() for words in (element.text, *(child.tail for child in children)))


def _attributes(element: etree._Element) -> tuple[Field, ...]:
    return tuple(Field(etree.QName(name).localname, _flat(value)) for name, value in element.attrib.items() if value.strip())


def _flat(words: str) -> str:
    return " ".join(_clean(words).split())


def _clean(words: str) -> str:
    """The text without lone surrogates and NULs, which JSON can escape."""
    return words.encode("utf-8", "replace").decode().replace("\0", "")


def blocks(fields: Sequence[Field], depth: int = 1) -> Iterator[Block]:
    """The fields in order. `depth` is the level of a heading among them; nested headings are one level below it if there is one."""
    below = depth + any(field.prose == "heading" for field in fields)
    names = Counter(field.name for field in fields if isinstance(field.value, tuple))
    for (layout, name), run in groupby(fields, key=lambda field: _layout(field, names[field.name] > 1, below)):
        yield from _LAYOUTS[layout](list(run), name, depth if layout == "prose" else below)


def _layout(field: Field, repeated: bool, depth: int) -> tuple[str, str]:
    """The layout of a field, and its name; neighbours for which both are equal are rendered together."""
    if field.prose:
        return "prose", ""
    if isinstance(field.value, str):
        return ("line" if field.name else "item"), ""
    if not _is_flat(field.value):
        return "part", field.name
    inline = field.name and not repeated and (depth > _HEADINGS_DOWN_TO or _is_small(field))
    return ("line", "") if inline else ("records", field.name)


def _is_flat(fields: tuple[Field, ...]) -> bool:
    """Whether a record fits a row: it contains only texts, and lists and records of these with distinct names."""
    if any(field.prose for field in fields):
        return False
    inner = [(field.name, field.value) for field in fields if isinstance(field.value, tuple)]
    names = {name for name, _ in inner}
    return "" not in names and len(names) == len(inner) and all(_is_flat(value) for _, value in inner)


def _is_small(field: Field) -> bool:
    cells = list(_cells([field]))
    return len(cells) <= _SMALL_CELLS and sum(len(value) for _, value in cells) <= _SMALL_CHARACTERS


def _prose(run: list[Field], _: str, depth: int) -> Iterator[Block]:
    for field in run:
        if field.prose and isinstance(field.value, str) and field.value:
            level = {"heading": min(depth, _DEEPEST_HEADING), "list_item": 1}.get(field.prose, 0)
            yield Block(field.prose, field.value, level=level)


def _lines(run: list[Field], _: str, __: int) -> Iterator[Block]:
    yield from plain.paragraphs("\n".join(f"{name}: {value}" if name else value for name, value in _joined(run)))


def _items(run: list[Field], _: str, __: int) -> Iterator[Block]:
    for field in run:
        if isinstance(field.value, str) and field.value.strip():
            yield Block("list_item", field.value.strip(), level=1)


def _records(run: list[Field], name: str, depth: int) -> Iterator[Block]:
    rows = [dict(_joined(field.value)) for field in run if isinstance(field.value, tuple)]
    filled = [row for row in rows if row]
    if not filled:
        return
    yield from _heading(name, depth)
    if table := _table(filled):
        yield Block("table", rows=table)
    else:
        for field in run:
            yield from _lines(list(field.value) if isinstance(field.value, tuple) else [field], "", depth)


def _table(rows: list[dict[str, str]]) -> tuple[tuple[str, ...], ...]:
    """The rows below a header of names; empty if there are too few rows, too many columns, too long or too many missing values."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    filled = sum(len(row) for row in rows)
    longest = max((len(value) for row in rows for value in row.values()), default=0)
    if len(rows) < 2 or len(names) > _WIDEST_TABLE or longest > _LONGEST_CELL or filled < _LEAST_FILLED * len(rows) * len(names):
        return ()
    return (tuple(names), *(tuple(" ".join(row.get(name, "").split()) for name in names) for row in rows))


def _parts(run: list[Field], name: str, depth: int) -> Iterator[Block]:
    for field in run:
        inner = field.value if isinstance(field.value, tuple) else (field,)
        titled = any(child.prose == "heading" for child in inner)
        below = list(blocks(inner, depth + bool(name and not titled)))
        yield from _heading(name, depth) if below and not titled else ()
        yield from below


def _heading(name: str, depth: int) -> Iterator[Block]:
    if name:
        yield Block("heading", name, level=min(depth, _DEEPEST_HEADING))


def _joined(fields: Sequence[Field]) -> Iterator[tuple[str, str]]:
    """Paths and values; several values of one path, as of a list, joined with commas."""
    by_path: dict[str, list[str]] = {}
    for path, value in _cells(fields):
        by_path.setdefault(path, []).append(value)
    return ((path, ", ".join(values)) for path, values in by_path.items())


def _cells(fields: Sequence[Field], prefix: str = "") -> Iterator[tuple[str, str]]:
    for field in fields:
        path = f"{prefix}.{field.name}".strip(".")
        if isinstance(field.value, tuple):
            yield from _cells(field.value, path)
        elif field.value.strip():
            yield path, field.value.strip()


_LAYOUTS: dict[str, Callable[[list[Field], str, int], Iterator[Block]]] = {
    "prose": _prose,
    "line": _lines,
    "item": _items,
    "records": _records,
    "part": _parts,
}
