"""Near-duplicates: what is found of controlled edits of PEP passages and of labelled pairs, and what that costs in the stream.

The PEPs' passages are swapped into an index, and then, as documents of their own, edits of 2,000 passages that had no near-duplicate: one
of a changed number or word, some changed words, a removed or added sentence, and other case and white space. An edit is found if it is in
the cluster of its passage; every other passage in the cluster is a false neighbour.

`--pairs DIR` takes a folder of labelled pairs: `pairs.jsonl`, a JSON object a line with `one`, `other` (texts, or names of files in the
folder) and `alike` (true or false).

Keys:
  f1                  of the edits' pairs (goal: at least .98)
  false_neighbours    the share of edits with one (goal: at most .001)
  ms_per_chunk        processor time that near-duplicates take for a passage, ours and Postgres' (goal: at most .5)
  bytes_per_million   of their tables and indexes in Postgres, for a million passages (goal: at most 1.5e9)
  stream_cost         their share of the processor time of all stages, ours and Postgres', in an ingest of a quarter of the PEPs, embedding
                      included (goal: at most .03)
  passages, edges, clusters, largest, hot_bands   of the PEPs alone
  found               the share of edits that are found, by kind
  pairs               of the labelled pairs, if given: their number; `f1` by similarity alone; `f1_with_containment`
"""

from __future__ import annotations

import argparse
import hashlib
import json
import random
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import numpy as np

from benchmarks import _world
from benchmarks._harness import Unmeasured, need, note, run
from benchmarks._texts import peps
from core import shingles
from core.config import Parsing
from core.policy import NearDuplicates, Reading
from core.records import Chunk, Content, EmbeddingModel, decode
from core.sql import statements
from core.tenancy import Connection
from pipelines.app import Headrace

STREAM, EDITS = "peps", "edits"
EDITED = 2_000
LEAST = 200
"""Characters of a passage that is edited."""
BATCH = 64
CONTAINED = 0.8

Passages = Mapping[str, Sequence[Chunk]]


class Meter:
    """Processor seconds of near-duplicates: this process's and its Postgres backend's."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        """While it runs, what the swap calls is measured."""
        from index import near_duplicates

        originals = {name: getattr(near_duplicates, name) for name in ("begin", "refresh")}
        for name, original in originals.items():
            setattr(near_duplicates, name, self._measured(original))
        try:
            yield
        finally:
            for name, original in originals.items():
                setattr(near_duplicates, name, original)

    def _measured(self, work: Callable[..., Any]) -> Callable[..., Any]:
        def measured(connection: Connection, *arguments: Any) -> Any:
            pid = connection.execute(_SQL["backend"]).fetchall()[0]["pid"]
            before = process_time() + _processor(pid)
            try:
                return work(connection, *arguments)
            finally:
                self.seconds += process_time() + _processor(pid) - before

        return measured


def measure(data: Path, pairs: Path | None) -> dict[str, Any]:
    documents = dict(peps(data))
    with _world.headrace() as headrace:
        from pipelines.governance import tenants

        for tenant in (STREAM, EDITS):
            tenants.add(headrace, tenant)
        stream_cost = _stream_cost(headrace, dict(list(documents.items())[::4]))
        cost, results = Meter(), dict[str, Any]()
        with cost.running():
            passages = _passages(headrace, documents)
            _swap(headrace, passages)
            results |= _rows(headrace, "summary")[0]
            edits = _edits(headrace, passages)
            _swap(headrace, {f"edit {chunk.text_hash}": [chunk] for chunk, _, _ in edits})
        size = _rows(headrace, "bytes")[0]
        return {
            **_found(headrace, edits),
            "ms_per_chunk": 1000 * cost.seconds / size["passages"],
            "bytes_per_million": 1_000_000 * size["bytes"] // size["passages"],
            "stream_cost": stream_cost,
            "passages": size["passages"] - len(edits),
            **results,
            **({"pairs": _labelled(pairs)} if pairs else {}),
        }


def _stream_cost(headrace: Headrace, documents: Mapping[str, bytes]) -> float:
    """The share of near-duplicates in the processor time of an ingest."""
    headrace.warm()
    _ingest(headrace, {"warm-up.rst": b"Warm\n====\n\nOne sentence.\n"})
    note(f"ingesting {len(documents)} PEPs")
    cost = Meter()
    with cost.running():
        before = _total(headrace)
        _ingest(headrace, documents)
        whole = _total(headrace) - before
    note(f"near-duplicates {cost.seconds:.2f} s of {whole:.1f} s of processor time")
    return cost.seconds / whole


def _ingest(headrace: Headrace, documents: Mapping[str, bytes]) -> None:
    from events.publish import Publisher

    with Publisher(headrace.endpoints.kafka_client(), STREAM, "benchmark:peps") as publisher:
        for name, content in documents.items():
            publisher.upsert(name, content=content, media_type="text/x-rst", file_name=name, sequence=1)
    headrace.ingest(STREAM)


def _total(headrace: Headrace) -> float:
    """Processor seconds of this process and of every backend of Postgres; parsers' worker processes are left out."""
    with headrace.session(STREAM).transaction() as connection:
        pids = [row["pid"] for row in connection.execute(_SQL["backends"])]
    return process_time() + sum(map(_processor, pids))


