"""PowerPoint 97 to 2003 (.ppt) → blocks: each slide's title, text and notes, with the slide's number as the page.

Follows [MS-PPT] and uses its record names. Pictures, charts, masters and macros are ignored; the cells of a table become paragraphs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from core.records import Block
from parsers.reasons import ParseError

# record types (2.13.24 RecordType)
_USER_EDIT, _PERSIST_DIRECTORY, _SLIDE_LIST = 0x0FF5, 0x1772, 0x0FF0
_SLIDE_PERSIST, _NOTES_ATOM, _TEXT_HEADER, _TEXT_CHARS, _TEXT_BYTES, _OUTLINE_REF = 0x03F3, 0x03F1, 0x0F9F, 0x0FA0, 0x0FA8, 0x0F9E
_CURRENT_ENCRYPTED = 0xF3D1C4DF
_CONTAINER = 0x0F
_SLIDES, _NOTES = 0, 2
# kinds of text (2.13.33 TextTypeEnum)
_TITLES, _BODIES, _OTHER = (0, 6), (1, 5, 7, 8), 4
_MOST_EDITS = 10_000
_DEEPEST = 100
_RENDERED = str.maketrans({"\x0b": "\n", "\x00": ""})


class _Record(NamedTuple):
    kind: int
    instance: int
    body: memoryview
    is_container: bool


class _Text(NamedTuple):
    kind: int
    words: str


class _Slide(NamedTuple):
    """An entry of the slide list: its persist id, its slide id, and its texts in the outline."""

    persist: int
    identity: int
    texts: list[_Text]


def blocks(current_user: bytes, document: bytes) -> Iterator[Block]:
    """The blocks of a presentation, from its streams `Current User` and `PowerPoint Document`. Raises ParseError or struct.error."""
    token, latest = struct.unpack_from("<II", current_user, 12)
    if token == _CURRENT_ENCRYPTED:
        raise ParseError("encrypted-document")
    stream = memoryview(document)
    offsets, root = _persist_directory(stream, latest)
    lists = {record.instance: record.body for record in _records(_at(stream, offsets[root]).body) if record.kind == _SLIDE_LIST}
    notes = _notes(stream, offsets, lists.get(_NOTES))
    return _slides(stream, offsets, lists.get(_SLIDES), notes)


def _slides(
    stream: memoryview, offsets: Mapping[int, int], slide_list: memoryview | None, notes: Mapping[int, list[_Text]]
) -> Iterator[Block]:
    for page, slide in enumerate(_distinct(_slide_list(slide_list)), start=1):
        shapes = list(_texts(_at(stream, offsets[slide.persist]).body, slide.texts)) if slide.persist in offsets else slide.texts
        for text in shapes:
            yield from _blocks(text, page)
        for text in notes.get(slide.identity, ()):
            yield from _blocks(text, page)


def _distinct(slides: list[_Slide]) -> list[_Slide]:
    """The distinct slides: a list that repeats a slide would expand a small file into a large text."""
    return list({slide.persist: slide for slide in reversed(slides)}.values())[::-1]


def _persist_directory(stream: memoryview, latest: int) -> tuple[dict[int, int], int]:
    """Each object's offset by persist id, newest edit first (2.1.2), and the document's persist id."""
    offsets: dict[int, int] = {}
    root = -1
    for _ in range(_MOST_EDITS):
        edit = _at(stream, latest)
        if edit.kind != _USER_EDIT:
            raise ParseError("corrupt-document")
        earlier, directory, document = struct.unpack_from("<III", edit.body, 8)
        root = document if root < 0 else root
        for identity, offset in _directory(_at(stream, directory).body):
            offsets.setdefault(identity, offset)
        if not earlier or earlier >= latest:
            break
        latest = earlier
    if root not in offsets:
        raise ParseError("corrupt-document")
    return offsets, root


def _directory(body: memoryview) -> Iterator[tuple[int, int]]:
    at = 0
    while at + 4 <= len(body):
        (packed,) = struct.unpack_from("<I", body, at)
        first, count = packed & 0xFFFFF, packed >> 20
        for number, (offset,) in enumerate(struct.iter_unpack("<I", body[at + 4 : at + 4 + 4 * count])):
            yield first + number, offset
        at += 4 + 4 * count


def _at(stream: memoryview, offset: int) -> _Record:
    packed, kind, length = struct.unpack_from("<HHI", stream, offset)
    return _Record(kind, packed >> 4, stream[offset + 8 : offset + 8 + length], packed & _CONTAINER == _CONTAINER)


def _records(body: memoryview) -> Iterator[_Record]:
    at = 0
    while at + 8 <= len(body):
        record = _at(body, at)
        yield record
        at += 8 + len(record.body)


def _slide_list(body: memoryview | None) -> list[_Slide]:
    slides: list[_Slide] = []
    kind = _OTHER
    for record in _records(body) if body is not None else ():
        if record.kind == _SLIDE_PERSIST:
            persist, identity = struct.unpack_from("<I8xI", record.body)
            slides.append(_Slide(persist, identity, []))
        elif record.kind == _TEXT_HEADER:
            (kind,) = struct.unpack_from("<I", record.body)
        elif slides and (words := _words(record)) is not None:
            slides[-1].texts.append(_Text(kind, words))
    return slides


def _notes(stream: memoryview, offsets: Mapping[int, int], slide_list: memoryview | None) -> dict[int, list[_Text]]:
    """The speaker notes of each slide, by slide id."""
    notes: dict[int, list[_Text]] = {}
    for page in _slide_list(slide_list):
        if page.persist in offsets:
            body = _at(stream, offsets[page.persist]).body
            slides = [struct.unpack_from("<I", record.body)[0] for record in _records(body) if record.kind == _NOTES_ATOM]
            notes.update({slide: [_Text(_OTHER, text.words) for text in _texts(body, page.texts) if text.kind == 2] for slide in slides})
    return notes


def _texts(body: memoryview, outline: list[_Text], depth: int = 0) -> Iterator[_Text]:
    """The texts of all shapes in drawing order; a shape may refer to a text of the outline."""
    kind = _OTHER
    for record in _records(body):
        if record.is_container and depth < _DEEPEST:
            yield from _texts(record.body, outline, depth + 1)
        elif record.kind == _TEXT_HEADER:
            (kind,) = struct.unpack_from("<I", record.body)
        elif record.kind == _OUTLINE_REF:
            (index,) = struct.unpack_from("<I", record.body)
            yield from outline[index : index + 1]
        elif (words := _words(record)) is not None:
            yield _Text(kind, words)


def _words(record: _Record) -> str | None:
    if record.kind == _TEXT_CHARS:
        return bytes(record.body).decode("utf-16-le", "replace")
    # the low byte of each character (2.9.42 TextBytesAtom)
    return bytes(record.body).decode("latin-1") if record.kind == _TEXT_BYTES else None


def _blocks(text: _Text, page: int) -> Iterator[Block]:
    pieces = [piece.translate(_RENDERED).strip() for piece in text.words.split("\r")]
    if text.kind in _TITLES:
        title = " ".join(" ".join(pieces).split())
        yield from [Block("heading", title, level=1, page=page)] * bool(title)
        return
    for piece in filter(None, pieces):
        if text.kind in _BODIES:
            yield Block("list_item", piece, level=1, page=page)
        else:
            yield Block("paragraph", piece, page=page)
