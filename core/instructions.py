"""How much a passage reads like instructions to the language model that will read it (prompt injection): a score from rules.

The score is for people and applications to see: nothing is removed for it, because documents about instructions have instructions in them.
Each rule is evidence of its own, so that the score is 1 - Π (1 - weight) over the rules that match.
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache
from importlib.resources import files
from typing import Any, Final

import msgspec

VERSION: Final = 1
"""Of the rules: another one may score the same text differently."""
SUSPICIOUS: Final = 0.5
"""From here on, an application should look twice."""

_HIDDEN = 0.6
"""Weight of text that people do not see: tag characters, and several characters without width."""
_FEW = 3


class Rule(msgspec.Struct, frozen=True):
    weight: float
    expression: str


def score(text: str) -> float:
    """0 to 1: how much the text reads like instructions to a model. Equal for equal texts under one `VERSION`. Never raises for a `str`.

    Takes time in proportion to the text: the expressions are RE2's.
    """
    rest = 1.0
    for name in matched(text):
        rest *= 1 - (_HIDDEN if name == "hidden" else _rules()[name].weight)
    return round(1 - rest, 3)


def matched(text: str) -> list[str]:
    """The rules that match, by name; `hidden` for text that people do not see."""
    shown, hidden = (text, 0) if text.isascii() else _UNSEEN.subn("", _TAGS.sub("", text))
    found = _expressions().Match(unicodedata.normalize("NFKC", shown).casefold().encode("utf-8", "replace"))
    names = [name for number, name in enumerate(_rules()) if number in (found or ())]
    return [*names, "hidden"] if hidden >= _FEW or _TAGS_OF_NO_FLAG.search(text) else names


@cache
def _rules() -> dict[str, Rule]:
    return msgspec.toml.decode(files("core").joinpath("instruction_rules.toml").read_bytes(), type=dict[str, Rule])


@cache
def _expressions() -> Any:
    """Of all rules at once: it takes the time of one, and not of two dozen."""
    import re2  # native code, which few processes need

    options = re2.Options()
    options.max_mem = _MEMORY
    expressions = re2.Set.SearchSet(options)
    for rule in _rules().values():
        expressions.Add("".join(rule.expression.splitlines()))
    expressions.Compile()
    return expressions


_MEMORY = 64 << 20
_TAGS = re.compile("[\U000e0000-\U000e007f]+")
# the flags of England, Scotland and Wales are a black flag with tags
_TAGS_OF_NO_FLAG = re.compile("(?<![\U0001f3f4\U000e0000-\U000e007f])[\U000e0000-\U000e007f]")
# without width, or a change of direction; no soft hyphen, joiner or mark that scripts and emoji need
_UNSEEN = re.compile("[\u200b\u2060-\u2064\ufeff\u202a-\u202e]")