def _processor(pid: int) -> float:
    """Processor seconds of a process, 0 if it is gone. Raises Unmeasured where the system does not tell."""
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
    except ProcessLookupError:
        return 0.0
    except OSError as error:
        if Path("/proc/self/schedstat").exists():
            return 0.0
        raise Unmeasured("this system does not tell the processor time of a process") from error


def _passages(headrace: Headrace, documents: Mapping[str, bytes]) -> Passages:
    """Every PEP's passages, cut as the stages cut them but for redaction."""
    from parsers import WorkerPool

    with WorkerPool(Parsing()) as pool:
        contents = {name: decode(pool.parse(content, "text/x-rst", name, Reading()), Content) for name, content in documents.items()}
    passages = {name: headrace.models.chunker(headrace.settings.policy({})).split(content.blocks) for name, content in contents.items()}
    note(f"{sum(map(len, passages.values()))} passages cut")
    return passages


def _swap(headrace: Headrace, documents: Passages) -> None:
    """Into a generation whose vectors are all the same."""
    from index import embeddings, generations, swap

    names = list(documents)
    for start in range(0, len(names), BATCH):
        batch = {name: swap.Version(name, name, "", ("*",), tuple(documents[name])) for name in names[start : start + BATCH]}
        hashes = sorted({chunk.text_hash for version in batch.values() for chunk in version.chunks})
        with headrace.session(EDITS).transaction() as connection:
            generation = generations.open_generation(connection, "benchmark", EmbeddingModel("constant", name="constant"), 2)
            embeddings.keep(connection, "constant", hashes, np.ones((len(hashes), 2), dtype=np.float32))
            swap.swap(connection, generation, "constant", batch, NearDuplicates())
    note(f"{len(documents)} documents swapped in")


def _rows(headrace: Headrace, statement: str) -> list[dict[str, Any]]:
    with headrace.session(EDITS).transaction() as connection:
        return connection.execute(_SQL[statement]).fetchall()


class Edit(NamedTuple):
    """An edited passage, the passage that it was, and what kind of edit it is."""

    chunk: Chunk
    original: str
    kind: str


