"""The check on what redaction has left: how well its second detector sees, how often it errs, and whether its estimate holds the truth.

On presidio_research (see benchmarks.pii), redacted by the profiles `patterns` and `names`, and on Python PEPs, paragraph by paragraph.
A labelled value is left where half of its letters, titles aside, still stand in the redacted text. Every key but `encyclopaedia` and the
last is by profile.

Keys:
  recall             by type, of labelled spans in the text as it was, those that overlap a suspicion
  left               labelled values that redaction has left, and the texts that hold one
  recall_on_missed   of these values and of these texts, the share with a suspicion on them (goal for texts under `names`: ≥ .6)
  false_rate         of redacted texts with nothing labelled in them any more, the share with a suspicion (goals: .01 at most for
                     identifiers, .05 for names)
  false_per_1000     the same per 1,000 characters, and that of PEPs, where what was left is not labelled and so counts as false
  healthy            whether the check passes: on all sentences, on all PEPs, on each PEP as a tenant of its own (share; goals: 1)
  estimate           the check's rate and interval for the group on all sentences, and the true share of texts with something left
  encyclopaedia      under `names` on re_docred, where firms, works and peoples abound: the same estimate, the true share of sentences with
                     a person or a place left (peoples aside), the recall on them, and what is false per 1,000 characters of the others
  covers             of tenants made of clean texts with so many leaks planted, the share whose interval holds the truth (goal: ≥ .95)
  stops              of the same tenants, the share that is stopped (goals: 0 without leaks, 1 with leaks in half of the passages)
  kb_per_s           of the second detector alone
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
from benchmarks.pii import MODEL, labelled, wanted
from core.keys import TenantKeys
from core.policy import Privacy
from pipelines.operations.residual_sample import claim
from privacy import Redactor, new_data_key, tenant_keys
from quality.residual.check import NAMES, Claim, Document
from quality.residual.marks import Suspect, blanked
from quality.residual.naming import Usage, names
from quality.residual.suspicion import identifiers

PROFILES = {"patterns": "identifiers", "names": "names"}
"""And the group of entities whose rate is of interest there."""
PLANTED = (0.0, 0.02, 0.1, 0.5)
TENANTS = 40
_IN_A_DOCUMENT, _DRAWN = 10, 80
_TITLES = frozenset({"mrs", "miss"})
_WORD = re.compile(r"\w{3,}")
_ARTICLES_EVERY = 3
# the space before a mark, in sentences that come word by word
_SPACED = re.compile(r" ([.,;:!?)'’%])")
_PEOPLE = re.compile(r"(?:ian|ean|ese|ican|ish|Greek|French|Dutch)s?$")


class Sentence(NamedTuple):
    """`redacted` with its surrogates blanked; `left`: the words that still stand of each labelled value that was left, by type."""

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
    elsewhere = results["names"].pop("encyclopaedia")
    by_key = {key: {profile: result[key] for profile, result in results.items()} for key in results["names"]}
    return by_key | {"encyclopaedia": elsewhere} | {"kb_per_s": statistics.median(result["kb_per_s"] for result in results.values())}


def _profile(data: Path, profile: str, keys: TenantKeys, n: int) -> dict[str, Any]:
    privacy = Privacy(profile=profile, names_model=MODEL)  # type: ignore[arg-type]
    redactor, claimed = Redactor(privacy), claim(privacy)
    sentences = [_sentence(text, spans, profile, redactor, keys) for text, spans in labelled(data)]
    note(f"{profile}: {len(sentences)} sentences redacted")
    papers = _papers(data, redactor, keys, n)
    note(f"{profile}: {len(papers)} PEPs redacted")
    results = _seen(sentences, claimed) | _false(sentences, papers, claimed) | _verdicts(sentences, papers, claimed, PROFILES[profile])
    if profile == "names":
        results["encyclopaedia"] = _encyclopaedia(data, redactor, keys, claimed)
    note(f"{profile}: {results['estimate']}")
    results |= _planted(sentences, claimed, PROFILES[profile])
    results["kb_per_s"] = _pace(papers, claimed)
    return results


def _sentence(text: str, spans: list[Span], profile: str, redactor: Redactor, keys: TenantKeys) -> Sentence:
    redacted = blanked(redactor.replace(text, keys)[0])
    sought = [span for span in spans if span.entity in wanted(profile) - {"URL"}]
    left = [(span.entity, words) for span in sought if (words := _standing(text[span.start : span.end], redacted))]
    others = (span for span in spans if span not in sought and _standing(text[span.start : span.end], redacted))
    return Sentence(text, sought, redacted, left, not left and not any(others))


def _standing(value: str, redacted: str) -> list[str]:
    """The words of a value that stand in the redacted text; none where they are less than half of it."""
    words = [word for word in _WORD.findall(value) if word.lower() not in _TITLES]
    standing = [word for word in words if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", redacted)]
    return standing if 2 * sum(map(len, standing)) >= sum(map(len, words)) else []


def _papers(data: Path, redactor: Redactor, keys: TenantKeys, n: int) -> list[list[str]]:
    """Of PEPs from all over the collection the first forty paragraphs, redacted."""
    every = [text.decode(errors="replace").split("\n\n") for _, text in peps(data)]
    chosen = every[:: max(1, len(every) // n)][:n]
    return [[redactor.replace(part, keys)[0] for part in parts[:40] if part.strip()] for parts in chosen]


def _suspects(text: str, usage: Usage, claimed: Claim) -> list[Suspect]:
    found = chain(identifiers(text), names(text, usage))
    return [one for one in found if claimed.entity(one.kind, text[one.start : one.end])]


def _group(kind: str) -> str:
    return "names" if kind in (*NAMES, "NAME") else "identifiers"


def _seen(sentences: Sequence[Sentence], claimed: Claim) -> dict[str, Any]:
    usage = Usage.of([one.text] for one in sentences)
    there, seen = Counter[str](), Counter[str]()
    for one in sentences:
        suspects = _suspects(one.text, usage, claimed)
        for span in one.spans:
            there[span.entity] += 1
            seen[span.entity] += any(s.start < span.end and span.start < s.end for s in suspects)
    recall = {entity: seen[entity] / n for entity, n in sorted(there.items())}
    return {"recall": recall, **_seen_of_missed(sentences, claimed)}


def _seen_of_missed(sentences: Sequence[Sentence], claimed: Claim) -> dict[str, Any]:
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
    alone = [quality.residual_pii([Document(paper)], claim=claimed).passed for paper in papers]
    together = quality.residual_pii(map(Document, papers), claim=claimed).passed
    true = sum(bool(one.left) for one in sentences) / len(sentences)
    return {
        "healthy": {"sentences": float(whole.passed), "peps": float(together), "each_pep": sum(alone) / len(alone)},
        "estimate": {**_estimate(whole, group), "true": true},
    }


def _estimate(check: quality.Check, group: str) -> dict[str, float]:
    return {name: float(check.measured[f"{group}_{name}"]) for name in ("low", "rate", "high")}


def _encyclopaedia(data: Path, redactor: Redactor, keys: TenantKeys, claimed: Claim) -> dict[str, float]:
    with gzip.open(need(data / "re_docred" / "dev_revised.json.gz"), "rt", encoding="utf-8") as file:
        articles = [_article(each, redactor, keys) for each in json.load(file)[::_ARTICLES_EVERY]]
    usage = Usage.of([text for text, _ in article] for article in articles)
    seen = [(left, len(text), bool(_suspects(text, usage, claimed))) for article in articles for text, left in article]
    check = quality.residual_pii((Document([text for text, _ in article]) for article in articles), claim=claimed)
    missed, others = [one for one in seen if one[0]], [one for one in seen if not one[0]]
    false = sum(hit for *_, hit in others) / len(others)
    return {
        **_estimate(check, "names"),
        "true": len(missed) / len(seen),
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
    return [(text, any(_standing(name, text) for name in named[at])) for at, text in enumerate(redacted)]


def _planted(sentences: Sequence[Sentence], claimed: Claim, group: str) -> dict[str, Any]:
    clean = [one.redacted for one in sentences if one.clean]
    leaks = [one.text for one in sentences if any((span.entity in NAMES) == (group == "names") for span in one.spans)]
    covers, stops = {}, {}
    for planted in PLANTED:
        held, stopped = zip(*(_tenant(clean, leaks, planted, claimed, group, seed) for seed in range(TENANTS)), strict=True)
        covers[f"{planted:g}"], stops[f"{planted:g}"] = sum(held) / TENANTS, sum(stopped) / TENANTS
        note(f"{planted:g} planted: held {covers[f'{planted:g}']:.3f}, stopped {stops[f'{planted:g}']:.3f}")
    return {"covers": covers, "stops": stops}


def _tenant(clean: Sequence[str], leaks: Sequence[str], planted: float, claimed: Claim, group: str, seed: int) -> tuple[bool, bool]:
    """A tenant of clean texts, ten a document, some of them replaced by sentences that nobody redacted: (truth held, stopped)."""
    chance = random.Random(seed)
    texts = chance.sample(list(clean), len(clean))
    leaking = chance.sample(range(len(texts)), round(planted * len(texts)))
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
