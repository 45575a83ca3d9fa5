"""Folding: normalises a text for detection, and maps positions in the result back to the original.

People and formats write one value in many ways: no-break spaces, soft hyphens, full-width digits, line breaks, percent escapes in URLs.
Folding reduces them to one spelling, so that finders need not know them and equal values get equal surrogates.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass

from core.surrogates import TOKEN

# replaces a surrogate: neither letter, digit nor space, so nothing is recognised across it
BARRIER = "\ufffc"

_SPACE = " \u00a0\u1680\u2000-\u200a\u202f\u205f\u3000"
_BREAK = r"\r\n|[\n\r\v\f\u0085\u2028\u2029]"
_INVISIBLE = r"\x00-\x08\x0e-\x1f\x7f\u00ad\u061c\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff"

# letters of other scripts that look like Latin ones (Unicode TR 39, confusables); folded only next to Latin letters or digits
_ALIKE = "АВЕЅІЈКМНОРСТХаеорсухіјѕԁԛԝΑΒΕΖΗΙΚΜΝΟΡΤΥΧο"
_LOOKS = dict(zip(_ALIKE, "ABESIJKMHOPCTXaeopcyxijsdqwABEZHIKMNOPTYXo", strict=True))

# matches if a text needs any folding; most texts need none
_ANYTHING = re.compile(r"[^\n\x21-\x7e ]|  | \n|\n |@[\n ]|\n@|</?[A-Za-z]|%[2-7]")

_FOLDABLE = re.compile(
    rf"(?P<token>{TOKEN.pattern}|{BARRIER})"
    # an address that a line break cut at its @, or a space that a format wrote for the break if a domain follows
    r"|(?P<cut>(?<=\w@)[ \t]*\r?\n[ \t]*(?=\w)|(?<=\w)\r?\n[ \t]*(?=@\w)"
    r"|(?<=\w@) (?=(?:[A-Za-z0-9][A-Za-z0-9-]{0,62}\.){1,8}[A-Za-z]{2,24}(?![\w-])))"
    # a line break with the indentation around it becomes one "\n"; a blank line stays two, which no separator spans
    rf"|(?P<line>[ \t]+(?:{_BREAK})[ \t]*|(?:{_BREAK})[ \t]+|\r\n|[\r\v\f\u0085\u2028\u2029])"
    rf"|(?P<space>[{_SPACE}]{{2,}}|[{_SPACE[1:]}])"
    rf"|(?P<invisible>[{_INVISIBLE}]+)"
    # markup left in a text (broken XML is kept as text): only tags that format part of a word and have no attributes
    r"|(?P<markup>(?<=[\w.@+-])(?:</?(?:b|i|u|s|em|strong|span|font|mark|small|big|code|tt|wbr)/?>|</a>){1,4}(?=[\w.@+-]))"
    r"|(?P<dash>[\u2010-\u2015\u2212\ufe58\ufe63\uff0d])"
    r"|(?P<escape>%[2-7][0-9A-Fa-f])"
    r"|(?P<wide>[\uff01-\uff5e])"
    rf"|(?P<alike>[{_ALIKE}](?=[{_ALIKE}]{{0,8}}[A-Za-z0-9@])|(?<=[A-Za-z0-9@.])[{_ALIKE}])"
    r"|(?P<styled>[\U0001d400-\U0001d7cd])"
    r"|(?P<digit>(?![0-9])\d)"
    r"|(?P<lone>[\ud800-\udfff])"
)

_FOLDED: dict[str, Callable[[str], str]] = {
    "token": lambda _: BARRIER,
    "line": lambda _: "\n",
    "space": lambda _: " ",
    "invisible": lambda _: "",
    "markup": lambda _: "",
    "dash": lambda _: "-",
    "cut": lambda _: "",
    "alike": lambda piece: _LOOKS[piece],
    "styled": lambda piece: unicodedata.normalize("NFKC", piece),
    "escape": lambda piece: chr(int(piece[1:], 16)),
    "wide": lambda piece: chr(ord(piece) - 0xFEE0),
    "digit": lambda piece: str(unicodedata.decimal(piece)),
    "lone": lambda _: "\ufffd",
}


@dataclass(frozen=True)
class Folded:
    """The folded `text` and its runs: position `starts[i]` in `text` is `origins[i]` in the original.

    `widths[i]` is 0 for a run that was copied, and the original width for one that was folded into a single character.
    """

    text: str
    starts: list[int]
    origins: list[int]
    widths: list[int]

    def original(self, start: int, end: int) -> tuple[int, int]:
        """The span of the original that `text[start:end]` (not empty) came from."""
        run = bisect_right(self.starts, end - 1) - 1
        last = self.origins[run] + end - 1 - self.starts[run]
        return self._origin(start), last + max(self.widths[run], 1)

    def _origin(self, position: int) -> int:
        run = bisect_right(self.starts, position) - 1
        return self.origins[run] + position - self.starts[run]


def fold(text: str) -> Folded:
    """Fold `text` in one pass. Any str is allowed, including NUL, lone surrogates and bidirectional controls."""
    if not _ANYTHING.search(text):
        return Folded(text, [0], [0], [0])
    parts: list[str] = []
    folded = Folded("", [0], [0], [0])
    length = done = 0
    for match in _FOLDABLE.finditer(text):
        parts += (text[done : match.start()], _piece(match))
        length += match.start() - done
        _add_run(folded, length, match.start(), match.end() - match.start())
        length += len(parts[-1])
        done = match.end()
        _add_run(folded, length, done, 0)
    return Folded("".join([*parts, text[done:]]), folded.starts, folded.origins, folded.widths)


def _piece(match: re.Match[str]) -> str:
    return _FOLDED[str(match.lastgroup)](match.group())


def _add_run(folded: Folded, start: int, origin: int, width: int) -> None:
    folded.starts.append(start)
    folded.origins.append(origin)
    folded.widths.append(width)
