"""The speed of redaction, compared with stock Presidio on the same texts in the same run, and on adversarial texts.

Ours is the whole stage: decoding, detection, surrogates and encoding of frames of documents. Theirs is only `AnalyzerEngine.analyze`, text
by text, with its default recognisers: without names on a blank spaCy pipeline (the default engine needs a model), with names on the same
small model as ours. Texts are Python PEPs by paragraph, and their prose cut into messages of 1 KB. Every turn measures all in sequence, on
PEPs of its own, because results of a names model are cached by sentence.

Keys:
  patterns_kb_s, names_kb_s, …        each profile's stage: by `peps` and `messages`
  stock_patterns_kb_s, stock_names_kb_s
  patterns_speedup  ours / theirs on the slower of the two kinds of text, median of the turns (goal: at least 3)
  names_speedup     the same with names (goal: at least 1.5)
  f2, stock_f2      of patterns and names, on every fourth sentence of presidio_research (see benchmarks.pii), for the profile's types
  paragraph_s_per_mb  one paragraph of 10 MB under `patterns` (bound: 20 s/MB), and of 200 KB under `names` (bound: 400 s/MB)
  hostile_s_per_mb  the slowest of the adversarial texts of 250 KB, by its name, under `patterns` (bound: 60 s/MB)
"""

from __future__ import annotations

import os
import statistics
from argparse import ArgumentParser
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks._harness import note, run, seconds
from benchmarks._spans import Span
from benchmarks._texts import peps
from benchmarks.pii import LABELLED, MODEL, PROFILES, labelled, predict, score, supported_types
from core import records
from core.frames import PARSED
from core.keys import TenantKeys
from core.policy import Privacy
from core.records import Block, Content, Envelope
from privacy import Redactor, new_data_key, redact, tenant_keys

MESSAGE = 1_000
SENTENCES_EVERY = 4
_HOSTILE_LENGTH = 250_000

HOSTILE = {
    "digits": "1" * 50,
    "digit groups": "1234 ",
    "dotted": "1.1.1.1.",
    "hex colons": "ab:",
    "at signs": "a@",
    "long local": "a." * 60 + "@",
    "colon slashes": "a://b@",
    "capitals": "Abc Def ",
    "phone openings": "+1 (",
    "street words": "Rue de la ",
    "numbered streets": "1 Aa Bb ",
    "key words": "password: token=",
    "key begin": "-----BEGIN PRIVATE KEY-----",
    "tokens": "eyJaaaaaaaaaaaa.",
    "spelt at": "a [at] b [dot] ",
    "percent": "%40",
    "quotes": "\"'<({[",
    "line breaks": "1\n",
    "dates": "1/1/1/1",
    "name cues": "my name is ",
    "iban": "DE89 ",
}


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--kb", type=int, default=150, help="of each kind of text in each turn (%(default)s)")
    parser.add_argument("--turns", type=int, default=3, help="%(default)s")
    parser.add_argument("--paragraph-mb", type=int, default=10, help="%(default)s")


def measure(data: Path, kb: int, turns: int, paragraph_mb: int) -> dict[str, Any]:
    documents = [text.decode(errors="replace") for _, text in peps(data)]
    shares = [documents[at :: 2 * turns + 1] for at in range(2 * turns + 1)]
    kinds = ("peps", "messages")
    redactors = {profile: Redactor(Privacy(profile=profile, names_model=MODEL)) for profile in PROFILES}  # type: ignore[arg-type]
    stock = {"patterns": _stock(names=False), "names": _stock(names=True)}
    keys = tenant_keys(master := os.urandom(32), "bench", new_data_key(master, "bench"))
    for redactor in redactors.values():
        redactor.warm()
    works: dict[str, Callable[[list[str]], object]] = {
        **{profile: partial(_redact, redactor, keys) for profile, redactor in redactors.items()},
        **{f"stock_{name}": partial(_analyze, analyze) for name, analyze in stock.items()},
    }
    rates = [_turn(works, _texts(shares[2 * turn], shares[2 * turn + 1], kb * 1000), turn) for turn in range(turns)]
    results: dict[str, Any] = {
        f"{name}_kb_s": {kind: statistics.median(rate[name][kind] for rate in rates) for kind in kinds} for name in works
    }
    for name in stock:
        results[f"{name}_speedup"] = min(statistics.median(r[name][kind] / r[f"stock_{name}"][kind] for r in rates) for kind in kinds)
    results |= _f2(data, redactors, stock)
    results["paragraph_s_per_mb"] = _paragraph(shares[-1], redactors, keys, paragraph_mb)
    results["hostile_s_per_mb"] = _hostile(redactors["patterns"], keys)
    return results


def _redact(redactor: Redactor, keys: TenantKeys, texts: list[str]) -> object:
    return redact(_frame(texts), redactor, keys)


def _analyze(analyze: Callable[[str], list[Any]], texts: list[str]) -> object:
    return [analyze(text) for text in texts]


def _texts(paragraphs: Sequence[str], prose: Sequence[str], size: int) -> dict[str, list[str]]:
    """About `size` characters of each kind, from these documents."""
    return {"peps": _paragraphs(paragraphs, size), "messages": _messages(prose, size)}