def _edits(headrace: Headrace, documents: Passages) -> list[Edit]:
    """Of passages that have no near-duplicate, evenly from all; the kinds take turns."""
    alike = {passage for row in _rows(headrace, "clusters") for passage in row.values()}
    distinct = {chunk.text_hash: chunk for chunks in documents.values() for chunk in chunks}
    long = [chunk for chunk in distinct.values() if chunk.text_hash not in alike and len(chunk.text) >= LEAST]
    if len(long) < EDITED:
        raise Unmeasured(f"{len(long)} passages can be edited; {EDITED} are needed")
    chance = random.Random(1)
    kinds = list(_KINDS)
    return [
        _edited(long[at * len(long) // EDITED], kinds[at % len(kinds)], chance, long[(at * 7 + 3) % len(long)].text) for at in range(EDITED)
    ]


def _edited(chunk: Chunk, kind: str, chance: random.Random, elsewhere: str) -> Edit:
    text = _KINDS[kind](chunk.text, chance, elsewhere)
    digest = hashlib.sha256(f"edit {chunk.text_hash} {text}".encode()).hexdigest()[:32]
    return Edit(Chunk(0, text, digest, chunk.token_count, chunk.heading_path), chunk.text_hash, kind)


def _number(text: str, chance: random.Random, _: str) -> str:
    """The first number, or else one word, is another one."""
    changed = re.sub(r"\d+", lambda found: str(int(found[0]) + 1), text, count=1)
    return changed if changed != text else _words(text, chance, _, share=0.0)


def _words(text: str, chance: random.Random, _: str, share: float = 0.03) -> str:
    """Some words are others, one at least."""
    words = re.split(r"(\s+)", text)
    places = [at for at in range(0, len(words), 2) if words[at]]
    for at in chance.sample(places, max(1, int(share * len(places)))):
        words[at] = chance.choice(("another", "changed", "instead", "other"))
    return "".join(words)


def _shorter(text: str, chance: random.Random, _: str) -> str:
    """A tenth of its words are gone, at one place."""
    words = text.split()
    count = max(1, len(words) // 10)
    at = chance.randrange(len(words) - count + 1)
    return " ".join(words[:at] + words[at + count :])


def _longer(text: str, _: random.Random, elsewhere: str) -> str:
    """A tenth of its length is added at the end, from another passage."""
    return f"{text} {elsewhere[: len(text) // 10]}"


def _spacing(text: str, _: random.Random, __: str) -> str:
    return "\n".join(text.upper().split())


_KINDS: Mapping[str, Callable[[str, random.Random, str], str]] = {
    "number": _number,
    "words": _words,
    "shorter": _shorter,
    "longer": _longer,
    "spacing": _spacing,
}


def _found(headrace: Headrace, edits: Sequence[Edit]) -> dict[str, Any]:
    """What the clusters have of the edits."""
    pivots = {row["text_hash"]: row["pivot"] for row in _rows(headrace, "clusters")}
    members: dict[str, set[str]] = {}
    for passage, pivot in pivots.items():
        members.setdefault(pivot, {pivot}).add(passage)
    clusters = [members.get(pivots.get(edit.chunk.text_hash, edit.chunk.text_hash), set()) - {edit.chunk.text_hash} for edit in edits]
    found = [edit.original in cluster for edit, cluster in zip(edits, clusters, strict=True)]
    false = [len(cluster - {edit.original}) for edit, cluster in zip(edits, clusters, strict=True)]
    kinds = Counter(edit.kind for edit in edits)
    by_kind = Counter(edit.kind for edit, is_found in zip(edits, found, strict=True) if is_found)
    return {
        "f1": _f1(sum(found), sum(false), len(edits) - sum(found)),
        "false_neighbours": sum(map(bool, false)) / len(edits),
        "found": {kind: by_kind[kind] / kinds[kind] for kind in _KINDS},
    }


def _f1(true: int, false: int, missed: int) -> float:
    return 2 * true / (2 * true + false + missed) if true else 0.0


def _labelled(folder: Path) -> dict[str, Any]:
    lines = need(folder / "pairs.jsonl").read_text(encoding="utf-8").splitlines()
    pairs = [json.loads(line) for line in lines if line.strip()]
    texts = [(_text(folder, pair["one"]), _text(folder, pair["other"])) for pair in pairs]
    alike = [bool(pair["alike"]) for pair in pairs]
    near = [_is_near(one, other) for one, other in texts]
    contained = [max(shingles.containment(one, other), shingles.containment(other, one)) >= CONTAINED for one, other in texts]
    either = [one or other for one, other in zip(near, contained, strict=True)]
    return {"number": len(pairs), "f1": _f1_of(alike, near), "f1_with_containment": _f1_of(alike, either)}


def _f1_of(alike: Sequence[bool], found: Sequence[bool]) -> float:
    pairs = Counter(zip(alike, found, strict=True))
    return _f1(pairs[True, True], pairs[False, True], pairs[True, False])


def _is_near(one: str, other: str) -> bool:
    bands = shingles.bands([shingles.normalised(one), shingles.normalised(other)]).tolist()
    return not set(bands[0]).isdisjoint(bands[1]) and shingles.similarity(one, other) >= NearDuplicates().threshold


def _text(folder: Path, text: str) -> str:
    """The text itself, or that of the file of this name."""
    path = folder / text if len(text) < 200 and "\n" not in text and "\0" not in text else None
    return path.read_text(encoding="utf-8") if path and path.is_file() else text


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pairs", type=Path, metavar="DIR", help="a folder of labelled pairs")


_SQL = statements("benchmarks", "near_duplicates.sql")


if __name__ == "__main__":
    run(measure, __doc__, _add_options)
