"""The way of a document: the seven stages after landing, composed from the stage folders and bound to the ledger.

Each function here says what a stage reads, which folder computes it, and what it leaves. The order of `CHAIN` is the order
of the picture in ARCHITECTURE.md.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import polars as pl

from core import artifacts, crashpoints, frames, outcomes
from core.config import Settings
from core.errors import Unavailable
from core.ledger.ledger import Part, Stale, Step
from core.ledger.stage import Session, Stage
from core.policy import Policy
from core.records import Chunk, Contribution, Redacted, decode, encode
from core.tenancy import Connection
from pipelines.models import Models
from pipelines.stages import expired, inputs
from pipelines.stages.acceptance import Failure
from pipelines.stages.inputs import Chunked, Versioned

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
        from pipelines.stages import acceptance, content
        from quality.legibility import counted

        def compute(session: Session, rows: Sequence[Stale], tally: Counter[str]) -> pl.DataFrame:
            fetched, failures = content.fetched(session, rows, self.settings.fetching)
            tally["bytes"] += int(fetched["content"].bin.size().sum())
            result = parsers.parse(fetched, self.models.parsers, policy.reading)
            measured = acceptance.signals(result)
            tally.update(counted(list(measured.values())))
            refused = acceptance.put_aside(measured, policy.reading, {row.document for row in rows if row.released})
            refused |= acceptance.nested_too_deep({row.document: inputs.envelope(session, row).name for row in rows}, result)
            return pl.concat([result.filter(~pl.col("document").is_in(list(refused))), failures, inputs.failures(rows, refused)])

        def store(connection: Connection, session: Session, payloads: Mapping[str, bytes]) -> Sequence[str]:
            parted = {document: acceptance.without_children(payload) for document, payload in payloads.items()}
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
            contents = inputs.load(session, "parse", rows)
            tally.update(expired.parse_again(session, [row.document for row in rows if row.document not in contents]))
            columns = {"envelope": {r.document: encode(inputs.envelope(session, r)) for r in rows}, "content": contents}
            released = {row.document for row in rows if row.released}
            result = privacy.redact(inputs.frame(frames.PARSED, rows, columns), redactor, session.keys, released)
            for payload in result["payload"].drop_nulls():
                tally.update(decode(payload, Redacted).found)
            return result

        return Stage(_step("redact", redactor.fingerprint), compute, inputs.keep("redact"), inputs.discard("redact"))

    def _chunk(self, _: Policy) -> Stage:
        import chunkers

        def compute(session: Session, rows: Sequence[Stale], tally: Counter[str]) -> pl.DataFrame:
            result = chunkers.chunk(
                inputs.frame(frames.REDACTED, rows, {"redacted": inputs.load(session, "redact", rows)}), self.models.chunker
            )
            for payload in result["payload"].drop_nulls():
                chunks = decode(payload, list[Chunk])
                tally["chunks"] += len(chunks)
                tally["tokens"] += sum(chunk.token_count for chunk in chunks)
            return inputs.repacked(result, lambda row: encode(Chunked(row["input_key"], decode(row["payload"], tuple[Chunk, ...]))))

        return Stage(_step("chunk", self.models.chunker.fingerprint), compute, inputs.keep("chunk"), inputs.discard("chunk"))

    def _embed(self, _: Policy) -> Stage:
        from index import embeddings, generations

        embedder = self.models.embedder

        def compute(session: Session, rows: Sequence[Stale], tally: Counter[str]) -> pl.DataFrame:
            with session.transaction() as connection:
                generations.recognise(connection, embedder.model)
                chunks = _first(inputs.cut(inputs.read(connection, session, "chunk", rows)), rows, EMBED_TEXTS)
                texts = {chunk.text_hash: chunk.embedded_text for of_one in chunks.values() for chunk in of_one}
                unknown = embeddings.unknown(connection, embedder.identity, list(texts))
            in_all = sum(map(len, chunks.values()))
            tally.update(texts=in_all, cache_hits=in_all - len(unknown))
            failed = self._embed_texts(session, {text_hash: texts[text_hash] for text_hash in unknown}, tally)
            refused = {document: told for document, of_one in chunks.items() if (told := _worst(failed, of_one))}
            embedded = inputs.frame(
                frames.KEYS, rows, {}, {document: of_one for document, of_one in chunks.items() if document not in refused}
            )
            return pl.concat([frames.apply(embedded, lambda row: encode(row["input_key"])), inputs.failures(rows, refused)])

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
        from embedders.stage import embed
        from index import embeddings

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
            redacted, cut = inputs.load_all(session, rows, "redact", "chunk")
            chunks = inputs.cut(cut)
            acls = {row.document: row.acl for row in rows}

            def version(row: dict[str, Any]) -> bytes:
                document = decode(redacted[row["document"]], Redacted)
                passages = chunks[row["document"]]
                tally["chunks"] += len(passages)
                whole = swap.Version(document.name, document.title, document.uri, acls[row["document"]], passages)
                return encode((row["input_key"], whole))

            return frames.apply(inputs.frame(frames.KEYS, rows, {}, redacted, chunks), version)

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
            redacted, cut = inputs.load_all(session, rows, "redact", "chunk")
            chunks = inputs.cut(cut)
            columns = {"redacted": redacted, "chunks": {d: encode(of_one) for d, of_one in chunks.items()}}
            result = graph.extract(inputs.frame(frames.CHUNKED, rows, columns), finder)
            for payload in result["payload"].drop_nulls():
                contribution = decode(payload, Contribution)
                tally.update(
                    entities=len(contribution.entities), mentions=len(contribution.mentions), relations=len(contribution.relations)
                )
            ids = {d: tuple(chunk.text_hash for chunk in of_one) for d, of_one in chunks.items()}

            def versioned(row: dict[str, Any]) -> bytes:
                return encode(Versioned(contribution=decode(row["payload"], Contribution), chunks=ids[row["document"]]))

            return inputs.repacked(result, versioned)

        def store(connection: Connection, session: Session, payloads: Mapping[str, bytes]) -> Sequence[str]:
            inputs.put_versions(connection, session, {d: decode(payload, Versioned) for d, payload in payloads.items()})
            return ()

        def remove(connection: Connection, session: Session, documents: Sequence[str]) -> Sequence[str]:
            inputs.put_versions(connection, session, dict.fromkeys(documents, Versioned()))
            return ()

        return Stage(_step("graph", graph.fingerprint(finder)), compute, store, remove)

    def _project(self, _: Policy) -> Stage:
        import graph

        def compute(session: Session, rows: Sequence[Stale], tally: Counter[str]) -> pl.DataFrame:
            # held open while Neo4j writes: whoever removes the tenant waits for it, and clears the graph after that
            with session.transaction() as connection:
                return written(inputs.read(connection, session, "graph", rows), session.tenant, rows, tally)

        def written(contributions: Mapping[str, bytes], tenant: str, rows: Sequence[Stale], tally: Counter[str]) -> pl.DataFrame:
            versions = {d: decode(p, Versioned) for d, p in contributions.items()}
            live = {d: (v, v.contribution) for d, v in versions.items() if v.contribution}
            projected: list[graph.Projected] = []

            def ready(row: dict[str, Any]) -> bytes:
                versioned, contribution = live[row["document"]]
                projected.append(graph.Projected(row["document"], versioned.version, contribution, versioned.chunks))
                return encode(versioned.version)

            result = frames.apply(inputs.frame(frames.KEYS, rows, {}, live), ready)
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


def _under(name: str, fingerprint: str, epoch: int) -> str:
    """A stage's fingerprint with a surrogate key of this epoch. What is redacted depends on it, and no index has surrogates of two keys."""
    return f"{fingerprint}.surrogates-{epoch}" if epoch and name in ("redact", "index") else fingerprint


def _step(name: str, fingerprint: str) -> Step:
    upstream, part = next((upstream, part) for stage, upstream, part in CHAIN if stage == name)
    return Step(name, upstream, part, fingerprint)


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
