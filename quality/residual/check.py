"""The check for residual personal data: the findings of a second detector, extrapolated to all of a tenant's documents.

There are two kinds of findings. Certain ones (`quality.residual.shapes`) are errors at any count. Suspected ones (`suspicion`, `naming`)
give a rate with an interval, corrected for the detector's measured errors; the check fails if the lower bound exceeds the tenant's
threshold, so noise alone blocks nothing. Both count only entities that the tenant's profile replaces.

Results contain counts, rates and entities, never a value or its position.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from core.entities import ENTITIES
from quality.check import Check, Finding, Measure, conclude, expect
from quality.residual.estimate import Errors, SampledDocument, corrected, draw, share
from quality.residual.marks import blanked
from quality.residual.naming import Usage, names
from quality.residual.shapes import KINDS, certain
from quality.residual.suspicion import identifiers

NAMES = ("PERSON", "LOCATION", "ADDRESS", "ORGANIZATION")
_ANY_NAME = "PERSON or LOCATION"

# measured by `benchmarks.residual`; docs/privacy.md describes the data
ERRORS: Mapping[str, Errors] = {
    "identifiers": Errors(false=0.005, most_false=0.05, recall=0.95, least_recall=0.7),
    "names": Errors(false=0.3, most_false=2.5, recall=0.75, least_recall=0.5),
}
MOST: Mapping[str, float] = {"identifiers": 0.01, "names": 0.05}
"""The default thresholds: the largest share of passages with residual personal data that passes."""
_FEWEST = 2
"""Findings needed to fail: one is not a rate, even among few passages."""


class Document(NamedTuple):
    """A redacted document's texts. `ids`, and targets of links, are searched only for certain findings: they contain words like names.

    `sampled`: whether the document is part of the random sample.
    """

    texts: Sequence[str]
    ids: Sequence[str] = ()
    sampled: bool = True


class _Sample(NamedTuple):
    """The passages drawn from a document, with surrogates blanked, and the document's number of passages."""

    passages: Sequence[str]
    of: int


@dataclass(frozen=True)
class Claim:
    """What a tenant's profile claims: the entities it replaces, the values that may stay (`allowed`), and the tolerated shares (`most`)."""

    entities: Collection[str] = ENTITIES
    allowed: Callable[[str, str], bool] = field(default=lambda _entity, _value: False, repr=False)
    most: Mapping[str, float] = field(default_factory=dict)

    def entity(self, kind: str, value: str) -> str:
        """The entity that a finding counts as; empty if it does not count."""
        replaced = [entity for entity in (("PERSON", "LOCATION") if kind == "NAME" else (kind,)) if entity in self.entities]
        if not replaced or any(self.allowed(entity, value) for entity in replaced):
            return ""
        return _ANY_NAME if kind == "NAME" else kind


def residual_pii(documents: Iterable[Document], total: int = 0, claim: Claim | None = None) -> Check:
    """Do redacted documents still contain personal data? The sampled ones are a random sample of `total` documents.

    All documents are searched for certain findings, and some passages of each sampled one for suspected findings; equal texts give the same
    passages. Surrogates (`<EMAIL:7f3a9c…>`) and masks are skipped.
    """
    claim = claim or Claim()
    counts, sample, texts = Counter[str](), list[_Sample](), 0
    for document in documents:
        texts += len(document.texts) + len(document.ids)
        counts.update(entity for text in chain(*document[:2]) for kind, value in certain(text) if (entity := claim.entity(kind, value)))
        if document.sampled:
            sample.append(_Sample(*draw([blanked(text) for text in document.texts])))
    findings = [expect("texts", f"contain no {kind}", counts[kind], severity=severity) for kind, severity in KINDS.items()]
    suspected, rates = _rates(sample, max(total, len(sample)), claim)
    measured = {"texts": texts, **{kind: counts[kind] for kind in KINDS}, **rates}
    return conclude("residual_pii", findings + suspected, measured, _passed_message(texts, rates))


def _rates(sample: Sequence[_Sample], total: int, claim: Claim) -> tuple[list[Finding], dict[str, Measure]]:
    usage = Usage.of(document.passages for document in sample)
    entities = [[_entities(passage, usage, claim) for passage in document.passages] for document in sample]
    findings: list[Finding] = []
    measured: dict[str, Measure] = {"documents": total, "documents_sampled": len(sample), "passages_sampled": sum(map(len, entities))}
    for group in ERRORS:
        if _of_group(group, claim.entities):
            finding, rates = _suspected(group, sample, entities, total, claim)
            findings.append(finding)
            measured |= rates
    by_entity = Counter(entity for passages in entities for passage in passages for entity in passage)
    findings += [Finding("passages", f"contain nothing like {entity}", n, failed=False) for entity, n in sorted(by_entity.items())]
    return findings, measured | {f"suspected {entity}": n for entity, n in sorted(by_entity.items())}


def _entities(passage: str, usage: Usage, claim: Claim) -> set[str]:
    """The entities suspected in the passage."""
    suspects = chain(identifiers(passage), names(passage, usage))
    return {entity for one in suspects if (entity := claim.entity(one.kind, passage[one.start : one.end]))}


def _of_group(group: str, entities: Iterable[str]) -> list[str]:
    return [entity for entity in entities if (entity in (*NAMES, _ANY_NAME)) == (group == "names")]


def _suspected(
    group: str, sample: Sequence[_Sample], entities: Sequence[Sequence[set[str]]], total: int, claim: Claim
) -> tuple[Finding, dict[str, Measure]]:
    hits = [sum(bool(_of_group(group, passage)) for passage in passages) for passages in entities]
    lengths = [len(passage) for document in sample for passage in document.passages]
    found = share([SampledDocument(d.of, len(d.passages), n) for d, n in zip(sample, hits, strict=True)], total)
    residual, most = corrected(found, lengths, ERRORS[group]), claim.most.get(group, MOST[group])
    interval = f"estimated {residual.rate:.1%}, 95 % interval {residual.low:.1%} to {residual.high:.1%}"
    measured: dict[str, Measure] = {
        f"{group}_suspected": sum(hits),
        f"{group}_per_1000_characters": round(1000 * sum(hits) / max(1, sum(lengths)), 4),
        **{f"{group}_{name}": round(value, 4) for name, value in residual._asdict().items()},
        f"{group}_threshold": most,
    }
    failed = residual.low > most and sum(hits) >= _FEWEST
    return Finding("passages", f"contain {group} in at most {most:.1%} ({interval})", sum(hits), failed=failed), measured


def _passed_message(texts: int, measured: Mapping[str, Measure]) -> str:
    rates = "".join(f", {group} in an estimated {measured[f'{group}_rate']:.1%}" for group in ERRORS if f"{group}_rate" in measured)
    return f"{texts:,} redacted texts contain no certain finding; of {measured['passages_sampled']:,} passages{rates}."
