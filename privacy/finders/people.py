"""Finder of people's names by lists and by context: titles, labels, `my name is`. Names by a model are in `privacy.finders.names`.

A small model misses every third name: mostly single names, foreign names, and names in short or unpunctuated lines, which lists and labels
find. Profiles with names run both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from privacy.finders.context import Finding, Text
from privacy.finders.gazetteer import FUNCTION_WORDS, Token, given_names, has_capitals, key, places, surnames, tokens, vocabulary, words_of
from privacy.folding import BARRIER

_CUED, _LISTED, _LONE = 0.9, 0.87, 0.845
_LONGEST = 5

_PARTICLES = vocabulary("van von de der den del della di da do dos du la le el al bin ibn ben ter ten af av zu st mac o y e ")
_SUFFIXES = re.compile(r",? (?:PhD|Ph\.D\.?|MD|M\.D\.|Jr\.?|Sr\.?|III|II|IV|DDS|DVM|Esq\.?)(?![\w])")

_CUES = re.compile(
    r"(?<![\w])(?:"
    r"(?:mr|mrs|ms|mx|dr|prof|hr|fr)\.? |(?:miss|sir|madam|professor|doctor|herr|frau|monsieur|madame|mme|mlle|señora?|signora?|dott) "
    r"|(?:(?:my|his|her|their|your|whose|maiden|first|last|full|sur|user|given"
    r"|partner's|wife's|husband's|son's|daughter's|mother's|father's)[ -]?)name(?:'s|s? (?:is|was|are|were)|:)? "
    r"|\bnamed |\bname is |calls? (?:me|him|her) |called (?:me|him|her) |known as "
    r"|(?:says|replied|exclaimed|starring|(?:directed|written|produced|sung|signed|authored|interviewed|accompanied) by"
    r"|(?:born|married) to) "
    r"|(?:dear|regards,|sincerely,|cheers,|yours,|attn:?|c/o) ?\n? ?"
    r"|(?:name|patient|client|customer|employee|contact|authors?|attendee|passenger|beneficiary|cardholder|signed|recipient|sender|spouse|guest)"
    r" ?: ?"
    r")",
    re.IGNORECASE,
)
_NOT_NAMES = vocabulary(
    "inc ltd llc corp gmbh company co group university college school street road avenue bank club hospital team customer "
    "support sir madam all everyone team name address phone email date number unknown none null yes no true false "
)
_MONTHS = vocabulary("jan january april may june july august")
_LABELS = vocabulary(
    "surname firstname lastname fullname patient employee contact author creator customer cardholder spouse manager doctor "
)


class KnownPeople:
    """`Finder` of listed given names with the surnames after them, and of names after a title, a label or a phrase."""

    labels = frozenset({"PERSON"})
    needs = re.compile(r"[^\W\d_]{2}")

    def find(self, text: Text) -> Iterator[Finding]:
        words = words_of(text.folded)
        capitals = has_capitals(text.folded)
        yield from self._labelled(text, words)
        yield from _announced(text.folded, words, capitals)
        place = 0
        while place < len(words):
            length, score = _listed(text.folded, words, place, capitals)
            if length:
                yield Finding(words[place].start, _with_suffix(text.folded, words[place + length - 1].end), "PERSON", score)
            place += max(length, 1)

    def _labelled(self, text: Text, words: Sequence[Token]) -> Iterator[Finding]:
        """A whole cell or property whose header or key announces a name."""
        named = text.hints & _LABELS or ("name" in text.hints and text.hints & {"full", "first", "last", "given", "family", "user"})
        plain = 0 < len(words) <= _LONGEST and not any(map(str.isdigit, text.folded)) and BARRIER not in text.folded
        if named and plain and not {word.key for word in words} & _NOT_NAMES and not re.search(r"[@/\\_]", text.folded):
            yield Finding(words[0].start, words[-1].end, "PERSON", _CUED)


def _announced(text: str, words: Sequence[Token], capitals: bool) -> Iterator[Finding]:
    by_start = {word.start: place for place, word in enumerate(words)}
    for cue in _CUES.finditer(text):
        place = by_start.get(cue.end())
        if place is None or not words[place].name or words[place].key in _NOT_NAMES or words[place].key in FUNCTION_WORDS:
            continue
        length = _run(text, words, place, _LONGEST if capitals else 1, capitals)
        last = words[place + length - 1]
        yield Finding(words[place].start, _with_suffix(text, last.end), "PERSON", _CUED)


def _listed(text: str, words: Sequence[Token], place: int, capitals: bool) -> tuple[int, float]:
    """The number of words from `place` that are a name by the lists, and the score; 0 words for none."""
    first = words[place]
    head = first.key.partition("-")[0]
    if not first.name or head not in given_names().names or _part_of_token(text, first):
        return 0, 0.0
    length = _run(text, words, place, _LONGEST, capitals)
    followed = length > 1 and words[place + length - 1].key not in _NOT_NAMES
    sure = head in given_names().sure
    if followed and (sure or words[place + 1].key in surnames().names):
        return length, _LISTED
    if sure and head not in places().names and not followed and len(head) > 2 and head not in _MONTHS:
        return 1, _LONE
    return 0, 0.0


def _run(text: str, words: Sequence[Token], place: int, most: int, capitals: bool) -> int:
    """The number of words from `place` that form one name on one line: capitalised words, initials, and particles in between."""
    length = 1
    for reach in range(1, most + 1):
        if place + reach >= len(words):
            break
        word, before = words[place + reach], words[place + reach - 1]
        gap = text[before.end : word.start]
        if gap != " " and not (gap == ". " and before.end - before.start == 1):
            break
        if word.key in _PARTICLES and not word.text[0].isupper():
            continue
        if word.key in _NOT_NAMES or not (word.name if capitals else word.key in surnames().sure):
            break
        length = reach + 1
    return min(length, most)


def _part_of_token(text: str, word: Token) -> bool:
    """Whether the word is part of a path, an identifier, an address or another longer token."""
    before, after = text[word.start - 1 : word.start], text[word.end : word.end + 1]
    return bool(before and (before in "./\\@_-#$%&=+~" or before.isalnum())) or bool(after and (after in "/@_=(%~" or after.isdigit()))


def _with_suffix(text: str, end: int) -> int:
    suffix = _SUFFIXES.match(text, end)
    return suffix.end() if suffix else end


def extended(text: str, start: int, end: int) -> int:
    """The end of a name that a model found, extended over particles and the capital after them: `Donald van` + ` der Voet`."""
    last = text[start:end].rpartition(" ")[2]
    following = list(tokens(text[end : end + 60], with_capitals=True))
    after_particle = key(last) in _PARTICLES
    for place, word in enumerate(following):
        gap = text[end : end + word.start] if place == 0 else text[end + following[place - 1].end : end + word.start]
        if gap != " " or not (word.name or (word.key in _PARTICLES and word.text.islower())):
            break
        if word.key in _PARTICLES and word.text.islower():
            after_particle = True
        elif after_particle:
            return end + word.end
        else:
            break
    return end
