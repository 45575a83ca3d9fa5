"""Search in a large tenant: how long a question takes by vector and by words, what the vector index misses, and what it costs.

Passages are mixtures of real ones, in documents of ten with access lists (`_corpus`). The questions are scifact's and titles; they are
embedded before the clock starts. A time is that of one whole search (access, ranking, check, citation): milliseconds of processor time of
the Postgres backend, and of the wall clock. Each is measured for a reader of all passages, of a tenth, and of a hundredth.

Keys:
  chunks              passages of the tenant
  vector, lexical, hybrid  each by selectivity: `all`, `tenth`, `hundredth`:
    recall_at_10        share of the ten best by comparing every passage that the search finds too, mean of 50 questions (not of hybrid)
    p50_ms, p95_ms      processor time of the backend (goals for vectors: p95 at most 10 for all, 25 for a tenth and a hundredth; for
                        words: p95 at most 30 with 100,000 passages and 200 with 1,000,000)
    wall_p95_ms         from the call to the answer
  qps                 searches a second, by vector, of all passages, by 8 readers at once
  build_seconds       of the HNSW index (0 if there are too few passages for one)
  bytes_per_chunk     of all tables and indexes of the tenant, with terms and HNSW
  planning_ms         of all statements of one search by vector, with --tenants tenants (goal: at most 2 with 1,000)
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, get_args

import numpy as np
import numpy.typing as npt
from pgvector import HalfVector
from psycopg import sql

from benchmarks import _corpus, _world
from benchmarks._harness import note, run, seconds
from core.sql import statements
from core.tenancy import Connection, Database
from index import vector_index
from pipelines.app import Headrace
from retrieval import lexical, pages, vector
from retrieval.access import Scope, scope
from retrieval.filters import Filters
from retrieval.request import Mode
from retrieval.search import SearchRequest, search

TENANT = "large"
QUESTIONS, COMPARED = 200, 50
TOP = 10
QPS_SECONDS = 10.0


class Asked:
    """An encoder that knows the questions' vectors."""

    def __init__(self, identity: str, questions: Sequence[str], vectors: npt.NDArray[np.float32]) -> None:
        self.identity = identity
        self._vectors = dict(zip(questions, vectors, strict=True))

    def encode(self, texts: Sequence[str], kind: Any) -> npt.NDArray[np.float32]:  # noqa: ARG002
        return np.stack([self._vectors[text] for text in texts])

    def text(self, question: str) -> str:
        return str(HalfVector(self._vectors[question]).to_text())


def measure(data: Path, chunks: int, tenants: int) -> Mapping[str, Any]:
    with _world.headrace() as headrace:
        from pipelines.governance import tenants as governance

        governance.add(headrace, TENANT)
        real = _corpus.source(headrace, data)
        generation = _corpus.fill(headrace, TENANT, real, chunks)
        build_seconds = _build(headrace, generation)
        encoder = Asked(headrace.models.embedder.identity, real.questions, real.asked)
        note(f"creating {tenants:,} more tenants")
        _corpus.create_tenants(headrace, tenants)
        with closing(Database(headrace.endpoints.postgres_reader.get_secret_value(), role="reader", connections=1)) as database:
            results: dict[str, Any] = {"chunks": chunks}
            for mode in get_args(Mode):
                results[mode] = {reader: _timed(database, encoder, real.questions, mode, reader) for reader in _corpus.READERS}
            results["planning_ms"] = _planning(database, encoder, real.questions[0])
        return {
            **results,
            "qps": _qps(headrace, encoder, real.questions),
            "build_seconds": build_seconds,
            "bytes_per_chunk": _bytes(headrace) / chunks,
        }


def _build(headrace: Headrace, generation: int) -> float:
    session = headrace.session(TENANT)
    with session.transaction() as connection:
        wanting = vector_index.wanting(connection)
    if generation not in wanting:
        return 0.0
    note("building the HNSW index")
    state = vector_index.build(headrace.owner_url, TENANT, generation, wanting[generation], lambda done: note(f"HNSW: {done:.0%}"))
    with session.transaction() as connection:
        vector_index.record(connection, generation, state)
    return float(state["seconds"]) if state else 0.0


