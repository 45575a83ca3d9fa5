"""The way of a document: the seven stages after landing, composed from the stage folders and bound to the ledger.

Each function here says what a stage reads, which folder computes it, and what it leaves. The order of `CHAIN` is the order
of the picture in ARCHITECTURE.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import polars as pl

from core import artifacts, crashpoints, frames, outcomes
from core.config import Settings
from core.errors import HeadraceError, Unavailable
from core.ledger import Part, Stale, Step
from core.policy import Policy
from core.records import Chunk, Contribution, Envelope, Redacted, decode, encode
from core.sql import statements
from core.stage import Session, Stage
from core.tenancy import Connection
from pipelines import expired
from pipelines.models import Models
from pipelines.parsed import Failure

CHAIN: tuple[tuple[str, str | None, Part | None], ...] = (
    ("parse", None, "content"),
    ("redact", "parse", "envelope"),
    ("chunk", "redact", None),
    ("embed", "chunk", None),
    ("index", "embed", "acl"),
    ("graph", "index", None),
    ("project", "graph", None),
)
"""Stage, the stage whose output it is computed from, and the part of the event that it depends on beside."""

NAMES = tuple(name for name, _, _ in CHAIN)

EMBED_TEXTS = 1024
"""Are embedded at a time and then kept: what memory holds, what a crash costs, and how often progress shows (40 s on two cores)."""

STORED_BYTES, FETCHED_BYTES = 16 * 1024 * 1024, 64 * 1024 * 1024
"""What a stage takes into memory at a time: of artifacts, as they are stored; of contents by reference. One document may be more.

