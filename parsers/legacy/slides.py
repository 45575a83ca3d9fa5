"""PowerPoint's binary format since 97 (.ppt) → blocks: each slide's title, text and notes, with its number as the page.

The layout is that of [MS-PPT], whose record names are used here. Pictures, charts, masters and macros are not looked at; the cells of a
table are paragraphs.
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
_SHOWN = str.maketrans({"\x0b": "\n", "\x00": ""})


class _Record(NamedTuple):
    kind: int
    instance: int
    body: memoryview
    is_container: bool


class _Text(NamedTuple):
    kind: int
    words: str


class _Listed(NamedTuple):
    """A slide of the list: where it is kept, its id, and the texts that the outline has of it."""

    persist: int
    identity: int
    texts: list[_Text]


def blocks(current_user: bytes, document: bytes) -> Iterator[Block]:
    """The blocks of a presentation, from its streams `Current User` and `PowerPoint Document`. Raises ParseError and struct.error."""
    token, latest = struct.unpack_from("<II", current_user, 12)
    if token == _CURRENT_ENCRYPTED:
        raise ParseError("encrypted-document")
    stream = memoryview(document)
    places, root = _persisted(stream, latest)
    lists = {record.instance: record.body for record in _records(_at(stream, places[root]).body) if record.kind == _SLIDE_LIST}
    notes = _notes(stream, places, lists.get(_NOTES))
    return _slides(stream, places, lists.get(_SLIDES), notes)


def _slides(stream: memoryview, places: Mapping[int, int], listed: memoryview | None, notes: Mapping[int, list[_Text]]) -> Iterator[Block]:
    for page, slide in enumerate(_once(_listed(listed)), start=1):
        shapes = list(_texts(_at(stream, places[slide.persist]).body, slide.texts)) if slide.persist in places else slide.texts
        for text in shapes:
            yield from _blocks(text, page)
        for text in notes.get(slide.identity, ()):
            yield from _blocks(text, page)


def _once(slides: list[_Listed]) -> list[_Listed]:
    """Each slide once: a list that repeats one would make a large text of a small file."""
    return list({slide.persist: slide for slide in reversed(slides)}.values())[::-1]


def _persisted(stream: memoryview, latest: int) -> tuple[dict[int, int], int]:
    """Where each object is kept, newest edit first (2.1.2), and which is the document."""
    places: dict[int, int] = {}
    root = -1
    for _ in range(_MOST_EDITS):
        edit = _at(stream, latest)
        if edit.kind != _USER_EDIT:
            raise ParseError("corrupt-document")
        earlier, directory, document = struct.unpack_from("<III", edit.body, 8)
        root = document if root < 0 else root
        for identity, offset in _directory(_at(stream, directory).body):
            places.setdefault(identity, offset)
        if not earlier or earlier >= latest:
            break
        latest = earlier
    if root not in places:
        raise ParseError("corrupt-document")
    return places, root


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


def _listed(body: memoryview | None) -> list[_Listed]:
    found: list[_Listed] = []
    kind = _OTHER
    for record in _records(body) if body is not None else ():
        if record.kind == _SLIDE_PERSIST:
            persist, identity = struct.unpack_from("<I8xI", record.body)
            found.append(_Listed(persist, identity, []))
        elif record.kind == _TEXT_HEADER:
            (kind,) = struct.unpack_from("<I", record.body)
        elif found and (words := _words(record)) is not None:
            found[-1].texts.append(_Text(kind, words))
    return found


def _notes(stream: memoryview, places: Mapping[int, int], listed: memoryview | None) -> dict[int, list[_Text]]:
    """What is written below each slide, by the slide's id."""
    found: dict[int, list[_Text]] = {}
    for page in _listed(listed):
        if page.persist in places:
            body = _at(stream, places[page.persist]).body
            slides = [struct.unpack_from("<I", record.body)[0] for record in _records(body) if record.kind == _NOTES_ATOM]
            found.update({slide: [_Text(_OTHER, text.words) for text in _texts(body, page.texts) if text.kind == 2] for slide in slides})
    return found


def _texts(body: memoryview, outline: list[_Text], depth: int = 0) -> Iterator[_Text]:
    """The texts of all shapes in drawing order; a shape may refer to the outline's text instead of having one."""
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
    # the lower half of each character (2.9.42 TextBytesAtom)
    return bytes(record.body).decode("latin-1") if record.kind == _TEXT_BYTES else None


def _blocks(text: _Text, page: int) -> Iterator[Block]:
    pieces = [piece.translate(_SHOWN).strip() for piece in text.words.split("\r")]
    if text.kind in _TITLES:
        title = " ".join(" ".join(pieces).split())
        yield from [Block("heading", title, level=1, page=page)] * bool(title)
        return
    for piece in filter(None, pieces):
        if text.kind in _BODIES:
            yield Block("list_item", piece, level=1, page=page)
        else:
            yield Block("paragraph", piece, page=page)
