"""Detection of personal data against labelled text: presidio-research's sentences, or any folder with files of that format.

DIR/presidio_research, or DIR itself, holds *.json or *.json.gz: a list of {"full_text", "spans": [{"entity_type", "start_position",
"end_position"}]}. Everything that a profile detects counts, links included, whatever its action.

Scores follow presidio-evaluator's `SpanEvaluator` (see `benchmarks/_spans.py`): intersection over union of at least .9 in characters,
overall regardless of type, and by type. Types are mapped like its `presidio_entities_map` (ADDRESS and GPE to LOCATION, PREFIX to TITLE,
…). Labelled types that the profile does not look for are left out, as it leaves out types that an analyzer does not support; `left_out`
counts them.

`--names-model` measures any model that `privacy.names_model` accepts: a folder, an installed package, a name on the hub. Models on CUDA
read batches of 256 sentences, as the stage does with a document's blocks.

Keys:
  names_model                 as given; its names are only part of what a profile detects
  sentences, spans, left_out  sentences, labelled spans that count, labelled spans that do not count by type
  precision, recall, f2       overall (goal with `--profile names` and the small model: f2 ≥ .80)
  overlap_f2                  f2 with an intersection over union of at least .5
  structured_recall, structured_precision
                              e-mail, phone, card, IBAN, SSN, IP and URL together, by type (goals: ≥ .97, ≥ .90)
  entities                    by type: labelled, precision, recall, f2
  chars_per_s                 characters read per second, one process, models warm
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
# types that are part of another: a postal code is found as part of an address
ALSO = {"LOCATION": ("ZIP_CODE",)}


def options(parser: ArgumentParser) -> None:
    parser.add_argument("--profile", choices=PROFILES, default="names", help="%(default)s")
    parser.add_argument("--names-model", default=MODEL, help="as `privacy.names_model`: spaCy, transformers or GLiNER (%(default)s)")
    parser.add_argument("--misses", type=int, default=0, metavar="N", help="show N mismatches of each type")


def measure(data: Path, profile: str, names_model: str, misses: int) -> dict[str, Any]:
    sentences = list(labelled(data))
    redactor = Redactor(Privacy(profile=profile, names_model=names_model))  # type: ignore[arg-type]
    redactor.warm()
    supported = supported_types(profile)
    found: list[list[Span]] = []
    duration_s = seconds(lambda: found.extend(predicted(redactor, [text for text, _ in sentences])))
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
        "chars_per_s": sum(len(text) for text, _ in sentences) / duration_s,
    }


def labelled(data: Path) -> Iterator[tuple[str, list[Span]]]:
    """Every text with its labelled spans, with mapped types. Raises Unmeasured if the folder contains no texts."""
    folder = data / "presidio_research" if (data / "presidio_research").is_dir() else need(data)
    files = sorted(path for path in folder.iterdir() if path.name.endswith((".json", ".json.gz")))
    if not files:
        raise Unmeasured(f"{folder} contains neither *.json nor *.json.gz")
    for path in files:
        with gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else path.open(encoding="utf-8") as file:
            for row in json.load(file):
                spans = (
                    Span(s["start_position"], s["end_position"], LABELLED.get(s["entity_type"], s["entity_type"])) for s in row["spans"]
                )
                yield row["full_text"], list(spans)


def supported_types(profile: str) -> frozenset[str]:
    """The labelled types that a profile looks for."""
    from privacy.profiles import SHIPPED

    own = {OURS.get(entity, entity) for entity in SHIPPED[profile]}
    return frozenset(own | {more for entity in own for more in ALSO.get(entity, ())})


def predicted(redactor: Redactor, texts: Sequence[str]) -> Iterator[list[Span]]:
    """Read in batches like the stage, which reads a document's texts ahead."""
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
    """Print mismatches. The values may be shown: the data set is invented, and public."""
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