Documents that do not fit stay stale: the next batch has them."""


class Chunked(msgspec.Struct, frozen=True):
    """A document's chunks, and the key of the redacted document that they were cut from.

    The index and the graph read that too (its title, its links), so what changes in it has to reach them, chunks changed or not.
    """

    redacted: str
    chunks: tuple[Chunk, ...]


class Versioned(msgspec.Struct, frozen=True):
    """A contribution as it goes to Neo4j: null where the document was deleted. A higher version always wins there.

    `chunks` are the ids of the document's chunks by ordinal, as they were when the contribution was made.
    """

    version: int = 0
    contribution: Contribution | None = None
    chunks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Way:
    """The stages of one process. `stage` may load a model: its identity is part of the stage's fingerprint, as is the tenant's policy."""

    settings: Settings
    models: Models

    def stage(self, name: str, policy: Policy, epoch: int = 0) -> Stage:
        """As a tenant with this policy has it, and a surrogate key of this epoch.

        Raises ConfigurationError, and PolicyError where it is only the tenant's.
        """
        built: Stage = getattr(self, f"_{name}")(policy)
        return replace(built, step=replace(built.step, fingerprint=_under(name, built.step.fingerprint, epoch), epoch=epoch))

    def _parse(self, policy: Policy) -> Stage:
        import parsers
        from events import children
        from pipelines import parsed as contents
        from quality.legibility import counted

        def compute(session: Session, rows: Sequence[Stale], tally: Counter[str]) -> pl.DataFrame:
            fetched, failures = self._fetched(session, rows)
            tally["bytes"] += int(fetched["content"].bin.size().sum())
            parsed = parsers.parse(fetched, self.models.parsers, policy.reading)
            measured = contents.signals(parsed)
            tally.update(counted(list(measured.values())))
            refused = contents.put_aside(measured, policy.reading, {row.document for row in rows if row.released})
            refused |= contents.nested_too_deep({row.document: _envelope(session, row).name for row in rows}, parsed)
            return pl.concat([parsed.filter(~pl.col("document").is_in(list(refused))), failures, _failures(rows, refused)])

        def store(connection: Connection, session: Session, payloads: Mapping[str, bytes]) -> Sequence[str]:
            parted = {document: contents.without_children(payload) for document, payload in payloads.items()}
            artifacts.put(connection, session.keys, "parse", {document: payload for document, (payload, _) in parted.items()})
            children.adopt(connection, session.keys, {document: found for document, (_, found) in parted.items()})
            return ()

        def remove(connection: Connection, _: Session, documents: Sequence[str]) -> Sequence[str]:
            children.leave(connection, documents)
            artifacts.discard(connection, ["land", "parse"], documents)
            return ()

        return Stage(_step("parse", self.models.reading(policy.reading)), compute, store, remove, batch=16)

    def _redact(self, policy: Policy) -> Stage:
        import privacy

        redactor = self.models.redactor(policy.privacy)

        def compute(session: Session, rows: Sequence[Stale], tally: Counter[str]) -> pl.DataFrame:
            contents = _load(session, "parse", rows)
            tally.update(expired.parse_again(session, [row.document for row in rows if row.document not in contents]))
            columns = {"envelope": {r.document: encode(_envelope(session, r)) for r in rows}, "content": contents}
            released = {row.document for row in rows if row.released}
            result = privacy.redact(_frame(frames.PARSED, rows, columns), redactor, session.keys, released)
            for payload in result["payload"].drop_nulls():
                tally.update(decode(payload, Redacted).found)
            return result

        return Stage(_step("redact", redactor.fingerprint), compute, _keep("redact"), _discard("redact"))

    def _chunk(self, _: Policy) -> Stage:
        import chunkers

        def compute(session: Session, rows: Sequence[Stale], tally: Counter[str]) -> pl.DataFrame:
            result = chunkers.chunk(_frame(frames.REDACTED, rows, {"redacted": _load(session, "redact", rows)}), self.models.chunker)
            for payload in result["payload"].drop_nulls():
                chunks = decode(payload, list[Chunk])
                tally["chunks"] += len(chunks)
                tally["tokens"] += sum(chunk.token_count for chunk in chunks)
            return _repacked(result, lambda row: encode(Chunked(row["input_key"], decode(row["payload"], tuple[Chunk, ...]))))

        return Stage(_step("chunk", self.models.chunker.fingerprint), compute, _keep("chunk"), _discard("chunk"))

    def _embed(self, _: Policy) -> Stage:
        from index import embeddings, generations

        embedder = self.models.embedder

        def compute(session: Session, rows: Sequence[Stale], tally: Counter[str]) -> pl.DataFrame:
            with session.transaction() as connection:
                generations.recognise(connection, embedder.model)
                chunks = _first(_cut(_read(connection, session, "chunk", rows)), rows, EMBED_TEXTS)
                texts = {chunk.text_hash: chunk.embedded_text for of_one in chunks.values() for chunk in of_one}
                unknown = embeddings.unknown(connection, embedder.identity, list(texts))
            in_all = sum(map(len, chunks.values()))
            tally.update(texts=in_all, cache_hits=in_all - len(unknown))
            failed = self._embed_texts(session, {text_hash: texts[text_hash] for text_hash in unknown}, tally)
            refused = {document: told for document, of_one in chunks.items() if (told := _worst(failed, of_one))}
            embedded = _frame(frames.KEYS, rows, {}, {document: of_one for document, of_one in chunks.items() if document not in refused})
            return pl.concat([frames.apply(embedded, lambda row: encode(row["input_key"])), _failures(rows, refused)])

        def about(tally: Mapping[str, int]) -> Mapping[str, str]:
            return embedder.about if tally.get("embedded") else {}

        # the vectors are in the cache already: nothing of this stage is the document's own, and its output is as new as its input
        return Stage(_step("embed", embedder.identity), compute, lambda *_: (), lambda *_: (), about=about)

    def _embed_texts(self, session: Session, texts: Mapping[str, str], tally: Counter[str]) -> dict[str, Failure]:
        """Keep a vector of each text, by its hash, so many at a time. Gives the texts that failed, by hash."""
        failed: dict[str, Failure] = {}
        every = list(texts.items())
        for start in range(0, len(every), EMBED_TEXTS):
            failed |= self._embed_some(session, dict(every[start : start + EMBED_TEXTS]), tally)
        return failed

    def _embed_some(self, session: Session, texts: Mapping[str, str], tally: Counter[str]) -> dict[str, Failure]:
        from index import embeddings
        from pipelines.embedding import embed

        frame = pl.DataFrame({"text_hash": list(texts), "text": list(texts.values())}, schema=dict(frames.TEXTS))
        result = embed(frame, self.models.embedder, tally)
        kept = result.filter(pl.col("reason").is_null())
        with session.transaction() as connection:
            embeddings.keep(connection, self.models.embedder.identity, kept["text_hash"].to_list(), kept["embedding"].to_numpy())
        failed = result.filter(pl.col("reason").is_not_null()).select("text_hash", "reason", "detail")
        return {text_hash: (reason, detail) for text_hash, reason, detail in failed.iter_rows()}

    def _index(self, _: Policy) -> Stage:
        from index import generations, swap

        embedder = self.models.embedder
        fingerprint = f"{self.models.chunker.fingerprint}.{embedder.identity}"

        def compute(session: Session, rows: Sequence[Stale], tally: Counter[str]) -> pl.DataFrame:
            redacted, cut = _load_all(session, rows, "redact", "chunk")
            chunks = _cut(cut)
            acls = {row.document: row.acl for row in rows}

            def version(row: dict[str, Any]) -> bytes:
                document = decode(redacted[row["document"]], Redacted)
                passages = chunks[row["document"]]
                tally["chunks"] += len(passages)
                whole = swap.Version(document.name, document.title, document.uri, acls[row["document"]], passages)
                return encode((row["input_key"], whole))

            return frames.apply(_frame(frames.KEYS, rows, {}, redacted, chunks), version)

        def store(connection: Connection, session: Session, payloads: Mapping[str, bytes]) -> Sequence[str]:
            if not payloads:
                # deletes alone: they leave every generation, and wait for none
                return ()
            built, epoch = _under("index", fingerprint, session.keys.epoch), session.keys.epoch
            generation = generations.open_generation(connection, built, embedder.model, embedder.dimension, epoch)
            versions = {document: decode(payload, tuple[str, swap.Version])[1] for document, payload in payloads.items()}
            lacking = swap.swap(connection, generation, embedder.identity, versions)
            outcomes.indexed(connection, versions)
            return lacking

        def remove(connection: Connection, _: Session, documents: Sequence[str]) -> Sequence[str]:
            swap.remove(connection, documents)
            outcomes.decide(connection, documents, "deleted")
            return ()

        # a landing narrows who may read at once, so that the swap has to run again even where nothing else changed
        return Stage(_step("index", fingerprint), compute, store, remove, reaffirms=False)

    def _graph(self, _: Policy) -> Stage:
        import graph

        finder = self.models.entities

        def compute(session: Session, rows: Sequence[Stale], tally: Counter[str]) -> pl.DataFrame:
            redacted, cut = _load_all(session, rows, "redact", "chunk")
            chunks = _cut(cut)
            columns = {"redacted": redacted, "chunks": {d: encode(of_one) for d, of_one in chunks.items()}}
            result = graph.extract(_frame(frames.CHUNKED, rows, columns), finder)
            for payload in result["payload"].drop_nulls():
                contribution = decode(payload, Contribution)
                tally.update(
                    entities=len(contribution.entities), mentions=len(contribution.mentions), relations=len(contribution.relations)
                )
            ids = {d: tuple(chunk.text_hash for chunk in of_one) for d, of_one in chunks.items()}

            def versioned(row: dict[str, Any]) -> bytes:
                return encode(Versioned(contribution=decode(row["payload"], Contribution), chunks=ids[row["document"]]))

            return _repacked(result, versioned)

        def store(connection: Connection, session: Session, payloads: Mapping[str, bytes]) -> Sequence[str]:
            _put_versions(connection, session, {d: decode(payload, Versioned) for d, payload in payloads.items()})
            return ()

        def remove(connection: Connection, session: Session, documents: Sequence[str]) -> Sequence[str]:
            _put_versions(connection, session, dict.fromkeys(documents, Versioned()))
            return ()

        return Stage(_step("graph", graph.fingerprint(finder)), compute, store, remove)

    def _project(self, _: Policy) -> Stage:
        import graph

        def compute(session: Session, rows: Sequence[Stale], tally: Counter[str]) -> pl.DataFrame:
            # held open while Neo4j writes: whoever removes the tenant waits for it, and clears the graph after that
            with session.transaction() as connection:
                return written(_read(connection, session, "graph", rows), session.tenant, rows, tally)

        def written(contributions: Mapping[str, bytes], tenant: str, rows: Sequence[Stale], tally: Counter[str]) -> pl.DataFrame:
            versions = {d: decode(p, Versioned) for d, p in contributions.items()}
            live = {d: (v, v.contribution) for d, v in versions.items() if v.contribution}
            projected: list[graph.Projected] = []

            def ready(row: dict[str, Any]) -> bytes:
                versioned, contribution = live[row["document"]]
                projected.append(graph.Projected(row["document"], versioned.version, contribution, versioned.chunks))
                return encode(versioned.version)

            result = frames.apply(_frame(frames.KEYS, rows, {}, live), ready)
            self.models.projection.project(tenant, projected)
            crashpoints.reached("project:written")
            tally["projected"] += len(projected)
            return result

        def remove(connection: Connection, session: Session, documents: Sequence[str]) -> Sequence[str]:
            """Those whose contribution is still there are left: their delete has not passed the graph stage yet."""
            versions = {d: decode(p, Versioned) for d, p in artifacts.get(connection, session.keys, "graph", documents).items()}
            gone = {d: v.version for d, v in versions.items() if not v.contribution}
            self.models.projection.remove(session.tenant, list(gone.items()))
            return [document for document in documents if document not in gone]

        return Stage(_step("project", graph.fingerprint(None)), compute, lambda *_: (), remove)

    def _fetched(self, session: Session, rows: Sequence[Stale]) -> tuple[pl.DataFrame, pl.DataFrame]:
        """The contents of documents, inline or by reference, and a RESULT row for each that could not be had."""
        envelopes = {row.document: _envelope(session, row) for row in rows}
        contents = _load(session, "land", rows)
        refused: dict[str, Failure] = {
            document: (envelope.refused, "so it stood in the document that it is inside of")
            for document, envelope in envelopes.items()
            if envelope.refused
        }
        refused |= expired.contents(session, [d for d, e in envelopes.items() if not (e.uri or d in contents or d in refused)])
        fetched = 0
        contents = {document: content for document, content in contents.items() if document not in refused}
        for document in [d for d, envelope in envelopes.items() if envelope.uri and d not in contents and d not in refused]:
            try:
                contents[document] = self._fetch(envelopes[document])
            except HeadraceError as error:
                refused[document] = (error.reason, error.detail)
            fetched += len(contents.get(document, b""))
            if fetched > FETCHED_BYTES:
                break
        columns: dict[str, Mapping[str, Any]] = {
            "media_type": {d: e.media_type for d, e in envelopes.items()},
            "file_name": {d: e.file_name or e.name for d, e in envelopes.items()},
            "content": contents,
        }
        return _frame(frames.FETCHED, rows, columns), _failures(rows, refused)

    def _fetch(self, envelope: Envelope) -> bytes:
        from events.fetch import fetch

        return fetch(envelope.uri, self.settings.fetching, envelope.content_sha256 or None)


def _under(name: str, fingerprint: str, epoch: int) -> str:
    """A stage's fingerprint with a surrogate key of this epoch. What is redacted depends on it, and no index has surrogates of two keys."""
    return f"{fingerprint}.surrogates-{epoch}" if epoch and name in ("redact", "index") else fingerprint


