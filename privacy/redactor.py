"""Which finders run on a text, which finding wins where two overlap, and the text with surrogates in their places.

A `Redactor` knows no tenant and no document: it gets a text and a tenant's keys.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Literal

from core.config import Privacy
from core.keys import TenantKeys
from privacy.context import Finder, Finding, Text, words
from privacy.folding import Folded, fold
from privacy.names import Names
from privacy.stock import pattern_finders, precise_finders
from privacy.surrogates import surrogate

# Counts up with every change to a finder, to folding, to normal forms or to which finding wins.
_RULES = 1

# `prose`: everything the profile has. `address`: link targets, in which a model sees names that are none. `id`: see `precise_finders`.
Kind = Literal["prose", "address", "id"]


class Redactor:
    """Detection by one profile. Built once per process; a names model is loaded at once, Presidio with the first text (some seconds).

    Raises ConfigurationError where the profile asks for names and its model cannot be loaded.
    """

    def __init__(self, privacy: Privacy) -> None:
        self._names = [Names(privacy.names_model)] if privacy.profile == "names" and privacy.names_model else []
        self._fingerprint = "/".join([privacy.profile, _rules_identity(), *(model.identity for model in self._names)])

    @cached_property
    def _finders(self) -> dict[Kind, Sequence[Finder]]:
        patterns = pattern_finders()
        return {"prose": [*patterns, *self._names], "address": patterns, "id": precise_finders()}

    @property
    def fingerprint(self) -> str:
        """Changes whenever a result may: the profile, our rules, the libraries behind them, and the names model down to its files."""
        return self._fingerprint

    def warm(self) -> None:
        """Load Presidio now."""
        for kind in self._finders:
            self._find(Text(fold("Call 020 7946 0000 or write to a@example.org.").text, frozenset()), kind)

    def replace(self, text: str, keys: TenantKeys, *, kind: Kind = "prose", label: str = "") -> tuple[str, Counter[str]]:
        """The text with a surrogate for each value, and how many by entity.

        Depends on its arguments alone. `label` is what the text itself is filed under (a column's header, a property's key): its words
        count as context. Passes repeat until one finds nothing, so redacting a redacted text changes nothing; each pass
        leaves less text outside surrogates, so they end.
        """
        hints, counts = frozenset(words(label)), Counter[str]()
        while True:
            folded = fold(text)
            findings = self._find(Text(folded.text, hints), kind)
            if not findings:
                return text, counts
            counts.update(finding.entity for finding in findings)
            text = _with_surrogates(text, folded, findings, keys)

    def _find(self, text: Text, kind: Kind) -> list[Finding]:
        candidates = [
            (rank, finding)
            for rank, finder in enumerate(self._finders[kind])
            if finder.needs.search(text.folded)
            for finding in finder.find(text)
        ]
        return _winners(candidates)


def _winners(candidates: Iterable[tuple[int, Finding]]) -> list[Finding]:
    """Findings that do not overlap, in order of place: the highest score wins, then the longest, then the earlier finder and place."""
    ranked = sorted(candidates, key=lambda c: (-c[1].score, c[1].start - c[1].end, c[0], c[1].start))
    taken: list[Finding] = []
    covered = bytearray(max((finding.end for _, finding in ranked), default=0))
    for _, finding in ranked:
        if not any(covered[finding.start : finding.end]):
            covered[finding.start : finding.end] = b"\1" * (finding.end - finding.start)
            taken.append(finding)
    return sorted(taken)


def _with_surrogates(text: str, folded: Folded, findings: list[Finding], keys: TenantKeys) -> str:
    parts, done = [], 0
    for finding in findings:
        start, end = folded.original(finding.start, finding.end)
        parts += [text[done:start], surrogate(finding.entity, folded.text[finding.start : finding.end], keys)]
        done = end
    return "".join([*parts, text[done:]])


def _rules_identity() -> str:
    return f"rules-{_RULES}-presidio-{version('presidio-analyzer')}-phonenumbers-{version('phonenumbers')}"
