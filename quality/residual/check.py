"""The check on what redaction has left: a second detector's findings, and what they say of all that the tenant has.

Two kinds of findings. What is unmistakable (`quality.residual.shapes`) is an error at any count. What may be personal
(`quality.residual.suspicion`) is
a rate with an interval, corrected by how that detector was measured to err, and an error where its lower bound is above the
tenant's threshold: noise alone stops nothing. Both count only what the tenant's profile says that it replaces.

Gives counts, rates and entities; never what was found, and never where.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

from core.entities import ENTITIES
from quality.check import Check, Finding, Measure, conclude, expect
from quality.residual.estimate import Drawn, Errors, corrected, draw, share
from quality.residual.marks import blanked
from quality.residual.naming import Usage, names
from quality.residual.shapes import KINDS, certain
from quality.residual.suspicion import identifiers

NAMES = ("PERSON", "LOCATION", "ADDRESS", "ORGANIZATION")
_ANY_NAME = "PERSON or LOCATION"

# as `benchmarks.residual` measured them: docs/privacy.md says on what
ERRORS: Mapping[str, Errors] = {
    "identifiers": Errors(false=0.005, most_false=0.05, recall=0.95, least_recall=0.7),
    "names": Errors(false=0.3, most_false=2.5, recall=0.75, least_recall=0.5),
}
MOST: Mapping[str, float] = {"identifiers": 0.01, "names": 0.05}
"""The share of passages with a residual that passes, where the tenant says nothing else."""
_FEWEST = 2
"""One finding alone is no rate, however few passages there are."""


class Document(NamedTuple):
    """A redacted document's texts; `ids` (targets of links too) hold names that are none, and count for what is unmistakable alone.
    `drawn`: it is one of the random sample."""

    texts: Sequence[str]
    ids: Sequence[str] = ()
    drawn: bool = True


class _Sampled(NamedTuple):
    """The passages of a document that are looked at, surrogates blanked, and how many it has."""

    passages: Sequence[str]
    of: int


@dataclass(frozen=True)
class Claim:
    """What the tenant says of its redacted texts: the entities that are replaced, values that may stay, shares that are tolerated."""

    entities: Collection[str] = ENTITIES
    allowed: Callable[[str, str], bool] = field(default=lambda _entity, _value: False, repr=False)
    most: Mapping[str, float] = field(default_factory=dict)

    def entity(self, kind: str, value: str) -> str:
        """The entity as which a finding counts; empty where it does not."""
        wanted = [entity for entity in (("PERSON", "LOCATION") if kind == "NAME" else (kind,)) if entity in self.entities]
        if not wanted or any(self.allowed(entity, value) for entity in wanted):
            return ""
        return _ANY_NAME if kind == "NAME" else kind


def residual_pii(documents: Iterable[Document], total: int = 0, claim: Claim | None = None) -> Check:
    """Is anything left after redaction, in these documents, those drawn being a random sample of a `total`?

    All are looked through for what is unmistakable; of each one drawn some passages, for what may be personal: the same texts have the same
    ones looked at. Surrogates (`<EMAIL:7f3a9c…>`) and masks are passed over.
    """
    claim = claim or Claim()
    found, sample, texts = Counter[str](), list[_Sampled](), 0
    for document in documents:
        texts += len(document.texts) + len(document.ids)
        found.update(entity for text in chain(*document[:2]) for kind, value in certain(text) if (entity := claim.entity(kind, value)))
        if document.drawn:
            sample.append(_Sampled(*draw([blanked(text) for text in document.texts])))
    findings = [expect("texts", f"hold no {kind}", found[kind], severity=severity) for kind, severity in KINDS.items()]
    more, measured = _rates(sample, max(total, len(sample)), claim)
    return conclude(
        "residual_pii", findings + more, {"texts": texts, **{kind: found[kind] for kind in KINDS}, **measured}, _well(texts, measured)
    )


def _rates(sample: Sequence[_Sampled], total: int, claim: Claim) -> tuple[list[Finding], dict[str, Measure]]:
    usage = Usage.of(document.passages for document in sample)
    seen = [[_entities(passage, usage, claim) for passage in document.passages] for document in sample]
    findings: list[Finding] = []
    measured: dict[str, Measure] = {"documents": total, "documents_sampled": len(sample), "passages_sampled": sum(map(len, seen))}
    for group in ERRORS:
        if _of_group(group, claim.entities):
            finding, told = _suspected(group, sample, seen, total, claim)
            findings.append(finding)
            measured |= told
    by_entity = Counter(entity for each in seen for found in each for entity in found)
    findings += [Finding("passages", f"hold nothing like {entity}", n, failed=False) for entity, n in sorted(by_entity.items())]
    return findings, measured | {f"suspected {entity}": n for entity, n in sorted(by_entity.items())}


def _entities(passage: str, usage: Usage, claim: Claim) -> set[str]:
    """The entities of which there may be something in the passage."""
    suspects = chain(identifiers(passage), names(passage, usage))
    return {entity for one in suspects if (entity := claim.entity(one.kind, passage[one.start : one.end]))}


def _of_group(group: str, entities: Iterable[str]) -> list[str]:
    return [entity for entity in entities if (entity in (*NAMES, _ANY_NAME)) == (group == "names")]


def _suspected(
    group: str, sample: Sequence[_Sampled], seen: Sequence[Sequence[set[str]]], total: int, claim: Claim
) -> tuple[Finding, dict[str, Measure]]:
    hits = [sum(bool(_of_group(group, found)) for found in each) for each in seen]
    lengths = [len(passage) for document in sample for passage in document.passages]
    found = share([Drawn(d.of, len(d.passages), n) for d, n in zip(sample, hits, strict=True)], total)
    left, most = corrected(found, lengths, ERRORS[group]), claim.most.get(group, MOST[group])
    said = f"hold {group} in at most {most:.1%} (estimated {left.rate:.1%}, 95 % interval {left.low:.1%} to {left.high:.1%})"
    told: dict[str, Measure] = {
        f"{group}_suspected": sum(hits),
        f"{group}_per_1000_characters": round(1000 * sum(hits) / max(1, sum(lengths)), 4),
        **{f"{group}_{name}": round(value, 4) for name, value in left._asdict().items()},
        f"{group}_threshold": most,
    }
    return Finding("passages", said, sum(hits), failed=left.low > most and sum(hits) >= _FEWEST), told


def _well(texts: int, measured: Mapping[str, Measure]) -> str:
    rates = "".join(f", {group} in an estimated {measured[f'{group}_rate']:.1%}" for group in ERRORS if f"{group}_rate" in measured)
    return f"{texts:,} redacted texts hold nothing unmistakable; of {measured['passages_sampled']:,} passages{rates}."
