"""Detection of personal data against labelled text: presidio-research's sentences, or any folder with files of that shape.

DIR/presidio_research, or DIR itself, holds *.json or *.json.gz: a list of {"full_text", "spans": [{"entity_type", "start_position",
"end_position"}]}. What a profile finds is what it detects, links included, whatever action it has for them.

Scores follow presidio-evaluator's `SpanEvaluator`: see `benchmarks/_spans.py` (intersection over union of at least .9 in characters; over
all regardless of type, by entity with it). Types are mapped as its `presidio_entities_map` does (ADDRESS and GPE to LOCATION, PREFIX to
TITLE, …), and labelled types that the profile does not look for are left out, as it leaves out what an analyzer does not support:
`left_out` counts them.

`--names-model` measures any model that `privacy.names_model` takes: a folder, an installed package, a name on the hub. Models computed
on CUDA read 256 sentences at once, as the stage does with a document's blocks.

Keys:
  names_model                 as given; what it finds is only part of what a profile does
  sentences, spans, left_out  labelled spans that count, and those that do not
  precision, recall, f2       over all (goal with `--profile names` and the small model: f2 ≥ .80)
  overlap_f2                  the same where half of a span is enough
  structured_recall, structured_precision
                              e-mail, phone, card, IBAN, SSN, IP and URL together, by type (goals: ≥ .97, ≥ .90)
  entities                    by type: labelled, precision, recall, f2
  chars_per_s                 characters detected in, one process, models warm
"""

from __future__ import annotations

import gzip
import json
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks._harness import Unmeasured, need, note, run, seconds
from benchmarks._spans import Counts, Score, Span
from core.policy import Privacy
from privacy import Redactor

PROFILES = ("patterns", "names", "strict", "health", "payments")
MODEL = "en_core_web_sm"
TOGETHER = 256
STRUCTURED = ("EMAIL_ADDRESS", "PHONE_NUMBER", "CREDIT_CARD", "IBAN_CODE", "US_SSN", "IP_ADDRESS", "URL")

# presidio-evaluator's `presidio_entities_map`
LABELLED: Mapping[str, str] = {
    **dict.fromkeys(("PER", "PERSON", "FIRST_NAME", "LAST_NAME", "PATIENT", "STAFF", "HCW"), "PERSON"),
    **dict.fromkeys(("LOC", "LOCATION", "GPE", "FACILITY", "CITY", "ADDRESS", "STREET_ADDRESS"), "LOCATION"),
    **dict.fromkeys(("ORG", "ORGANIZATION", "VENDOR", "HOSP", "HOSPITAL", "PATORG"), "ORGANIZATION"),
    **dict.fromkeys(("NORP", "NRP", "NATIONALITY"), "NRP"),
    **dict.fromkeys(("TITLE", "PREFIX"), "TITLE"),
    **dict.fromkeys(("ZIP", "ZIP_CODE"), "ZIP_CODE"),
    **dict.fromkeys(("IBAN", "IBAN_CODE"), "IBAN_CODE"),
    **dict.fromkeys(("DATE", "TIME", "DATE_TIME", "BIRTHDAY", "DATE_OF_BIRTH", "DOB"), "DATE_TIME"),
    **dict.fromkeys(("PHONE", "PHONE_NUMBER"), "PHONE_NUMBER"),
    **dict.fromkeys(("DOMAIN_NAME", "DOMAIN", "URL"), "URL"),
    **dict.fromkeys(("EMAIL", "EMAIL_ADDRESS"), "EMAIL_ADDRESS"),
    **dict.fromkeys(("SSN", "US_SSN"), "US_SSN"),
}
OURS: Mapping[str, str] = {
    "EMAIL": "EMAIL_ADDRESS",
    "PHONE": "PHONE_NUMBER",
    "CARD": "CREDIT_CARD",
    "IBAN": "IBAN_CODE",
    "SSN": "US_SSN",
    "IP": "IP_ADDRESS",
    "ADDRESS": "LOCATION",
    "DATE": "DATE_TIME",
    "DRIVER_LICENSE": "US_DRIVER_LICENSE",
}
# what an address swallows: postal codes have no entity of their own here
ALSO = {"LOCATION": ("ZIP_CODE",)}


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--profile", choices=PROFILES, default="names", help="%(default)s")
    parser.add_argument("--names-model", default=MODEL, help="spaCy's, transformers' or GLiNER's, as `privacy.names_model` (%(default)s)")
    parser.add_argument("--misses", type=int, default=0, metavar="N", help="show N labelled and found spans that do not meet, a type each")


