"""Quality signals: measured over any Content, and compared with the tenant's thresholds for quarantine.

The PDF reader sets the signals that only it knows (pages, grades, dropped, confidence); they are kept.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from msgspec import structs

from core.policy import Reading
from core.records import Block, Content, Signals
from parsers.language import identify

_SAMPLE_BLOCKS, _SAMPLE_CHARACTERS, _SAMPLE_WORDS = 1000, 1000, 5000
_FEWEST_WORDS = 20
_PROSE = ("heading", "paragraph", "list_item", "table", "caption")

# a lost character: U+FFFD; a C1 control (Windows-1252 read as Latin-1); a PDF's glyph without a character; UTF-8 read as Windows-1252
_CONTINUED = (
    "[\xa0-\xbf\u20ac\u201a\u0192\u201e\u2026\u2020\u2021\u02c6\u2030\u0160\u2039"
    "\u0152\u017d\u2018\u201c\u2022\u02dc\u2122\u0161\u0153\u017e\u0178]"
)
_LOST = re.compile(f"\ufffd|[\x80-\x84\x86-\x9f]|\\(cid:\\d+\\)|[\xc2\xc3\xd0\xd1]{_CONTINUED}|\xe2\u20ac|\xef\xbf\xbd")
# words in a symbol font; a single such character is a bullet
_PRIVATE = re.compile("[\ue000-\uf8ff]{2,}")

# The rules of Taghva et al. (Automatic removal of "garbage strings" in OCR text, 2001) and of Kulp and Kontostathis (On retrieving legal
# files: shortening documents and weeding out garbage, TREC 2007), extended to languages other than English: longer words and runs of
# consonants (German), r and l as vowels (Czech, Croatian), joiners within words. Vowels are not checked in scripts without case, most of
# which omit vowels or write several letters as one.
_LONGEST_WORD, _LONGEST_CONSONANTS = 40, 5
_DIGRAPHS = re.compile("(?<=s)ch|(?<=[cpt])h|(?<=c)k")
_JOINERS = "-\u2010\u2011'\u2019\u02bc.&/\u00b7\u00ad\u200b\u200c\u200d"
_SPLIT = re.compile(f"[{re.escape(_JOINERS)}]+")
_VOWELS = "aeiouy\u00e6\u00f8\u0153\u0131\u0259\u025b\u0254αεηιουωаеёиоуыэюяіїєў"
_CONSONANTS = re.compile(f"[^{_VOWELS}]+")
_REPEATED = re.compile(r"(.)\1{3}")
_CASE_WITHIN = re.compile(r"[^\W\d_]*[a-zß-öø-ÿ][A-ZÀ-ÖØ-Þ]+[a-zß-öø-ÿ]")
# this many different symbols with few letters come from a font without its character map; rules, arrows and formulas use fewer
_SYMBOLS = 3
_DIGIT_WITHIN = re.compile(r"[a-z]\d[a-z]")
_ADDRESS = re.compile(r"://|@|www\.|\\|_|[=<>|]")
_CALL = re.compile(r"\w[(\[{].*[)\]}]")

_LANGUAGE_LETTERS, _LANGUAGE_SAMPLE = 200, 8000
_LEAST_CONFIDENCE = 0.8


def measure(content: Content) -> Content:
    """The content with its signals and its language. Blocks without a visible character are dropped; such tables are counted."""
    kept = tuple(block for block in content.blocks if any(map(_is_visible, _texts(block))))
    texts = [text for block in kept for text in _texts(block)]
    signals = structs.replace(
        content.signals,
        characters=sum(map(len, texts)),
        replaced=sum(map(_lost, texts)),
        wordlike=_wordlike(kept),
        pages=max([content.signals.pages, *(block.page or 0 for block in kept)]),
        empty_tables=content.signals.empty_tables + _tables(content.blocks) - _tables(kept),
    )
    return structs.replace(content, blocks=kept, signals=signals, language=content.language or _language(kept))


def quarantine(signals: Signals, reading: Reading) -> str | None:
    """The reason (of `parsers.REASONS`) to quarantine a document with these signals under this tenant's thresholds, or None.

    None for an empty document: there is nothing to read badly.
    """
    return next((_REASONS[name] for name in reading.beyond(signals)), None)


_REASONS = {
    "replaced": "low-quality-text",
    "wordlike": "low-quality-text",
    "ocr_confidence": "low-ocr-confidence",
    "empty_pages": "mostly-empty-pages",
}


def is_wordlike(token: str) -> bool | None:
    """Whether a token between white space looks like a word of some language; None if it is not a word (number, address, code)."""
    word = _stripped(token)
    letters = sum(map(str.isalpha, word))
    if len({char for char in token if not char.isalnum()}) >= _SYMBOLS and 2 * letters < len(token):
        return False
    if letters < 2 or _ADDRESS.search(word) or _CALL.search(token):
        return None
    if any(map(str.isdigit, word)):
        return False if _DIGIT_WITHIN.search(word) else None
    return len(word) <= _LONGEST_WORD * (1 if word.isascii() else 4) and all(map(_is_plain, filter(None, _SPLIT.split(word))))


def _tables(blocks: tuple[Block, ...]) -> int:
    return sum(block.kind == "table" for block in blocks)


def _is_visible(text: str) -> bool:
    return any(character.isprintable() and not character.isspace() for character in text)


def _texts(block: Block) -> Iterator[str]:
    yield from (cell for row in block.rows for cell in row)
    if block.text:
        yield block.text


def _lost(text: str) -> int:
    if text.isascii() and "(cid:" not in text:
        return 0
    return sum(1 for _ in _LOST.finditer(text)) + sum(len(run) for run in _PRIVATE.findall(text))


def _wordlike(blocks: tuple[Block, ...]) -> float | None:
    tokens = [token for text in _sample(blocks) for token in text.split()]
    verdicts = [verdict for token in tokens[:: -(-len(tokens) // _SAMPLE_WORDS) or 1] if (verdict := is_wordlike(token)) is not None]
    return round(sum(verdicts) / len(verdicts), 3) if len(verdicts) >= _FEWEST_WORDS else None


def _sample(blocks: tuple[Block, ...]) -> Iterator[str]:
    """The beginnings of prose blocks, sampled evenly over the document, so that time is bounded whatever its length."""
    prose = [block for block in blocks if block.kind in _PROSE]
    for block in prose[:: -(-len(prose) // _SAMPLE_BLOCKS) or 1]:
        yield " ".join(_texts(block))[:_SAMPLE_CHARACTERS]


def _stripped(token: str) -> str:
    """The token without surrounding punctuation. Other symbols are kept: they may replace lost letters."""
    start, end = 0, len(token)
    while start < end and unicodedata.category(token[start])[0] in "PZC":
        start += 1
    while end > start and unicodedata.category(token[end - 1])[0] in "PZC":
        end -= 1
    return token[start:end]


def _is_plain(part: str) -> bool:
    """Whether it is a run of letters as written in natural languages."""
    letters = all(char.isalpha() or unicodedata.category(char)[0] == "M" for char in part)
    if not letters or _REPEATED.search(part) or _CASE_WITHIN.match(part):
        return False
    return part.isupper() or part.lower() == part.upper() or _is_pronounceable(part.lower())


def _is_pronounceable(part: str) -> bool:
    base = "".join(char for char in unicodedata.normalize("NFD", part) if char.isalpha())
    sounds = _DIGRAPHS.sub("", base)
    longest = max(map(len, _CONSONANTS.findall(sounds)), default=0)
    return longest <= _LONGEST_CONSONANTS and (longest < len(sounds) or len(base) < 3 or "r" in base or "l" in base)


def _language(blocks: tuple[Block, ...]) -> str:
    """ISO 639-1, or empty if there is too little text or confidence."""
    sample = " ".join(text for text in _sample(blocks))[:_LANGUAGE_SAMPLE]
    if sum(map(str.isalpha, sample)) < _LANGUAGE_LETTERS:
        return ""
    language, confidence = identify(sample)
    return language if confidence >= _LEAST_CONFIDENCE else ""