def _step(name: str, fingerprint: str) -> Step:
    upstream, part = next((upstream, part) for stage, upstream, part in CHAIN if stage == name)
    return Step(name, upstream, part, fingerprint)


def _frame(
    schema: Mapping[str, Any], rows: Sequence[Stale], columns: Mapping[str, Mapping[str, Any]], *needed: Mapping[str, Any]
) -> pl.DataFrame:
    """A stage's input: each row's keys and, by document, its columns.

    A document whose input is gone has moved on since it was found stale, and is left out.
    """
    all_of = (*columns.values(), *needed)
    there = [row for row in rows if all(row.document in of for of in all_of)]
    records = [{"document": r.document, "input_key": r.input_key, **{name: of[r.document] for name, of in columns.items()}} for r in there]
    return pl.DataFrame(records, schema=dict(schema))


def _failures(rows: Sequence[Stale], refused: Mapping[str, Failure]) -> pl.DataFrame:
    """A RESULT row for each document that failed."""
    told = [(row, *refused[row.document]) for row in rows if row.document in refused]
    records = [{"document": r.document, "input_key": r.input_key, "reason": reason, "detail": detail} for r, reason, detail in told]
    return pl.DataFrame(records, schema=dict(frames.RESULT))


def _first(chunks: Mapping[str, tuple[Chunk, ...]], rows: Sequence[Stale], texts: int) -> dict[str, tuple[Chunk, ...]]:
    """The first documents, one at least, that have no more than so many texts together. The others stay stale: the next batch has them."""
    taken: dict[str, tuple[Chunk, ...]] = {}
    for document in (row.document for row in rows if row.document in chunks):
        texts -= len(chunks[document])
        if taken and texts < 0:
            break
        taken[document] = chunks[document]
    return taken