def measure(data: Path, profile: str, names_model: str, misses: int) -> dict[str, Any]:
    sentences = list(labelled(data))
    redactor = Redactor(Privacy(profile=profile, names_model=names_model))  # type: ignore[arg-type]
    redactor.warm()
    supported = wanted(profile)
    found: list[list[Span]] = []
    took = seconds(lambda: found.extend(predicted(redactor, [text for text, _ in sentences])))
    kept = [(text, [span for span in spans if span.entity in supported]) for text, spans in sentences]
    strict, lax = score(kept, found, 0.9), score(kept, found, 0.5)
    if misses:
        _show(kept, found, misses)
    structured = Counts()
    for entity in STRUCTURED:
        structured.add(strict.by_type.get(entity, Counts()))
    total = sum(len(spans) for _, spans in kept)
    return {
        "profile": profile,
        "names_model": names_model,
        "sentences": len(sentences),
        "spans": total,
        "left_out": dict(Counter(span.entity for _, spans in sentences for span in spans if span.entity not in supported)),
        "precision": strict.overall.precision,
        "recall": strict.overall.recall,
        "f2": strict.overall.f2,
        "overlap_f2": lax.overall.f2,
        "structured_recall": structured.recall,
        "structured_precision": structured.precision,
        "entities": {entity: _row(counts) for entity, counts in sorted(strict.by_type.items())},
        "chars_per_s": sum(len(text) for text, _ in sentences) / took,
    }


def labelled(data: Path) -> Iterator[tuple[str, list[Span]]]:
    """Every text with its labelled spans, types mapped. Raises Unmeasured where the folder holds none."""
    folder = data / "presidio_research" if (data / "presidio_research").is_dir() else need(data)
    files = sorted(path for path in folder.iterdir() if path.name.endswith((".json", ".json.gz")))
    if not files:
        raise Unmeasured(f"{folder} holds neither *.json nor *.json.gz")
    for path in files:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for row in json.load(file):
                spans = (
                    Span(s["start_position"], s["end_position"], LABELLED.get(s["entity_type"], s["entity_type"])) for s in row["spans"]
                )
                yield row["full_text"], list(spans)


def wanted(profile: str) -> frozenset[str]:
    """The labelled types that a profile looks for."""
    from privacy.profiles import SHIPPED

    own = {OURS.get(entity, entity) for entity in SHIPPED[profile]}
    return frozenset(own | {more for entity in own for more in ALSO.get(entity, ())})


def predicted(redactor: Redactor, texts: Sequence[str]) -> Iterator[list[Span]]:
    """As the stage does it: a model that computes in batches has a document's worth of texts at once."""
    for first in range(0, len(texts), TOGETHER):
        redactor.read_ahead(texts[first : first + TOGETHER])
        yield from (predict(redactor, text) for text in texts[first : first + TOGETHER])


def predict(redactor: Redactor, text: str) -> list[Span]:
    return [Span(found.start, found.end, OURS.get(found.entity, found.entity)) for found in redactor.detect(text)]


def score(sentences: list[tuple[str, list[Span]]], found: list[list[Span]], iou: float) -> Score:
    result = Score()
    for (text, spans), predicted in zip(sentences, found, strict=True):
        result.read(text, spans, predicted, iou)
    return result


def _row(counts: Counts) -> dict[str, float]:
    return {"labelled": counts.labelled, "precision": counts.precision, "recall": counts.recall, "f2": counts.f2}


def _show(sentences: list[tuple[str, list[Span]]], found: list[list[Span]], most: int) -> None:
    """The data set is invented, and public: its values may be shown."""
    shown: Counter[str] = Counter()
    for (text, spans), predicted in zip(sentences, found, strict=True):
        one = Score()
        one.read(text, spans, predicted)
        missed = [entity for entity, counts in one.by_type.items() if counts.found < max(counts.labelled, counts.predicted)]
        if missed and any(shown[entity] < most for entity in missed):
            shown.update(missed)
            note(f"{missed}\n  {text!r}\n  labelled {_values(text, spans)}\n  found    {_values(text, predicted)}")


def _values(text: str, spans: list[Span]) -> list[str]:
    return [f"{span.entity}:{text[span.start : span.end]}" for span in sorted(spans)]


if __name__ == "__main__":
    run(measure, __doc__, options)
