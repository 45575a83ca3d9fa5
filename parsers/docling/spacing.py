"""Restore a paragraph's original text. docling strips the white space around bold, links and code, and flattens quotation marks and
dashes; the source's own paragraphs, looked up by a key without either, restore both."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# as docling's HTML reader does, so that its text and the source's have the same key
_FLATTENED = str.maketrans(
    {
        **dict.fromkeys("\u200b\u200c\u200d\u00ad\ufeff\u2060", ""),
        **dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2015", "-"),
        **dict.fromkeys("\u2018\u2019", "'"),
        **dict.fromkeys("\u201c\u201d", '"'),
        "\u2026": "...",
    }
)
_NO_SPACE_BEFORE = frozenset(",.;:!?)]}%'\u2019\u201d\u2026")
_NO_SPACE_AFTER = frozenset("([{\u2018\u201c")

Paragraphs = Mapping[str, str]


def index(paragraphs: Iterable[str]) -> Paragraphs:
    """The source's paragraphs by key; the first of those that differ only in white space."""
    by_key: dict[str, str] = {}
    for paragraph in paragraphs:
        by_key.setdefault(key(paragraph), paragraph)
    return by_key


def restore(pieces: Iterable[str], paragraphs: Paragraphs) -> str:
    """The pieces of a paragraph as one text: the source's if known, else joined with spaces except next to punctuation."""
    words = [piece for piece in pieces if piece.strip()]
    original = paragraphs.get(key("".join(words)))
    return original if original is not None else _join(words)


def key(words: str) -> str:
    """A text's key: without white space, with quotation marks and dashes flattened."""
    return "".join(words.translate(_FLATTENED).split())


def _join(pieces: list[str]) -> str:
    text = ""
    for piece in pieces:
        text += _separator(text, piece) + piece
    return text.strip()


def _separator(left: str, right: str) -> str:
    if not left or left[-1].isspace() or right[0].isspace() or left[-1] in _NO_SPACE_AFTER or right[0] in _NO_SPACE_BEFORE:
        return ""
    return " "
