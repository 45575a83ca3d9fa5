"""The check for residual personal data: its second detector's recall and false hits, and the coverage of its interval.

On presidio_research (see benchmarks.pii), redacted by the profiles `patterns` and `names`, and on Python PEPs by paragraph. A labelled
value counts as left if half of its letters, without titles, are in the redacted text. All keys except `encyclopaedia` and the last are by
profile.

Keys:
  recall             by type: the share of labelled spans in the original text that overlap a suspicion
  left               labelled values that redaction left, and the texts with such a value
  recall_on_missed   the share of these values and of these texts with a suspicion (goal for texts under `names`: ≥ .6)
  false_rate         the share of redacted texts without a labelled value that have a suspicion (goals: at most .01 for identifiers, .05 for
                     names)
  false_per_1000     the same per 1,000 characters; also for PEPs, where nothing is labelled, so that every suspicion counts as false
  healthy            whether the check passes: on all sentences, on all PEPs, on each PEP as its own tenant (share; goals: 1)
  estimate           the check's rate and interval for the group on all sentences, and the true share of texts with a value left
  encyclopaedia      under `names` on re_docred, which has many firms, works and peoples: the same estimate, the true share of sentences
                     with a person or a place left (without peoples), the recall on them, and false hits per 1,000 characters of others
  covers             tenants of clean texts with this share of leaks: the share whose interval contains the truth (goal: ≥ .95)
  stops              the share of these tenants that is stopped (goals: 0 without leaks, 1 with leaks in half of the passages)
  kb_per_s           of the second detector
"""

from __future__ import annotations

import gzip
import json
import math
import os
import random
import re
import statistics
from argparse import ArgumentParser
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import quality
from benchmarks._harness import need, note, run, seconds
from benchmarks._spans import Span
from benchmarks._texts import peps
from benchmarks.pii import MODEL, labelled, supported_types
from core.keys import TenantKeys
from core.policy import Privacy
from pipelines.operations.residual_sample import claim
from privacy import Redactor, new_data_key, tenant_keys
from quality.residual.check import NAMES, Claim, Document
from quality.residual.marks import Suspect, blanked
from quality.residual.naming import Usage, names
from quality.residual.suspicion import identifiers

PROFILES = {"patterns": "identifiers", "names": "names"}
"""The profiles, each with the group of entities whose rate is measured."""
LEAKING_SHARES = (0.0, 0.02, 0.1, 0.5)
TENANTS = 40
_IN_A_DOCUMENT, _DRAWN = 10, 80
_TITLES = frozenset({"mrs", "miss"})
_WORD = re.compile(r"\w{3,}")
_ARTICLES_EVERY = 3
# the space before punctuation in tokenized sentences
_SPACED = re.compile(r" ([.,;:!?)'’%])")
_PEOPLE = re.compile(r"(?:ian|ean|ese|ican|ish|Greek|French|Dutch)s?$")


class Sentence(NamedTuple):
    """`redacted`: with surrogates blanked; `left`: for each labelled value that was left its type and its remaining words."""

    text: str
    spans: list[Span]
    redacted: str
    left: list[tuple[str, list[str]]]
    clean: bool


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--peps", type=int, default=40, help="%(default)s")


def measure(data: Path, peps: int) -> dict[str, Any]:
    master = os.urandom(32)
    keys = tenant_keys(master, "bench", new_data_key(master, "bench"))
    results: dict[str, dict[str, Any]] = {profile: _profile(data, profile, keys, peps) for profile in PROFILES}
    encyclopaedia = results["names"].pop("encyclopaedia")
    by_key = {key: {profile: result[key] for profile, result in results.items()} for key in results["names"]}
    return by_key | {"encyclopaedia": encyclopaedia} | {"kb_per_s": statistics.median(result["kb_per_s"] for result in results.values())}


def _profile(data: Path, profile: str, keys: TenantKeys, n: int) -> dict[str, Any]:
    privacy = Privacy(profile=profile, names_model=MODEL)  # type: ignore[arg-type]
    redactor, claimed = Redactor(privacy), claim(privacy)
    sentences = [_sentence(text, spans, profile, redactor, keys) for text, spans in labelled(data)]
    note(f"{profile}: {len(sentences)} sentences redacted")
    papers = _papers(data, redactor, keys, n)
    note(f"{profile}: {len(papers)} PEPs redacted")
    results = _recall(sentences, claimed) | _false(sentences, papers, claimed) | _verdicts(sentences, papers, claimed, PROFILES[profile])
    if profile == "names":
        results["encyclopaedia"] = _encyclopaedia(data, redactor, keys, claimed)
    note(f"{profile}: {results['estimate']}")
    results |= _leaking_tenants(sentences, claimed, PROFILES[profile])
    results["kb_per_s"] = _pace(papers, claimed)
    return results


