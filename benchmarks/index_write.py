"""Writing the index: the whole swap of new documents, beside a bare copy of the same vectors.

Documents of twenty passages, made from real ones (`_corpus`), have landed and are embedded, with their contexts, before the clock starts.
In each of three rounds a new tenant takes them in swaps of twenty documents, and the same vectors are copied (binary COPY) into a plain
logged table with the same primary key, in transactions of as many rows. Every ratio is one of a round.

Keys, medians of the rounds:
  chunks               in a round
  rows_per_s           chunks a second, by the swap with everything that is kept in its transaction: sources, access lists, citations,
                       terms, near-duplicates
  vectors_rows_per_s   chunks a second, by the statements of the swap that store vectors and texts alone
  copy_rows_per_s      rows a second, by the bare copy
  share                rows_per_s / copy_rows_per_s (goal: at least .25)
  vectors_share        vectors_rows_per_s / copy_rows_per_s (goal: at least .8)
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pgvector import HalfVector
from psycopg.types.json import Jsonb

from benchmarks import _corpus, _world
from benchmarks._harness import note, run, seconds
from core.records import Chunk
from core.sql import statements
from core.tenancy import Connection
from index import embeddings, generations, swap
from pipelines.app import Headrace

ROUNDS = 3
DOCUMENTS = 20
"""In a swap."""
PASSAGES = 20
"""Of a document."""

Batch = tuple[dict[str, swap.Version], NDArray[np.float32]]


def measure(data: Path, chunks: int) -> Mapping[str, Any]:
    with _world.headrace() as headrace:
        real = _corpus.source(headrace, data)
        rounds = [_round(headrace, real, number, chunks) for number in range(ROUNDS)]
    medians = {key: statistics.median(of_one[key] for of_one in rounds) for key in rounds[0]}
    return {"chunks": chunks, **medians}


def _round(headrace: Headrace, real: _corpus.Source, number: int, chunks: int) -> dict[str, float]:
    from pipelines.governance import tenants

    tenants.add(headrace, f"swap-{number}")
    tenants.add(headrace, f"vectors-{number}")
    batches = list(_batches(real, number, chunks))
    whole = chunks / _swapped(headrace, f"swap-{number}", batches)
    vectors = chunks / _vectors_alone(headrace, f"vectors-{number}", batches)
    copied = chunks / _copied(headrace, number, batches)
    note(f"round {number + 1}/{ROUNDS}: {whole:,.0f}, vectors alone {vectors:,.0f}, copy {copied:,.0f} rows a second")
    return {
        "rows_per_s": whole,
        "vectors_rows_per_s": vectors,
        "copy_rows_per_s": copied,
        "share": whole / copied,
        "vectors_share": vectors / copied,
    }


def _batches(real: _corpus.Source, number: int, chunks: int) -> Iterator[Batch]:
    of_one = DOCUMENTS * PASSAGES
    for start in range(0, chunks, of_one):
        passages = list(_corpus.passages(real, number * chunks + start, of_one))
        rows = [
            Chunk(at % PASSAGES, text, _corpus.text_hash(number * chunks + start + at), len(text) // 4)
            for at, (text, _) in enumerate(passages)
        ]
        versions = {
            _corpus.document_key(start // PASSAGES + n): _version(start // PASSAGES + n, rows[n * PASSAGES : (n + 1) * PASSAGES])
            for n in range(DOCUMENTS)
        }
        yield versions, np.stack([vector for _, vector in passages])


def _version(number: int, chunks: Sequence[Chunk]) -> swap.Version:
    name = f"document {number}"
    return swap.Version(name, "", "", ("group:a",), tuple(chunks), "en", name)


def _swapped(headrace: Headrace, tenant: str, batches: Sequence[Batch]) -> float:
    session, model = headrace.session(tenant), headrace.models.embedder.model
    with session.transaction() as connection:
        generation = generations.open_generation(connection, "benchmark", model, batches[0][1].shape[1])
        for versions, vectors in batches:
            _land(connection, versions)
            contexts = [version.context_hash for version in versions.values()]
            embeddings.keep(connection, model.identity, contexts, vectors[: len(contexts)])

    def write() -> None:
        for versions, vectors in batches:
            with session.transaction() as connection:
                embeddings.keep(connection, model.identity, _hashes(versions), vectors)
            with session.transaction() as connection:
                swap.swap(connection, generation, model.identity, versions)

    return seconds(write)


def _land(connection: Connection, documents: Iterable[str]) -> None:
    """The rows of documents, of which a swap takes over the sequence."""
    connection.execute(
        "INSERT INTO document (document, revision, sequence, sequence_explicit, deleted, source_key, state_key, content_key, envelope_key,"
        " acl_key, envelope, acl, kafka_partition, kafka_offset, received_at)"
        " SELECT x, 1, 1, true, false, x, x, x, x, x, '', '{}', 0, 0, now() FROM unnest(%(documents)s::text[]) AS x",
        {"documents": list(documents)},
    )


def _vectors_alone(headrace: Headrace, tenant: str, batches: Sequence[Batch]) -> float:
    """As the swap stores vectors and texts: the embeddings, then the chunks that take theirs over."""
    session, model = headrace.session(tenant), headrace.models.embedder.model
    with session.transaction() as connection:
        generation = generations.open_generation(connection, "benchmark", model, batches[0][1].shape[1])
    add = statements("index", "sql/swap.sql")["add_chunks"]

    def write() -> None:
        for versions, vectors in batches:
            with session.transaction() as connection:
                embeddings.keep(connection, model.identity, _hashes(versions), vectors)
            with session.transaction() as connection:
                rows = swap.chunk_rows(versions, dict.fromkeys(versions, 0))
                connection.execute(add, {"generation": generation, "model": model.identity, "chunks": Jsonb(rows)})

    return seconds(write)


def _copied(headrace: Headrace, number: int, batches: Sequence[Batch]) -> float:
    with _corpus.superuser(headrace) as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS bare (number integer, text_hash text, embedding halfvec, PRIMARY KEY (number, text_hash))"
        )
        connection.commit()

        def write() -> None:
            for versions, vectors in batches:
                with connection.cursor() as cursor, cursor.copy("COPY bare FROM STDIN (FORMAT binary)") as copy:
                    copy.set_types(["int4", "text", "halfvec"])
                    for text_hash, vector in zip(_hashes(versions), vectors, strict=True):
                        copy.write_row((number, text_hash, HalfVector(vector)))
                connection.commit()

        return seconds(write)


def _hashes(versions: Mapping[str, swap.Version]) -> list[str]:
    return [chunk.text_hash for version in versions.values() for chunk in version.chunks]


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--chunks", type=int, default=8_000, help="in a round (%(default)s)")


if __name__ == "__main__":
    run(measure, __doc__, _options)
