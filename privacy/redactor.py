"""Which finders run on a text, which finding wins where two overlap, and the text with what stands in their places.

A `Redactor` knows no tenant and no document: it gets a text and a tenant's keys.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from importlib.metadata import version
from typing import Literal, NamedTuple, get_args

from core.errors import DocumentError
from core.keys import TenantKeys
from core.policy import Privacy
from privacy.finders.context import Finder, Finding, Text, words
from privacy.finders.lists import Allowed, own_finders
from privacy.finders.names import Names
from privacy.finders.people import KnownPeople
from privacy.finders.places import KnownPlaces
from privacy.finders.presidio import pattern_finders, precise_finders
from privacy.folding import Folded, fold
from privacy.profiles import profile
from privacy.surrogates import surrogate
from privacy.tokens import mask

# Counts up with every change to a finder, to folding, to normal forms, to a profile or to which finding wins.
_RULES = 3

# `prose`: everything the profile has. `address`: link targets, in which a model sees names that are none. `id`: see `precise_finders`.
Kind = Literal["prose", "address", "id"]


class Detection(NamedTuple):
    """A value at `[start, end)` of the text as it was given."""

    start: int
    end: int
    entity: str


class Redactor:
    """Detection by one profile. Built once per process; a names model is loaded at once, Presidio with the first text (some seconds).

    Raises ConfigurationError where the profile asks for names and its model cannot be loaded.
    """

    def __init__(self, privacy: Privacy) -> None:
        self._privacy = privacy
        self._profile = profile(privacy)
        self._allowed = Allowed(privacy.allow)
        self._made: dict[Kind, Sequence[Finder]] = {}
        wanted = self._profile.actions.keys() & {"PERSON", "LOCATION", "ORGANIZATION"}
        self._names = [Names(privacy.names_model, wanted)] if wanted and privacy.names_model else []
        self._fingerprint = "/".join([self._profile.fingerprint, _rules_identity(), *(model.identity for model in self._names)])

    def _finders(self, kind: Kind) -> Sequence[Finder]:
        """Those of one kind, made when it is first asked for: who reads ids alone loads neither lists of names nor a model."""
        if kind not in self._made:
            looked_for = self._profile.actions.keys()
            self._made[kind] = [finder for finder in self._all_of(kind) if finder.labels & looked_for]
        return self._made[kind]

    def _all_of(self, kind: Kind) -> list[Finder]:
        if kind == "id":
            return [*own_finders(self._privacy), *precise_finders()]
        return [*self._patterns, KnownPeople(), KnownPlaces(), *self._names] if kind == "prose" else self._patterns

    @cached_property
    def _patterns(self) -> list[Finder]:
        return [*own_finders(self._privacy), *pattern_finders(self._privacy.languages)]

    @property
    def fingerprint(self) -> str:
        """Changes whenever a result may: the profile, our rules, the libraries behind them, and the names model down to its files."""
        return self._fingerprint

    def warm(self) -> None:
        """Load Presidio now."""
        for kind in get_args(Kind):
            self._find(Text(fold("Call 020 7946 0000 or write to a@example.org.").text, frozenset()), kind)

    def ahead(self, texts: Iterable[str]) -> None:
        """Have a names model that computes in batches read at once what `replace` will be asked to read as prose. Changes no result."""
        for model in self._names:
            model.ahead(fold(text).text for text in texts)

    def detect(self, text: str, *, kind: Kind = "prose", label: str = "") -> list[Detection]:
        """What is found in a text as it stands, what is kept included, in order of place."""
        folded = fold(text)
        findings = self._find(Text(folded.text, frozenset(words(label))), kind)
        return [Detection(*folded.original(finding.start, finding.end), finding.entity) for finding in findings]

    def replace(
        self, text: str, keys: TenantKeys, *, kind: Kind = "prose", label: str = "", refusing: bool = True
    ) -> tuple[str, Counter[str]]:
        """The text with a surrogate or what else the profile says for each value, and how many by entity.

        Depends on its arguments alone. `label` is what the text itself is filed under (a column's header, a property's key): its words
        count as context. Passes repeat until one finds nothing to replace, so redacting a redacted text changes nothing; each pass
        leaves less text outside surrogates, so they end.

        Raises DocumentError where the profile quarantines what is found, unless not `refusing`: then that gets a surrogate.
        """
        hints, counts = frozenset(words(label)), Counter[str]()
        while True:
            folded = fold(text)
            found = self._find(Text(folded.text, hints), kind)
            findings = [finding for finding in found if not self._stays(finding, folded)]
            if not findings:
                return text, counts
            if refusing:
                self._refuse(findings)
            counts.update(finding.entity for finding in findings)
            text = "".join(self._written(text, folded, findings, keys))

    def _find(self, text: Text, kind: Kind) -> list[Finding]:
        candidates = [
            (rank, finding)
            for rank, finder in enumerate(self._finders(kind))
            if finder.needs.search(text.folded)
            for finding in finder.find(text)
            if finding.entity in self._profile.actions and finding.score >= self._profile.threshold(finding.entity)
        ]
        return _winners(candidates)

    def _stays(self, finding: Finding, folded: Folded) -> bool:
        """Kept findings take part up to here, so that no other finder sees a piece of them as something else."""
        if self._profile.actions[finding.entity] == "keep":
            return True
        return bool(self._allowed) and self._allowed.has(finding.entity, folded.text[finding.start : finding.end])

    def _refuse(self, findings: Iterable[Finding]) -> None:
        refused = {finding.entity for finding in findings if self._profile.actions[finding.entity] == "quarantine"}
        if refused:
            raise DocumentError(
                f"the tenant's profile quarantines a document with: {', '.join(sorted(refused))}", reason="quarantined-by-policy"
            )

    def _written(self, text: str, folded: Folded, findings: list[Finding], keys: TenantKeys) -> Iterator[str]:
        done = 0
        for finding in findings:
            start, end = folded.original(finding.start, finding.end)
            yield text[done:start]
            yield self._substitute(finding.entity, folded.text[finding.start : finding.end], keys)
            done = end
        yield text[done:]

    def _substitute(self, entity: str, value: str, keys: TenantKeys) -> str:
        action = self._profile.actions[entity]
        if action == "drop":
            return ""
        return mask(entity) if action == "mask" else surrogate(entity, value, keys)


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


def _rules_identity() -> str:
    return f"rules-{_RULES}-presidio-{version('presidio-analyzer')}-phonenumbers-{version('phonenumbers')}"
