"""The main job with real documents: ingest the Python PEPs for one tenant, from Kafka to index and graph, then again, then one edit.

Keys:
  documents, chunks, tokens  ingested
  seconds                    from the first landed record to the last document in the graph; models are warm
  stage_seconds              of that, by stage (`land` first)
  unchanged_seconds          ingesting again without new events
  edit_seconds               one edited document, from landing its event to the graph
  rerun_embedded             texts embedded by the unchanged run (must be 0)
  edit_embedded              texts embedded by the edit
  edit_changed               chunks of the edited document whose text changed (must equal edit_embedded)
  reference_seconds          plain `SentenceTransformer.encode` with its defaults for the same chunks, estimated: the median of three runs
                             over every n-th chunk, up to 1,024 chunks, times n
  ratio                      seconds / reference_seconds (goal: at most 2)
  failed                     documents that became dead letters
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from benchmarks import _world
from benchmarks._harness import Unmeasured, note, run, seconds
from benchmarks._texts import peps
from core.sql import statements
from pipelines.app import Headrace

TENANT = "peps"
SAMPLE = 1_024
EDITED = "pep-0008.rst"


def measure(data: Path) -> dict[str, Any]:
    documents = dict(peps(data))
    with _world.headrace() as headrace:
        from pipelines.governance import tenants

        tenants.add(headrace, TENANT)
        _warm(headrace)
        note(f"publishing {len(documents)} documents")
        _publish(headrace, documents, sequence=1)
        whole: dict[str, Any] = {}
        took = seconds(lambda: whole.update(_ingest(headrace)))
        again: dict[str, Any] = {}
        unchanged = seconds(lambda: again.update(_ingest(headrace)))
        before = _hashes(headrace, EDITED)
        _publish(headrace, {EDITED: _edited(documents[EDITED])}, sequence=2)
        edit: dict[str, Any] = {}
        edit_took = seconds(lambda: edit.update(_ingest(headrace)))
        reference = _reference(headrace)
        return {
            "documents": whole["index"].done,
            "chunks": whole["index"].tally["chunks"],
            "tokens": whole["chunk"].tally["tokens"],
            "seconds": took,
            "stage_seconds": {"land": whole["land_seconds"]} | {name: whole[name].seconds for name in whole if name != "land_seconds"},
            "unchanged_seconds": unchanged,
            "edit_seconds": edit_took,
            "rerun_embedded": again["embed"].tally["embedded"],
            "edit_embedded": edit["embed"].tally["embedded"],
            "edit_changed": len(_hashes(headrace, EDITED) - before),
            "reference_seconds": reference,
            "ratio": took / reference,
            "failed": sum(report.failed for name, report in whole.items() if name != "land_seconds"),
        }


def _warm(headrace: Headrace) -> None:
    """Load the models and start the worker processes before the measurement."""
    _publish(headrace, {"warm-up.rst": b"Warm\n====\n\nOne sentence.\n"}, sequence=1)
    _ingest(headrace)


def _publish(headrace: Headrace, documents: dict[str, bytes], sequence: int) -> None:
    from events.publish import Publisher

    with Publisher(headrace.endpoints.kafka_client(), TENANT, "benchmark:peps") as publisher:
        for name, content in documents.items():
            publisher.upsert(name, content=content, media_type="text/x-rst", file_name=name, sequence=sequence)


def _ingest(headrace: Headrace) -> dict[str, Any]:
    results: dict[str, Any] = {}

    def work() -> None:
        _, reports = headrace.ingest(TENANT, _report)
        results.update(reports)

    took = seconds(work)
    return {"land_seconds": max(0.0, took - sum(report.seconds for report in results.values())), **results}


_reported: dict[str, int] = {}


def _report(stage: str, so_far: Any) -> None:
    moved = so_far.events if stage == "land" else so_far.moved
    if moved // 100 != _reported.get(stage, 0) // 100:
        note(f"{stage}: {moved}")
    _reported[stage] = moved


def _edited(content: bytes) -> bytes:
    """Return the text with one word added to the end of a paragraph in the middle."""
    paragraphs = content.decode().split("\n\n")
    long_ones = [at for at, text in enumerate(paragraphs) if len(text) > 300 and text[0].isalpha()]
    if not long_ones:
        raise Unmeasured(f"{EDITED} has no paragraph to edit")
    middle = long_ones[len(long_ones) // 2]
    paragraphs[middle] += " Indeed."
    return "\n\n".join(paragraphs).encode()


def _hashes(headrace: Headrace, name: str) -> set[str]:
    from pipelines.documents import find

    document = find(headrace, TENANT, name)[0]
    with headrace.session(TENANT).transaction() as connection:
        rows = connection.execute(_SQL["hashes"], {"document": document})
        return {row["text_hash"] for row in rows}


def _reference(headrace: Headrace) -> float:
    """Estimate the seconds that plain sentence-transformers takes for every chunk, from an even sample."""
    from sentence_transformers import SentenceTransformer

    from embedders import models

    with headrace.session(TENANT).transaction() as connection:
        rows = connection.execute(_SQL["texts"]).fetchall()
    texts = ["\n".join(filter(None, (" > ".join(row["heading_path"]), row["text"]))) for row in rows]
    step = max(1, len(texts) // SAMPLE)
    sample = texts[::step]
    plain = SentenceTransformer(str(models.find(headrace.settings.embedding.model).folder), device="cpu")
    plain.encode(sample[:8])
    took = [seconds(lambda: plain.encode(sample)) for _ in range(3)]
    note(f"plain encode of {len(sample)} chunks: {', '.join(f'{s:.1f} s' for s in took)}")
    return statistics.median(took) * len(texts) / len(sample)


_SQL = statements("benchmarks", "ingest.sql")


if __name__ == "__main__":
    run(measure, __doc__)