def _worst(failed: Mapping[str, Failure], chunks: Sequence[Chunk]) -> Failure | None:
    """Why a document with these chunks cannot be indexed; what will never pass rather than what may."""
    found = [failed[chunk.text_hash] for chunk in chunks if chunk.text_hash in failed]
    return min(found, key=lambda failure: failure[0] == Unavailable.reason, default=None)


def _load(session: Session, stage: str, rows: Sequence[Stale]) -> dict[str, bytes]:
    return _load_all(session, rows, stage)[0]


def _load_all(session: Session, rows: Sequence[Stale], *stages: str) -> list[dict[str, bytes]]:
    """By stage, what it left for these documents, as far as that fits into memory."""
    with session.transaction() as connection:
        return [_read(connection, session, stage, rows) for stage in stages]


def _read(connection: Connection, session: Session, stage: str, rows: Sequence[Stale]) -> dict[str, bytes]:
    return artifacts.get(connection, session.keys, stage, [row.document for row in rows], STORED_BYTES)


def _cut(payloads: Mapping[str, bytes]) -> dict[str, tuple[Chunk, ...]]:
    return {document: decode(payload, Chunked).chunks for document, payload in payloads.items()}


def _envelope(session: Session, row: Stale) -> Envelope:
    return decode(session.keys.open(row.envelope or b"", f"envelope/{row.document}"), Envelope)


