"""The text of a paragraph as the source has it. docling strips the white space around bold, links and code, and flattens quotation
marks and dashes; the source's own paragraphs, looked up by what is left without them, put both back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

# as docling's HTML reader does, so that its text and the source's meet in one key
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
    """The source's paragraphs by key; of two that differ in white space alone the first."""
    known: dict[str, str] = {}
    for paragraph in paragraphs:
        known.setdefault(key(paragraph), paragraph)
    return known


def restore(pieces: Iterable[str], paragraphs: Paragraphs) -> str:
    """The pieces of a paragraph as one text: the source's, or joined with spaces but before and after punctuation."""
    words = [piece for piece in pieces if piece.strip()]
    found = paragraphs.get(key("".join(words)))
    return found if found is not None else _joined(words)


def key(words: str) -> str:
    """What is left of a text without white space and the forms of quotation marks and dashes: two of one key say the same."""
    return "".join(words.translate(_FLATTENED).split())


def _joined(pieces: list[str]) -> str:
    text = ""
    for piece in pieces:
        text += _between(text, piece) + piece
    return text.strip()


def _between(left: str, right: str) -> str:
    if not left or left[-1].isspace() or right[0].isspace() or left[-1] in _NO_SPACE_AFTER or right[0] in _NO_SPACE_BEFORE:
        return ""
    return " "
