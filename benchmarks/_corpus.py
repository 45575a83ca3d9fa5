"""A tenant with very many passages, made from real ones: for benchmarks of search, whose time depends on the size of the index.

A passage is the first half of one real chunk and the second half of another; its vector lies between their vectors, with some noise. A
document has ten passages. Its access list has `EVERY`, one of two hundred teams, and `TENTH` or `HUNDREDTH` for a tenth and a hundredth of
the documents.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psycopg
from numpy.typing import NDArray
from pgvector import HalfVector
from pgvector.psycopg import register_vector

from benchmarks import _texts
from benchmarks._harness import note
from core.schema.migrate import owner
from index import generations, lexical
from pipelines.app import Headrace

EVERY, TENTH, HUNDREDTH = "group:all", "group:tenth", "group:hundredth"
READERS = {"all": EVERY, "tenth": TENTH, "hundredth": HUNDREDTH}
TEAMS = 200
PASSAGES = 10
"""Of a document."""
NOISE = 0.35
_PAGE = 20_000


@dataclass(frozen=True)
class Source:
    """Real chunks with their unit vectors, `(n, dim)`, and real questions with theirs."""

    texts: list[str]
    vectors: NDArray[np.float32]
    questions: list[str]
    asked: NDArray[np.float32]


def source(headrace: Headrace, data: Path, chunks: int = 3_000, questions: int = 300) -> Source:
    """Embed an even sample of the real texts, and questions about them."""
    embedder = headrace.models.embedder
    found = _texts.real(data, embedder.count_tokens, 128, timed=chunks, in_all=chunks)
    note(f"embedding {chunks} real chunks and {questions} questions")
    return Source(
        found.timed,
        embedder.encode(found.timed, "passage"),
        found.questions[:questions],
        embedder.encode(found.questions[:questions], "query"),
    )


def superuser(headrace: Headrace) -> psycopg.Connection[Any]:
    """A session that may copy into tables with row security."""
    from services import passwords
    from services.files import layout

    password = passwords.read(layout(headrace.settings))["postgres_superuser"].get_secret_value()
    where = headrace.endpoints.postgres_owner.get_secret_value().split("@")[1]
    connection = psycopg.connect(f"postgresql://postgres:{password}@{where}")
    register_vector(connection)
    return connection


def fill(headrace: Headrace, tenant: str, real: Source, chunks: int) -> int:
    """Give the tenant so many passages, with terms. Returns the generation."""
    embedder = headrace.models.embedder
    with headrace.session(tenant).transaction() as connection:
        generation = generations.open_generation(connection, "benchmark", embedder.model, embedder.dimension)
    with superuser(headrace) as connection:
        connection.execute(psycopg.sql.SQL("SET search_path = {}, headrace, public").format(psycopg.sql.Identifier(f"tenant_{tenant}")))
        numbers = _lists(connection)
        for start in range(0, chunks, _PAGE):
            _copy(connection, generation, real, start, min(_PAGE, chunks - start), numbers)
            connection.commit()
            note(f"{min(start + _PAGE, chunks):,} of {chunks:,} passages")
        connection.execute("INSERT INTO lexicon (generation, passages, words, pivot, behind) VALUES (%s, '{}', 0, 64, true)", (generation,))
    note("counting terms")
    lexical.catch_up(headrace.session(tenant).transaction)
    with superuser(headrace) as connection:
        connection.autocommit = True
        connection.execute("VACUUM ANALYZE")
    return generation


def create_tenants(headrace: Headrace, count: int) -> None:
    """Tenants with empty tables, in the database alone."""
    for number in range(count):
        with owner(headrace.endpoints.postgres_owner.get_secret_value()) as connection:
            connection.execute("CALL headrace.create_tenant(%s, '', '{}')", (f"t{number}",))


def _lists(connection: psycopg.Connection[Any]) -> dict[tuple[str, ...], int]:
    lists = [(EVERY, f"group:team-{team}", *more) for team in range(TEAMS) for more in ((), (TENTH,), (HUNDREDTH,))]
    query = "INSERT INTO access_list (digest, principals) VALUES (headrace.access_digest(%(list)s), %(list)s) RETURNING number"
    return {one: connection.execute(query, {"list": list(one)}).fetchall()[0][0] for one in lists}


def _access(document: int) -> tuple[str, ...]:
    more = (TENTH,) if document % 10 == 1 else (HUNDREDTH,) if document % 100 == 2 else ()
    return (EVERY, f"group:team-{document % TEAMS}", *more)


def _copy(
    connection: psycopg.Connection[Any], generation: int, real: Source, start: int, count: int, numbers: dict[tuple[str, ...], int]
) -> None:
    rows = list(passages(real, start, count))
    documents = range(start // PASSAGES, -(-(start + count) // PASSAGES))
    with connection.cursor() as cursor:
        with cursor.copy("COPY indexed (generation, document, name, title, uri, language, access, sequence) FROM STDIN") as copy:
            for document in documents:
                name = f"document {document}"
                copy.write_row((generation, document_key(document), name, name, "", "en", numbers[_access(document)], 1))
        columns = "generation, text_hash, text, heading_path, token_count, access, embedding"
        with cursor.copy(f"COPY chunk ({columns}) FROM STDIN (FORMAT binary)") as copy:
            copy.set_types(["int8", "text", "text", "text[]", "int4", "int8", "halfvec"])
            for at, (text, vector) in enumerate(rows, start):
                copy.write_row((generation, text_hash(at), text, [], len(text) // 4, numbers[_access(at // PASSAGES)], HalfVector(vector)))
        with cursor.copy("COPY chunk_source (generation, text_hash, document, ordinal) FROM STDIN") as copy:
            for at in range(start, start + count):
                copy.write_row((generation, text_hash(at), document_key(at // PASSAGES), at % PASSAGES))


def passages(real: Source, start: int, count: int) -> Iterator[tuple[str, NDArray[np.float32]]]:
    random = np.random.default_rng(start)
    one, other = random.integers(len(real.texts), size=(2, count))
    share = random.uniform(0.3, 0.7, size=(count, 1))
    noise = random.standard_normal((count, real.vectors.shape[1])) * NOISE / np.sqrt(real.vectors.shape[1])
    vectors = share * real.vectors[one] + (1 - share) * real.vectors[other] + noise
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    for at in range(count):
        first, second = real.texts[one[at]].split(), real.texts[other[at]].split()
        yield " ".join([*first[: len(first) // 2], *second[len(second) // 2 :]]), vectors[at].astype(np.float32)


def text_hash(passage: int) -> str:
    return hashlib.blake2b(str(passage).encode(), digest_size=16).hexdigest()


def document_key(document: int) -> str:
    return hashlib.blake2b(f"document {document}".encode(), digest_size=16).hexdigest()