def _sentence(text: str, spans: list[Span], profile: str, redactor: Redactor, keys: TenantKeys) -> Sentence:
    redacted = blanked(redactor.replace(text, keys)[0])
    supported = [span for span in spans if span.entity in supported_types(profile) - {"URL"}]
    left = [(span.entity, words) for span in supported if (words := _remaining(text[span.start : span.end], redacted))]
    others = (span for span in spans if span not in supported and _remaining(text[span.start : span.end], redacted))
    return Sentence(text, supported, redacted, left, not left and not any(others))


def _remaining(value: str, redacted: str) -> list[str]:
    """The words of a value that are in the redacted text; none if they are less than half of it."""
    words = [word for word in _WORD.findall(value) if word.lower() not in _TITLES]
    remaining = [word for word in words if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", redacted)]
    return remaining if 2 * sum(map(len, remaining)) >= sum(map(len, words)) else []


def _papers(data: Path, redactor: Redactor, keys: TenantKeys, n: int) -> list[list[str]]:
    """The first forty paragraphs of PEPs from the whole collection, redacted."""
    every = [text.decode(errors="replace").split("\n\n") for _, text in peps(data)]
    chosen = every[:: max(1, len(every) // n)][:n]
    return [[redactor.replace(part, keys)[0] for part in parts[:40] if part.strip()] for parts in chosen]


def _suspects(text: str, usage: Usage, claimed: Claim) -> list[Suspect]:
    found = chain(identifiers(text), names(text, usage))
    return [one for one in found if claimed.entity(one.kind, text[one.start : one.end])]


def _group(kind: str) -> str:
    return "names" if kind in (*NAMES, "NAME") else "identifiers"


def _recall(sentences: Sequence[Sentence], claimed: Claim) -> dict[str, Any]:
    usage = Usage.of([one.text] for one in sentences)
    total, found = Counter[str](), Counter[str]()
    for one in sentences:
        suspects = _suspects(one.text, usage, claimed)
        for span in one.spans:
            total[span.entity] += 1
            found[span.entity] += any(s.start < span.end and span.start < s.end for s in suspects)
    recall = {entity: found[entity] / n for entity, n in sorted(total.items())}
    return {"recall": recall, **_recall_on_missed(sentences, claimed)}


def _recall_on_missed(sentences: Sequence[Sentence], claimed: Claim) -> dict[str, Any]:
    usage, values, texts = Usage.of([one.redacted] for one in sentences), [], []
    for one in sentences:
        found = [one.redacted[s.start : s.end] for s in _suspects(one.redacted, usage, claimed)]
        values += [any(word in hit for word in words for hit in found) for _, words in one.left]
        texts += [bool(found)] if one.left else []
    left = {"values": len(values), "texts": len(texts)}
    recall = {"values": sum(values) / len(values), "texts": sum(texts) / len(texts)} if texts else {}
    return {"left": left, "recall_on_missed": recall}


def _false(sentences: Sequence[Sentence], papers: Sequence[Sequence[str]], claimed: Claim) -> dict[str, Any]:
    usage = Usage.of([one.redacted] for one in sentences)
    clean = [one.redacted for one in sentences if one.clean]
    rates, per_1000 = _suspected(clean, usage, claimed), {}
    paragraphs = [[blanked(text) for text in paper] for paper in papers]
    for name, texts, used in (
        ("sentences", clean, usage),
        ("peps", list(chain.from_iterable(paragraphs)), Usage.of(paragraphs)),
    ):
        length = statistics.mean(map(len, texts)) / 1000
        per_1000[name] = {group: abs(math.log(1 - rate)) / length for group, rate in _suspected(texts, used, claimed).items()}
    return {"false_rate": rates, "false_per_1000": per_1000}


def _suspected(texts: Sequence[str], usage: Usage, claimed: Claim) -> dict[str, float]:
    """The share of texts with a suspicion, by group."""
    found = [{_group(one.kind) for one in _suspects(text, usage, claimed)} for text in texts]
    return {group: sum(group in each for each in found) / len(texts) for group in ("identifiers", "names")}


def _verdicts(sentences: Sequence[Sentence], papers: Sequence[Sequence[str]], claimed: Claim, group: str) -> dict[str, Any]:
    whole = quality.residual_pii((Document([one.redacted]) for one in sentences), claim=claimed)
    each = [quality.residual_pii([Document(paper)], claim=claimed).passed for paper in papers]
    together = quality.residual_pii(map(Document, papers), claim=claimed).passed
    true = sum(bool(one.left) for one in sentences) / len(sentences)
    return {
        "healthy": {"sentences": float(whole.passed), "peps": float(together), "each_pep": sum(each) / len(each)},
        "estimate": {**_estimate(whole, group), "true": true},
    }


def _estimate(check: quality.Check, group: str) -> dict[str, float]:
    return {name: float(check.measured[f"{group}_{name}"]) for name in ("low", "rate", "high")}


def _encyclopaedia(data: Path, redactor: Redactor, keys: TenantKeys, claimed: Claim) -> dict[str, float]:
    with gzip.open(need(data / "re_docred" / "dev_revised.json.gz"), "rt", encoding="utf-8") as file:
        articles = [_article(each, redactor, keys) for each in json.load(file)[::_ARTICLES_EVERY]]
    usage = Usage.of([text for text, _ in article] for article in articles)
    judged = [(left, len(text), bool(_suspects(text, usage, claimed))) for article in articles for text, left in article]
    check = quality.residual_pii((Document([text for text, _ in article]) for article in articles), claim=claimed)
    missed, others = [one for one in judged if one[0]], [one for one in judged if not one[0]]
    false = sum(hit for *_, hit in others) / len(others)
    return {
        **_estimate(check, "names"),
        "true": len(missed) / len(judged),
        "recall": sum(hit for *_, hit in missed) / len(missed),
        "false_per_1000": -math.log(1 - false) * 1000 * len(others) / sum(length for _, length, _ in others),
    }


def _article(each: Mapping[str, Any], redactor: Redactor, keys: TenantKeys) -> list[tuple[str, bool]]:
    """Each sentence redacted and blanked, and whether a person or a place is left in it."""
    named: dict[int, list[str]] = defaultdict(list)
    for mention in chain.from_iterable(each["vertexSet"]):
        if mention["type"] in ("PER", "LOC") and not _PEOPLE.search(mention["name"]):
            named[mention["sent_id"]].append(mention["name"])
    redacted = [blanked(redactor.replace(_SPACED.sub(r"\1", " ".join(words)), keys)[0]) for words in each["sents"]]
    return [(text, any(_remaining(name, text) for name in named[at])) for at, text in enumerate(redacted)]


def _leaking_tenants(sentences: Sequence[Sentence], claimed: Claim, group: str) -> dict[str, Any]:
    clean = [one.redacted for one in sentences if one.clean]
    leaks = [one.text for one in sentences if any((span.entity in NAMES) == (group == "names") for span in one.spans)]
    covers, stops = {}, {}
    for leaking_share in LEAKING_SHARES:
        covered, stopped = zip(*(_tenant(clean, leaks, leaking_share, claimed, group, seed) for seed in range(TENANTS)), strict=True)
        covers[f"{leaking_share:g}"], stops[f"{leaking_share:g}"] = sum(covered) / TENANTS, sum(stopped) / TENANTS
        note(f"{leaking_share:g} leaking: covered {covers[f'{leaking_share:g}']:.3f}, stopped {stops[f'{leaking_share:g}']:.3f}")
    return {"covers": covers, "stops": stops}


def _tenant(clean: Sequence[str], leaks: Sequence[str], leaking_share: float, claimed: Claim, group: str, seed: int) -> tuple[bool, bool]:
    """A tenant of clean texts, ten for each document, some replaced by sentences without redaction: (interval covers truth, stopped)."""
    chance = random.Random(seed)
    texts = chance.sample(list(clean), len(clean))
    leaking = chance.sample(range(len(texts)), round(leaking_share * len(texts)))
    for at in leaking:
        texts[at] = chance.choice(leaks)
    documents = [texts[at : at + _IN_A_DOCUMENT] for at in range(0, len(texts), _IN_A_DOCUMENT)]
    check = quality.residual_pii(map(Document, chance.sample(documents, min(_DRAWN, len(documents)))), len(documents), claimed)
    found = _estimate(check, group)
    stopped = float(check.measured[f"{group}_low"]) > float(check.measured[f"{group}_threshold"])
    return found["low"] <= len(leaking) / len(texts) <= found["high"], stopped


def _pace(papers: Iterable[Sequence[str]], claimed: Claim) -> float:
    texts = [blanked(text) for paper in papers for text in paper]
    usage = Usage.of([texts])
    return sum(map(len, texts)) / 1000 / seconds(lambda: [_suspects(text, usage, claimed) for text in texts])


if __name__ == "__main__":
    run(measure, __doc__, options)
