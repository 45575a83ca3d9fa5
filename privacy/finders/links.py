"""Links in text: URLs with a scheme, and web addresses without one. They are found so that a profile can say what becomes of them.

What stands in a link (an e-mail address, a password) is found by its own finder, which outranks this one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from privacy.finders.context import AnyOf, Finding, Text

_URL = re.compile(r"(?<![A-Za-z0-9])(?:[a-z][a-z0-9+.-]{1,15}://|www\.)[^\s<>\"'`{}|\\^\uFFFC]{3,2048}", re.IGNORECASE)
SCORE = 0.4
"""The threshold itself: whatever else is found in a link stands before it."""


class Urls:
    """`Finder` of links, without the punctuation that ends the sentence around them."""

    labels = frozenset({"URL"})
    needs = AnyOf("://", "www.")

    def find(self, text: Text) -> Iterator[Finding]:
        for match in _URL.finditer(text.folded):
            yield Finding(match.start(), match.start() + len(_without_the_sentence(match.group())), "URL", SCORE)


def _without_the_sentence(link: str) -> str:
    link = link.rstrip(".,;:!?")
    while link.endswith((")", "]")) and link.count(link[-1]) > link.count("(" if link[-1] == ")" else "["):
        link = link[:-1].rstrip(".,;:!?")
    return link
