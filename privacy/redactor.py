"""Redaction of one text: runs the finders, resolves overlapping findings, and replaces the values.

A `Redactor` knows no tenant and no document; it gets a text and a tenant's keys.
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

# incremented with every change to a finder, to folding, to normal forms, to a profile, to the order of findings, or to what is redacted
_RULES = 4

# `prose`: all finders of the profile. `address`: link targets, without the finders of names. `id`: only `precise_finders`.
Kind = Literal["prose", "address", "id"]


class Detection(NamedTuple):
    """A value at `[start, end)` of the original text."""

    start: int
    end: int
    entity: str


class Redactor:
    """Detects and replaces what one profile asks for. Build it once for each profile and process.

    The constructor loads the names model; Presidio is loaded with the first text, which takes some seconds. Raises ConfigurationError if
    the profile asks for names and its model cannot be loaded.
    """

    def __init__(self, privacy: Privacy) -> None:
        self._privacy = privacy
        self._profile = profile(privacy)
        self._allowed = Allowed(privacy.allow)
        self._finders_by_kind: dict[Kind, Sequence[Finder]] = {}
        names = self._profile.actions.keys() & {"PERSON", "LOCATION", "ORGANIZATION"}
        self._names = [Names(privacy.names_model, names)] if names and privacy.names_model else []
        self._fingerprint = "/".join([self._profile.fingerprint, _rules_identity(), *(model.identity for model in self._names)])

    def _finders(self, kind: Kind) -> Sequence[Finder]:
        """The finders for one kind of text, built on first use: reading ids loads neither lists of names nor a model."""
        if kind not in self._finders_by_kind:
            entities = self._profile.actions.keys()
            self._finders_by_kind[kind] = [finder for finder in self._build_finders(kind) if finder.labels & entities]
        return self._finders_by_kind[kind]

    def _build_finders(self, kind: Kind) -> list[Finder]:
        if kind == "id":
            return [*own_finders(self._privacy), *precise_finders()]
        return [*self._patterns, KnownPeople(), KnownPlaces(), *self._names] if kind == "prose" else self._patterns

    @cached_property
    def _patterns(self) -> list[Finder]:
        return [*own_finders(self._privacy), *pattern_finders(self._privacy.languages)]

    @property
    def fingerprint(self) -> str:
        """Changes whenever a result may change. Covers the profile, the rules, their libraries and the names model's files."""
        return self._fingerprint

    def warm(self) -> None:
        """Load Presidio now."""
        for kind in get_args(Kind):
            self._find(Text(fold("Call 020 7946 0000 or write to a@example.org.").text, frozenset()), kind)

    def read_ahead(self, texts: Iterable[str]) -> None:
        """Let a names model that computes in batches read the texts that `replace` will get as prose. Changes no result."""
        for model in self._names:
            model.read_ahead(fold(text).text for text in texts)

    def detect(self, text: str, *, kind: Kind = "prose", label: str = "") -> list[Detection]:
        """The values in a text in order of position, including those that the profile or the tenant keeps."""
        folded = fold(text)
        findings = self._find(Text(folded.text, frozenset(words(label))), kind)
        return [Detection(*folded.original(finding.start, finding.end), finding.entity) for finding in findings]

    def replace(
        self, text: str, keys: TenantKeys, *, kind: Kind = "prose", label: str = "", refusing: bool = True
    ) -> tuple[str, Counter[str]]:
        """The text with each value replaced as the profile says, and the number of replacements by entity.

        The result depends only on the arguments. `label` is the text's own label (a column's header, a property's key), whose words count
        as context. Passes repeat until one replaces nothing, so redacting a redacted text changes nothing. They terminate because each
        pass leaves less text outside surrogates.

        If the profile quarantines a value, raises DocumentError if `refusing`; otherwise the value gets a surrogate.
        """
        hints, counts = frozenset(words(label)), Counter[str]()
        while True:
            folded = fold(text)
            found = self._find(Text(folded.text, hints), kind)
            findings = [finding for finding in found if not self._is_kept(finding, folded)]
            if not findings:
                return text, counts
            if refusing:
                self._check_quarantine(findings)
            counts.update(finding.entity for finding in findings)
            text = "".join(self._pieces(text, folded, findings, keys))

    def _find(self, text: Text, kind: Kind) -> list[Finding]:
        candidates = [
            (rank, finding)
            for rank, finder in enumerate(self._finders(kind))
            if finder.needs.search(text.folded)
            for finding in finder.find(text)
            if finding.entity in self._profile.actions and finding.score >= self._profile.threshold(finding.entity)
        ]
        return _winners(candidates)

    def _is_kept(self, finding: Finding, folded: Folded) -> bool:
        """Whether a value stays. Checked after overlaps are resolved, so that no other finder takes a piece of it."""
        if self._profile.actions[finding.entity] == "keep":
            return True
        return bool(self._allowed) and self._allowed.has(finding.entity, folded.text[finding.start : finding.end])

    def _check_quarantine(self, findings: Iterable[Finding]) -> None:
        entities = {finding.entity for finding in findings if self._profile.actions[finding.entity] == "quarantine"}
        if entities:
            raise DocumentError(
                f"the tenant's profile quarantines a document with: {', '.join(sorted(entities))}", reason="quarantined-by-policy"
            )

    def _pieces(self, text: str, folded: Folded, findings: list[Finding], keys: TenantKeys) -> Iterator[str]:
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
    """Findings without overlaps, in order of position. The highest score wins, then the longest, then the earlier finder and position."""
    ranked = sorted(candidates, key=lambda c: (-c[1].score, c[1].start - c[1].end, c[0], c[1].start))
    winners: list[Finding] = []
    covered = bytearray(max((finding.end for _, finding in ranked), default=0))
    for _, finding in ranked:
        if not any(covered[finding.start : finding.end]):
            covered[finding.start : finding.end] = b"\1" * (finding.end - finding.start)
            winners.append(finding)
    return sorted(winners)


def _rules_identity() -> str:
    return f"rules-{_RULES}-presidio-{version('presidio-analyzer')}-phonenumbers-{version('phonenumbers')}"