def _keep(stage: str) -> Any:
    def store(connection: Connection, session: Session, payloads: Mapping[str, bytes]) -> Sequence[str]:
        artifacts.put(connection, session.keys, stage, payloads)
        return ()

    return store


def _discard(*stages: str) -> Any:
    def remove(connection: Connection, _: Session, documents: Sequence[str]) -> Sequence[str]:
        artifacts.discard(connection, stages, documents)
        return ()

    return remove


def _repacked(result: pl.DataFrame, pack: Callable[[dict[str, Any]], bytes]) -> pl.DataFrame:
    """A result with what `pack` makes of each row that has a payload."""
    payloads = [None if row["payload"] is None else pack(row) for row in result.to_dicts()]
    return result.with_columns(payload=pl.Series(payloads, dtype=pl.Binary))


def _put_versions(connection: Connection, session: Session, made: Mapping[str, Versioned]) -> None:
    """What changed gets the next version, under its document's lock, so that versions are in the order of the contributions."""
    before = {d: decode(p, Versioned) for d, p in artifacts.get(connection, session.keys, "graph", list(made)).items()}
    changed = {d: v for d, v in made.items() if d not in before or v != msgspec.structs.replace(before[d], version=0)}
    rows = connection.execute(statements("pipelines", "sql/versions.sql")["next"], {"documents": list(changed)})
    numbered = {row["document"]: msgspec.structs.replace(changed[row["document"]], version=row["version"]) for row in rows}
    artifacts.put(connection, session.keys, "graph", {document: encode(versioned) for document, versioned in numbered.items()})
