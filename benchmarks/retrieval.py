"""Ranking quality on four judged collections, each a tenant of one installation, from Kafka to the index, by search mode.

A document is a Markdown page, its title the heading. Its place is that of its best passage; passages are asked for until 100 documents
are found, and near-duplicates are not collapsed. Questions are redacted with the tenant's keys, as `headrace search` does it.

With `--queries` and `--judgements` other questions about the first of `--sets` are asked, in BEIR's or TREC's format.

Keys:
  sets          by collection and mode (vector, lexical, hybrid where there is one), means over the queries with a relevant document:
                `ndcg_at_10`, `recall_at_100`, `mrr_at_10`, `map` (over 100 documents)
                goals with MiniLM: on scifact's train queries lexical at least .69, vector .660 ± .005, hybrid at least .73 and its recall
                at least .955; hybrid at least .435 on cranfield, .445 on cisi, .495 on vaswani, and nowhere .005 below the better of both
  alone_equal   whether each tenant's measures, query by query, equal those in a copy of the database without any other tenant
  ingest        by collection: `documents`, `chunks`, `failed`, `seconds`
  queries       by collection: how many were measured
  model         as configured
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from time import monotonic
from typing import Any

import psycopg
from psycopg import sql
from psycopg.conninfo import make_conninfo

from benchmarks import _collections, _corpus, _world
from benchmarks._collections import Collection
from benchmarks._harness import Unmeasured, note, run
from benchmarks.search_latency import Asked
from core.config import Settings
from core.tenancy import Database
from pipelines.app import Headrace
from retrieval.evaluation import measures
from retrieval.judgements import grades_of, judged, queries_of
from retrieval.request import MODES, Mode, SearchRequest
from retrieval.search import ranked_documents

DEPTH = 100
STAGES = ("parse", "redact", "chunk", "embed", "index")
EVERY = 200
"""Documents or questions between two lines of progress."""
COPY = "headrace_alone"

Measured = Mapping[str, Mapping[str, Mapping[str, float]]]
"""Mode → measure → query → value."""


@dataclass(frozen=True)
class Questions:
    """A collection's questions as the tenant's passages have their texts: redacted, and embedded. `keys`: document id → key."""

    collection: Collection
    redacted: Mapping[str, str]
    encoder: Asked
    keys: Mapping[str, str]


def measure(data: Path, sets: Sequence[str], queries: Path | None, judgements: Path | None, model: str) -> dict[str, Any]:
    collections = _collections_of(data, sets, queries, judgements)
    settings = Settings()
    settings = settings.model_copy(update={"embedding": settings.embedding.model_copy(update={"model": model})})
    with _world.headrace(settings) as headrace:
        ingest = {one.name: _ingested(headrace, one) for one in collections}
        asked = [_questions(headrace, one) for one in collections]
        beside = {one.collection.name: _measured(headrace.readers, one) for one in asked}
        equal = [_alone(headrace, one) == beside[one.collection.name] for one in asked]
    return {
        "sets": {name: {mode: _means(found) for mode, found in by_mode.items()} for name, by_mode in beside.items()},
        "alone_equal": all(equal),
        "ingest": ingest,
        "queries": {one.name: len(one.judged.queries) for one in collections},
        "model": model,
    }


def _collections_of(data: Path, sets: Sequence[str], queries: Path | None, judgements: Path | None) -> list[Collection]:
    if (queries is None) != (judgements is None):
        raise Unmeasured("--queries and --judgements go together")
    collections = [_collections.collection(data, name) for name in sets]
    if queries and judgements:
        own = judged(queries_of(queries.read_text(encoding="utf-8")), grades_of(judgements.read_text(encoding="utf-8")))
        collections[0] = replace(collections[0], judged=own)
    return collections


def _means(found: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {name: fmean(values.values()) for name, values in found.items()}


# ── ingest ───────────────────────────────────────────────────────────────────────────────────────────────────


def _ingested(headrace: Headrace, collection: Collection) -> dict[str, Any]:
    from pipelines.governance import tenants

    tenants.add(headrace, collection.name)
    _publish(headrace, collection)
    started = monotonic()
    headrace.land(collection.name)
    reports = {stage: headrace.run(collection.name, stage, _progress(f"{collection.name}: {stage}")) for stage in STAGES}
    failed = sum(report.failed for report in reports.values())
    found = {"documents": reports["index"].done, "chunks": reports["index"].tally["chunks"], "failed": failed}
    note(f"{collection.name}: {found}")
    return found | {"seconds": monotonic() - started}


def _publish(headrace: Headrace, collection: Collection) -> None:
    from events.publish import Publisher

    note(f"{collection.name}: {len(collection.documents)} documents, {len(collection.judged.queries)} questions")
    with Publisher(headrace.endpoints.kafka_client(), collection.name, f"benchmark:{collection.name}") as publisher:
        for name, document in collection.documents.items():
            publisher.upsert(name, content=document.markdown, media_type="text/markdown", sequence=1)


def _progress(what: str) -> Callable[[Any], None]:
    shown = 0

    def report(so_far: Any) -> None:
        nonlocal shown
        if so_far.moved >= shown + EVERY:
            shown = so_far.moved
            note(f"{what}: {shown}")

    return report


# ── questions ────────────────────────────────────────────────────────────────────────────────────────────────


def _questions(headrace: Headrace, collection: Collection) -> Questions:
    from events.digests import document_key
    from pipelines.governance.surrogate_keys import searched
    from privacy import redact_text

    session = headrace.session(collection.name)
    redactor, keys = headrace.models.redactor(session.policy.privacy), searched(session)
    redacted = {query: redact_text(text, redactor, keys) for query, text in collection.judged.queries.items()}
    embedder, texts = headrace.models.embedder_of(session.policy.embedding), list(dict.fromkeys(redacted.values()))
    encoder = Asked(embedder.identity, texts, embedder.encode(texts, "query"))
    return Questions(collection, redacted, encoder, {name: document_key(name, session.keys) for name in collection.documents})


def _measured(readers: Database, asked: Questions) -> Measured:
    grades = {
        query: {asked.keys.get(document, document): grade for document, grade in of_one.items()}
        for query, of_one in asked.collection.judged.grades.items()
    }
    return {mode: measures(grades, _rankings(readers, asked, mode), DEPTH) for mode in MODES}


def _rankings(readers: Database, asked: Questions, mode: Mode) -> dict[str, list[str]]:
    name, found = asked.collection.name, dict[str, list[str]]()
    for query, text in asked.redacted.items():
        found[query] = ranked_documents(readers, asked.encoder, name, SearchRequest(text, mode=mode), DEPTH)
        if len(found) % EVERY == 0:
            note(f"{name}: {mode} {len(found)}")
    return found


# ── alone ────────────────────────────────────────────────────────────────────────────────────────────────────


def _alone(headrace: Headrace, asked: Questions) -> Measured:
    note(f"{asked.collection.name} alone")
    with _copy_with_one(headrace, asked.collection.name) as url, closing(Database(url, role="reader")) as readers:
        return _measured(readers, asked)


@contextmanager
def _copy_with_one(headrace: Headrace, tenant: str) -> Iterator[str]:
    """The reader's URL of a copy of the database that has this tenant and no other."""
    url = headrace.endpoints.postgres_reader.get_secret_value()
    with closing(_corpus.superuser(headrace)) as original:
        maintenance, source = make_conninfo(_conninfo(original), dbname="postgres"), original.info.dbname
        others = [row[0] for row in original.execute("SELECT tenant FROM headrace.tenant WHERE tenant <> %s", (tenant,)).fetchall()]
    with psycopg.connect(maintenance, autocommit=True) as server:
        # a database with sessions cannot be copied; pools replace those that are ended
        server.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (source,))
        server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy").format(sql.Identifier(COPY), sql.Identifier(source)))
        try:
            _remove(make_conninfo(maintenance, dbname=COPY), others)
            yield make_conninfo(url, dbname=COPY)
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(COPY)))


def _conninfo(connection: psycopg.Connection[Any]) -> str:
    return make_conninfo(connection.info.dsn, password=connection.info.password)


def _remove(url: str, tenants: Sequence[str]) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        for tenant in tenants:
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(f"tenant_{tenant}")))
            connection.execute("DELETE FROM headrace.tenant WHERE tenant = %s", (tenant,))


def _options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sets", nargs="+", choices=_collections.NAMES, default=list(_collections.NAMES), help="collections (all)")
    parser.add_argument("--queries", type=Path, metavar="FILE", help="other queries about the first collection")
    parser.add_argument("--judgements", type=Path, metavar="FILE", help="their judgements")
    parser.add_argument("--model", default="minilm", help="embedding.model (%(default)s)")


if __name__ == "__main__":
    run(measure, __doc__, _options)
