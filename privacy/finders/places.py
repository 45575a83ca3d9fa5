"""Finders of postal addresses and postal codes, and of places by a list and by context.

An address starts from an anchor (a street word, a flat, a postal code, a phrase such as `lives at` before a number) and is extended in both
directions over words that may belong to it. The extension is bounded, so the work is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from privacy.finders.context import Finding, Text
from privacy.finders.gazetteer import FUNCTION_WORDS, Token, has_capitals, key, places, vocabulary, words_of

_ADDRESS, _PLACE, _CUED_PLACE = 0.88, 0.86, 0.84

# street words of European languages: before a name, after it, and joined to it
_BEFORE = (
    "rue|avenue|avenida|avda?\\.?|boulevard|calle|c/|via|viale|piazza|piazzale|corso|largo|rua|rúa|travessa|praça|r\\.|ul\\.|ulica|plaza|plac"
    "|camino|camiño|carrer|carretera|paseo|allée|chemin|quai|impasse|route|strada|vicolo|estrada|vila|alameda|urb\\.?|urbanización"
)
_AFTER = (
    "street|st\\.?|avenue|ave\\.?|road|rd\\.?|lane|ln\\.?|drive|dr\\.?|boulevard|blvd\\.?|way|court|ct\\.?|place|pl\\.?|square|sq\\.?|terrace"
    "|parkway|pkwy|highway|hwy|circle|crescent|cres|close|grove|gardens|crossing|trail|alley|row|mews|quay|wharf|parade|esplanade|junction"
    "|plaza|loop|straße|strasse|platz|gasse|allee|weg|ring|damm|laan|plein|straat|gata|väg|vej|vei|gade|allé|katu|tie|utca|u\\.|út|útja|tér"
    "|tere|körút|ulice|náměstí|ulica|cesta"
)
_GLUED = (
    "straße|strasse|str\\.|gasse|weg|platz|allee|damm|ufer|ring|laan|straat|plein|steenweg|kade|gracht|dijk|gatan|vägen|gata|väg|vej|vejen"
    "|gade|gården|bakken|vei|veien|veg|vegen|katu|tie|kuja|polku|braut|vegur|stræti|brekka|utca|ulitsa"
)
_UNIT = r"(?:apt|apartment|suite|ste|unit|flat|room|p\.? ?o\.? ?box|box|psc|floor|bldg|building)\b\.?,? ?#?\d{1,5}[a-z]?\b"
_NUMBER = r"\d{1,5}[a-z]?"
_NAME = r"[^\W\d_][^\W\d_'’.-]*(?:[-'’][^\W\d_]+)*\.?"

# begins with a capital: no lower-case letter of Latin-1
_CAPITAL = r"[^\W\d_a-zß-öø-ÿ][^\W\d_]*(?:[-'’][^\W\d_]+)*"

_ANCHORS = re.compile(
    rf"(?<![^\W_])(?:(?P<unit>{_UNIT}(?:,? (?:box) \d{{1,5}})?)"
    rf"|(?P<military>(?:us[a-z]{{1,3}} {_NAME}[ \n])?(?:fpo|apo|dpo),? (?:aa|ae|ap),? \d{{5}})"
    rf"|(?:zip|zip ?code|postal code|post ?code|plz)(?: is|:|=)? (?P<code>\d{{4,6}}(?:-\d{{4}})?|[A-Z]{{1,2}}\d[A-Z\d]? ?\d[A-Z]{{2}})"
    rf"|(?P<british>[A-Z]{{1,2}}\d[A-Z\d]? \d[ABD-HJLNP-UW-Z]{{2}}|[ABCEGHJ-NPRSTVXY]\d[A-Z] ?\d[A-Z]\d)"
    rf"|(?P<before>(?:{_BEFORE})(?: {_NAME}){{1,6}}?,? {_NUMBER})"
    rf"|(?P<first>{_NUMBER} (?:{_BEFORE}) {_NAME})"
    rf"|(?P<after>{_NUMBER},? (?:\d{{1,3}}(?:st|nd|rd|th)|(?:{_NAME} ){{0,4}}?{_NAME}) (?:{_AFTER})(?: {_NUMBER})?)"
    rf"|(?P<street>(?-i:(?:{_CAPITAL} ){{1,3}}(?:Street|Avenue|Road|Lane|Boulevard|Drive|Square|Straße|Strasse)\b))"
    rf"|(?P<glued>[^\W\d_]{{3,30}}(?:{_GLUED}) {_NUMBER})"
    rf"|(?P<numbered>{_NUMBER} [^\W\d_]{{3,30}}(?:{_GLUED}))"
    r")(?![^\W_])",
    re.IGNORECASE,
)
_PHRASES = re.compile(
    r"(?<![^\W_])(?:address(?:es)?(?: is| to| are|'s)?"
    r"|(?:lives?|living|located|situated|office is|arrived?|meet(?:ing)?|residing|resides|based) at"
    r"|(?:sent|send|ship|shipped|deliver(?:ed)?|moved|return|mail|taxi|go|drive|come) (?:it |this |one |them )?to)"
    r"[:,]?[ \n]{1,3}(?=[^\n]{0,60}?\d)",
    re.IGNORECASE,
)
_PIECE = re.compile(
    r"(?P<gap>(?:, ?| |\n(?:[>|*•?]{1,3} ?)?){1,3}|\.,? ?\n?(?=\d|[A-Z]))?"
    r"(?P<word>#?\d{1,6}[a-z]?(?:st|nd|rd|th)?\b|C/|[^\W\d_][^\W\d_]*(?:[-'’.][^\W\d_]+)*\.?)",
    re.IGNORECASE,
)
_MOST = 16
_STOP = FUNCTION_WORDS - {"la", "le", "st", "up"}
_LINKS = vocabulary("de la le les du des der den van von da do dos das del di della und of the y i al el na nad pod u ul c ")
_ENDS = re.compile(
    r"(?:phone|tel|fax|mobile|office|email|e-mail|website|date|name|card|dob|last|for|instead|thanks|hi|hello)\b", re.IGNORECASE
)


class Addresses:
    """`Finder` of postal addresses."""

    labels = frozenset({"ADDRESS"})
    needs = re.compile(r"\d|[Ss]treet|[Aa]venue|[Rr]oad|[Ll]ane")

    def find(self, text: Text) -> Iterator[Finding]:
        capitals = has_capitals(text.folded)
        done = 0
        for anchor in _anchors(text.folded):
            if anchor.start < done:
                continue
            start = anchor.start if anchor.complete else max(done, _leftwards(text.folded, anchor.start, capitals))
            done = anchor.end if anchor.complete else _rightwards(text.folded, anchor.end, capitals)
            yield Finding(start, done, "ADDRESS", _ADDRESS)


# five digits or more, because four are as often a year
_CODE = re.compile(r",? \d{5,6}(?![\w]|[-.,]\d)")


class KnownPlaces:
    """`Finder` of listed countries and cities, and of names after phrases such as `lives in …`, `the town of …`."""

    labels = frozenset({"LOCATION"})
    needs = re.compile(r"[^\W\d_]{3}")

    def find(self, text: Text) -> Iterator[Finding]:
        words = words_of(text.folded)
        place = 0
        while place < len(words):
            length = _listed(text.folded, words, place)
            if length:
                end = words[place + length - 1].end
                code = _CODE.match(text.folded, end)
                yield Finding(words[place].start, code.end() if code else end, "LOCATION", _PLACE)
            place += max(1, length)
        if has_capitals(text.folded):
            yield from _after_phrases(text.folded)


class _Anchor(NamedTuple):
    """The start of an address at `[start, end)`. A `complete` one is not extended."""

    start: int
    end: int
    complete: bool


def _anchors(text: str) -> list[_Anchor]:
    anchors = []
    for match in _ANCHORS.finditer(text):
        group = str(match.lastgroup)
        anchors.append(_Anchor(match.start(group), match.end(group), group == "code"))
    for match in _PHRASES.finditer(text):
        first = _PIECE.match(text, match.end())
        if first and _begins(text, match.end()):
            anchors.append(_Anchor(first.start("word"), first.end(), False))
    return sorted(anchors)


def _begins(text: str, start: int) -> bool:
    """Whether a number and a name follow, in either order: `12 Something`, `Something 12`."""
    match = _BEGINNING.match(text, start)
    return bool(match and not {key(word) for word in match.group().split()} & _STOP)


_BEGINNING = re.compile(r"\d{1,5}[a-z]? (?:\d{1,5} )?[^\W\d_]{2}|(?:[^\W\d_][^\W_]*\.? ){1,4}\d{1,5}\b")


def _rightwards(text: str, end: int, capitals: bool) -> int:
    """The end of an address, extended over names, numbers, commas and single line breaks, up to a postal code."""
    kept = end
    words = 0
    for _ in range(_MOST):
        piece = _PIECE.match(text, end)
        if not piece or not (piece["gap"] or piece["word"]) or "\n\n" in (piece["gap"] or "") or not piece["gap"]:
            break
        word = piece["word"]
        if word[0] in "#0123456789":
            if _continues_as_number(text, piece.end()):
                break
            kept = end = piece.end()
            if len(word.strip("#")) >= 5 and words:
                kept = _town(text, end)
                break
            continue
        if not _may_belong(word, capitals):
            break
        end = piece.end()
        words += 1
        if word.lower() not in _LINKS or word[0].isupper():
            kept = end
    return kept if text[kept - 1 : kept] != "." or text[kept : kept + 1].strip() else kept - 1


def _continues_as_number(text: str, end: int) -> bool:
    """Whether the number is part of a telephone number, a date or an amount instead of a house number or a postal code."""
    return bool(_LONGER.match(text, end))


def _town(text: str, end: int) -> int:
    """The end of a town after its postal code, the order in most of Europe."""
    town = _TOWN.match(text, end)
    return town.end() if town and key(town["name"]) in places().names else end


_TOWN = re.compile(rf" (?P<name>{_CAPITAL})")
_LONGER = re.compile(r"[-./:]\d|[%€$]|[ -]\d{3}[ -]\d{3}")


def _may_belong(word: str, capitals: bool) -> bool:
    low = key(word)
    if low in _LINKS:
        return True
    if _ENDS.fullmatch(word) or low in _STOP:
        return False
    return word[0].isupper() or bool(_ADDRESS_WORD.fullmatch(low)) if capitals else True


_ADDRESS_WORD = re.compile(rf"(?:apt|apartment|suite|ste|unit|flat|room|box|floor)\.?|{_BEFORE}|{_AFTER}")
_BACK = re.compile(r"(?P<word>[^\W\d_]+(?:[-'’.][^\W\d_]+)*\.?|#?\d{1,5}[a-z]?)(?P<gap>,? |,?\n(?:[>|*•?]{1,3} ?)?)$", re.IGNORECASE)


def _leftwards(text: str, start: int, capitals: bool) -> int:
    """The start of an address, extended over names to a house number; unchanged if no number precedes."""
    at, best = start, start
    for _ in range(8):
        piece = _BACK.search(text, max(0, at - 40), at)
        if not piece:
            break
        at = piece.start("word")
        if text[max(0, at - 1) : at] in tuple("-./:@") and at:
            break
        if piece["word"][0] in "#0123456789":
            best = at
        elif not _may_belong(piece["word"], capitals) or key(piece["word"]) in ("the", "of"):
            break
    return best


def _listed(text: str, words: Sequence[Token], place: int) -> int:
    """The number of words from `place` that are a listed place, the longest first; 0 for none."""
    first = words[place]
    if not first.name or (text[first.start - 1 : first.start] or " ") in "./\\@_#" or (text[first.end : first.end + 1] or " ") in "/\\@_=(":
        return 0
    for length in range(min(6, len(words) - place), 0, -1):
        if any(text[words[n].end : words[n + 1].start] not in (" ", "\n", "-") for n in range(place, place + length - 1)):
            continue
        name = " ".join(word.key for word in words[place : place + length]).replace("-", " ").replace("'", " ").replace("’", " ")
        if name in (places().sure if length == 1 else places().names):
            return length
    return 0


_PLACE_PHRASES = re.compile(
    r"(?<![^\W_])(?i:lives? in|living in|born in|travell?(?:ing|ed)? to|(?:city|town|village|capital|county|province) of"
    r"|home ?(?:city|town)|originally from|here from|grew up in|(?:am|i'm|are|we're|is|now|staying|stationed|headquartered|based) in"
    r"|flight to|flying to) "
    rf"(?P<name>{_CAPITAL}(?: (?:(?:de|la|le|del|di|da|do|am|an|der|nad|sur|of|el|al|upon) ){{0,2}}{_CAPITAL}){{0,4}})"
)


def _after_phrases(text: str) -> Iterator[Finding]:
    for match in _PLACE_PHRASES.finditer(text):
        yield Finding(match.start("name"), match.end("name"), "LOCATION", _CUED_PLACE)