def _turn(works: dict[str, Callable[[list[str]], object]], texts: dict[str, list[str]], turn: int) -> dict[str, dict[str, float]]:
    rates: dict[str, dict[str, float]] = {}
    for name, work in works.items():
        rates[name] = {kind: _kilobytes(texts[kind]) / seconds(partial(work, texts[kind])) for kind in texts}
        note(f"turn {turn + 1}, {name}: " + ", ".join(f"{kind} {rate:,.0f} KB/s" for kind, rate in rates[name].items()))
    return rates


def _kilobytes(texts: Sequence[str]) -> float:
    return sum(len(text.encode(errors="replace")) for text in texts) / 1000


def _paragraphs(documents: Sequence[str], size: int) -> list[str]:
    """Paragraphs of PEPs from all over the collection."""
    step = max(1, sum(map(len, documents)) // size)
    return [paragraph for document in documents[::step] for paragraph in document.split("\n\n") if paragraph.strip()]


def _messages(documents: Sequence[str], size: int) -> list[str]:
    prose = "\n".join(documents[:: max(1, sum(map(len, documents)) // size)])[:size]
    return [prose[at : at + MESSAGE] for at in range(0, len(prose), MESSAGE)]


def _frame(texts: Sequence[str]) -> pl.DataFrame:
    """Documents of fifty texts each, as parsed."""
    rows = [
        {
            "document": f"{at:032x}",
            "input_key": str(at),
            "envelope": records.encode(Envelope(f"bench/{at}", "bench")),
            "content": records.encode(Content(tuple(Block("paragraph", text=text) for text in texts[at : at + 50]))),
        }
        for at in range(0, len(texts), 50)
    ]
    return pl.DataFrame(rows, schema=dict(PARSED))


# stock Presidio


def _stock(*, names: bool) -> Callable[[str], list[Any]]:
    """`AnalyzerEngine.analyze` with default recognisers, offline, at the threshold of presidio-evaluator's reference."""
    import spacy
    import tldextract
    from presidio_analyzer import AnalyzerEngine
    from presidio_analyzer.nlp_engine import SpacyNlpEngine

    from privacy.models import find

    tldextract.extract = tldextract.TLDExtract(suffix_list_urls=())  # type: ignore[assignment]
    engine = SpacyNlpEngine()
    engine.nlp = {"en": spacy.load(find(MODEL).folder) if names else spacy.blank("en")}
    analyzer = AnalyzerEngine(nlp_engine=engine, supported_languages=["en"])
    entities = [
        entity for entity in analyzer.get_supported_entities("en") if names or entity not in ("PERSON", "LOCATION", "NRP", "ORGANIZATION")
    ]
    analyzer.analyze("Call 020 7946 0000 or write to a@example.org.", language="en", entities=entities)
    return lambda text: analyzer.analyze(text, language="en", entities=entities, score_threshold=0.4)


def _f2(data: Path, redactors: dict[str, Redactor], stock: dict[str, Callable[[str], list[Any]]]) -> dict[str, dict[str, float]]:
    sentences = list(labelled(data))[::SENTENCES_EVERY]
    ours, theirs = {}, {}
    for name, analyze in stock.items():
        # only types that both look for
        both = supported_types(name) - {"US_DRIVER_LICENSE", "ZIP_CODE"}
        kept = [(text, _of(spans, both)) for text, spans in sentences]
        found = [_of(predict(redactors[name], text), both) for text, _ in sentences]
        stocks = [
            _of([Span(r.start, r.end, LABELLED.get(r.entity_type, r.entity_type)) for r in analyze(text)], both) for text, _ in sentences
        ]
        ours[name] = score(kept, found, 0.9).overall.f2
        theirs[name] = score(kept, stocks, 0.9).overall.f2
        note(f"{name}: f2 {ours[name]:.3f}, stock {theirs[name]:.3f}")
    return {"f2": ours, "stock_f2": theirs}


def _of(spans: Sequence[Span], entities: frozenset[str]) -> list[Span]:
    return [span for span in spans if span.entity in entities]


# texts that could be slow


def _paragraph(documents: Sequence[str], redactors: dict[str, Redactor], keys: TenantKeys, megabytes: int) -> dict[str, float]:
    prose = " ".join(text.replace("\n", " ") for text in documents)
    result = {}
    for name, size in (("patterns", float(megabytes)), ("names", 0.2)):
        length = int(size * 1_000_000)
        text = (prose * (1 + length // len(prose)))[:length]
        result[name] = seconds(partial(redactors[name].replace, text, keys)) / size
        note(f"one paragraph of {size:g} MB, {name}: {result[name]:.2f} s/MB")
    return result


def _hostile(redactor: Redactor, keys: TenantKeys) -> dict[str, float]:
    def seconds_per_mb(piece: str) -> float:
        text = (piece * _HOSTILE_LENGTH)[:_HOSTILE_LENGTH]
        return seconds(lambda: redactor.replace(text, keys)) * 1_000_000 / _HOSTILE_LENGTH

    durations = {name: seconds_per_mb(piece) for name, piece in HOSTILE.items()}
    slowest = max(durations, key=lambda name: durations[name])
    note(", ".join(f"{name} {duration:.1f} s" for name, duration in durations.items()))
    return {slowest: durations[slowest]}


if __name__ == "__main__":
    run(measure, __doc__, options)
