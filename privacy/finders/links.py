"""Finder of links: URLs with a scheme, and web addresses without one, so that a profile can have an action for them.

Values inside a link (an e-mail address, a password) are found by their own finders, which outrank this one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from privacy.finders.context import AnyOf, Finding, Text

_URL = re.compile(r"(?<![A-Za-z0-9])(?:[a-z][a-z0-9+.-]{1,15}://|www\.)[^\s<>\"'`{}|\\^\uFFFC]{3,2048}", re.IGNORECASE)
SCORE = 0.4
"""Equal to the threshold, so that everything else found in a link wins."""


class Urls:
    """`Finder` of links, without the punctuation of the sentence around them."""

    labels = frozenset({"URL"})
    needs = AnyOf("://", "www.")

    def find(self, text: Text) -> Iterator[Finding]:
        for match in _URL.finditer(text.folded):
            yield Finding(match.start(), match.start() + len(_without_punctuation(match.group())), "URL", SCORE)


def _without_punctuation(link: str) -> str:
    link = link.rstrip(".,;:!?")
    while link.endswith((")", "]")) and link.count(link[-1]) > link.count("(" if link[-1] == ")" else "["):
        link = link[:-1].rstrip(".,;:!?")
    return link