def _timed(database: Database, encoder: Asked, questions: Sequence[str], mode: Mode, reader: str) -> dict[str, float]:
    requests = [SearchRequest(question, (_corpus.READERS[reader],), mode, TOP) for question in questions[:QUESTIONS]]
    for request in requests[:20]:  # the caches of the server and the connection are warm in production
        search(database, encoder, TENANT, request)
    cpu, wall = [], []
    for request in requests:
        with database.tenant(TENANT) as connection:
            backend = connection.info.backend_pid
        before = _processor_ms(backend)
        wall.append(1000 * seconds(partial(search, database, encoder, TENANT, request)))
        cpu.append(_processor_ms(backend) - before)
    found = {
        "p50_ms": float(np.percentile(cpu, 50)),
        "p95_ms": float(np.percentile(cpu, 95)),
        "wall_p95_ms": float(np.percentile(wall, 95)),
    }
    note(f"{mode}, {reader}: p95 {found['p95_ms']:.1f} ms")
    return found if mode == "hybrid" else {**found, "recall_at_10": _recall(database, encoder, requests[:COMPARED])}


def _recall(database: Database, encoder: Asked, requests: Sequence[SearchRequest]) -> float:
    hits = []
    for request in requests:
        with database.snapshot(TENANT) as connection:
            active = vector.active_generation(connection, encoder.identity)
            assert active is not None
            every = Scope(active.generation, request.readers)
            few = scope(connection, active.generation, request.readers, Filters())
            if request.mode == "vector":
                text = encoder.text(request.query)
                expected = [*vector.ranked(connection, "exact", active, text, every, TOP)]
                found = [*vector.nearest(connection, active, text, few, TOP).scores]
            else:
                terms = lexical.query_terms(connection, active.generation, request.query)
                expected = [*lexical.ranked(connection, terms.weighted, every, TOP)] if terms.weighted else []
                found = [*lexical.best(connection, terms, few, TOP).scores]
        hits.append(len({*found} & {*expected}) / len(expected) if expected else 1.0)
    return float(np.mean(hits))


def _processor_ms(backend: int) -> float:
    """What the process has computed so far, by the kernel's scheduler."""
    return int(Path(f"/proc/{backend}/schedstat").read_text().split()[0]) / 1e6


def _planning(database: Database, encoder: Asked, question: str) -> float:
    """Milliseconds that the statements of a search take to plan, in a session that has planned them before."""
    values: dict[str, Any] = {
        "readers": [_corpus.EVERY],
        "most": 1000,
        "lists": [],
        "vector": encoder.text(question),
        "look": 26,
        "top": TOP,
    }
    with database.snapshot(TENANT) as connection:
        active = vector.active_generation(connection, encoder.identity)
        assert active is not None
        values |= {"generation": active.generation, "chunks": ["a"], "look": TOP + pages.SPARE, "top": TOP}
        within = Scope(active.generation, [_corpus.EVERY])
        texts = [
            within.statement(statements("retrieval", f"sql/{name}.sql")[statement])
            for name, statement in (("vector", "generation"), ("access", "lists"), ("access", "count"), ("citations", "cite"))
        ]
        ranking = vector.statement("indexed" if active.indexed else "exact", active, within)
        return sum(_planned(connection, text, values) for text in (*texts, ranking))


def _planned(connection: Connection, text: sql.Composable, values: Mapping[str, Any]) -> float:
    explain = sql.SQL("EXPLAIN (SUMMARY, FORMAT JSON) {}").format(text)
    rows = [connection.execute(explain, values, prepare=False).fetchall()[0] for _ in range(2)]
    return float(rows[-1]["QUERY PLAN"][0]["Planning Time"])


def _qps(headrace: Headrace, encoder: Asked, questions: Sequence[str], readers: int = 8) -> float:
    with closing(Database(headrace.endpoints.postgres_reader.get_secret_value(), role="reader", connections=readers)) as database:
        until = time.monotonic() + QPS_SECONDS

        def ask(number: int) -> int:
            asked = 0
            while time.monotonic() < until:
                request = SearchRequest(questions[(number + asked * readers) % QUESTIONS], (_corpus.EVERY,), "vector", TOP)
                search(database, encoder, TENANT, request)
                asked += 1
            return asked

        with ThreadPoolExecutor(readers) as threads:
            return sum(threads.map(ask, range(readers))) / QPS_SECONDS


def _bytes(headrace: Headrace) -> int:
    query = "SELECT sum(pg_total_relation_size(oid))::bigint AS bytes FROM pg_class WHERE relkind = 'r' AND relnamespace = %s::regnamespace"
    with headrace.session(TENANT).transaction() as connection:
        return int(connection.execute(query, (f"tenant_{TENANT}",)).fetchall()[0]["bytes"])


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--chunks", type=int, default=100_000, help="passages of the tenant (%(default)s)")
    parser.add_argument("--tenants", type=int, default=1_000, help="other tenants in the database (%(default)s)")


if __name__ == "__main__":
    run(measure, __doc__, _options)
