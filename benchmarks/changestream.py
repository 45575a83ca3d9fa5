"""Replay a real change stream: the documents of github.com/kubernetes/community over half a year of edits, renames and deletes.

The files `events_*.jsonl.gz` of the data set, sorted by name, are one stream. A `snapshot` is an upsert, so a file may begin with one. A
document's id is its path. A rename deletes the old path and upserts the new one. A document's access list is computed from the stream's
OWNERS files: everyone named in its folder and the folders above, up to a file with `no_parent_owners`, with the aliases of OWNERS_ALIASES
resolved. If nobody is named, the document is public. If one of these files changes, every document whose access list changes is published
again. The OWNERS files are documents too. (The first half of 2017 has no OWNERS files: every access list is public.)

The stream is published twice, for two tenants: `ordered` as it is, and `shuffled` with a fifth of its records duplicated. The first is
published in ten slices and the second in three, and all stages run after each slice. So versions replace each other, but not every version
is embedded. A pass ends when nothing is due. Then everything that a search can return is compared with a plain replay of the files. The
expected passages of a document are computed by publishing its last content again, under another id of the same tenant (because surrogates
are per tenant), and running it through the stages up to its chunks.

Keys, of both passes together and of each (`ordered`, `shuffled`):
  events              lines of the files; each pass replays all of them, so the total is not a sum
  documents_expected  paths that exist at the end, the same in both passes
  stale               documents whose passages or sequence are not those of their last content
  missing             documents that should have passages and have none
  orphans             deleted documents that are still in the index or the graph, and chunks that no document has
  wrong_acl           documents whose access list, or that of a passage, is not the last one
                      (these four must be 0; the totals are the sums)
  events_per_s        events / seconds (the slower pass)
Of each pass only:
  published           Kafka records, including duplicates; a rename is two, a changed access list one per document
  acl_changes         of these, records published only because of a changed access list
  empty               expected documents that are indexed without passages, correctly (not counted as missing)
  failed              documents that have failed or wait at a stage
  embedded            texts embedded
  seconds             publishing and all stages, until nothing was due; models are warm
"""

from __future__ import annotations

import gzip
import json
import random
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from benchmarks import _world
from benchmarks._compare import TenantState, in_graph, read_state
from benchmarks._harness import Unmeasured, need, note, run, seconds
from core import artifacts
from core.principals import EVERYONE
from core.records import decode
from events.digests import document_key
from headrace import Publisher
from pipelines.app import Headrace
from pipelines.operations.stage_counts import due

SLICES = {"ordered": 10, "shuffled": 3}
SEED = 762
DUPLICATES = 0.2
PUBLIC = (EVERYONE,)
ROUNDS = 20
WRONG = ("stale", "missing", "orphans", "wrong_acl")

Tree = dict[str, str]
Passages = list[tuple[tuple[str, ...], str]]


@dataclass(frozen=True)
class Change:
    """A record to publish. `content` None is a delete. `direct`: an event of the stream is about this document itself."""

    sequence: int
    path: str
    content: str | None
    acl: tuple[str, ...]
    at: datetime
    direct: bool = True


@dataclass(frozen=True)
class Expected:
    """The end of the stream: the content and access list of each existing path, and the last sequence of every path ever used."""

    contents: Tree
    acls: Mapping[str, tuple[str, ...]]
    sequences: Mapping[str, int]


def measure(data: Path) -> dict[str, Any]:
    stream = list(events(data))
    changes = list(plan(stream))
    expected = replay(stream, changes)
    note(f"{len(stream)} events, {len(changes)} records, {len(expected.contents)} documents at the end")
    with _world.headrace() as headrace:
        _warm(headrace)
        passes = {
            "ordered": _pass(headrace, "ordered", changes, expected),
            "shuffled": _pass(headrace, "shuffled", shuffled(changes), expected),
        }
    for result in passes.values():
        result |= {"events": len(stream), "events_per_s": len(stream) / result["seconds"]}
    return {
        "events": len(stream),
        "documents_expected": len(expected.contents),
        **{key: sum(result[key] for result in passes.values()) for key in WRONG},
        "events_per_s": min(result["events_per_s"] for result in passes.values()),
        **passes,
    }


def events(data: Path) -> Iterator[dict[str, Any]]:
    """Yield the lines of all files, file by file by name, and by `seq` within a file."""
    folder = need(data / "changestream_k8s_community")
    files = sorted(folder.glob("events_*.jsonl.gz"))
    if not files:
        raise Unmeasured(f"{folder} contains no events_*.jsonl.gz")
    for file in files:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            yield from sorted(map(json.loads, lines), key=lambda event: int(event["seq"]))


def replay(stream: Iterable[Mapping[str, Any]], changes: Iterable[Change]) -> Expected:
    """Replay the events into a dictionary. Raises Unmeasured if the records to publish lead to another state."""
    tree: Tree = {}
    for event in stream:
        _apply(tree, event)
    acls = {path: acl(path, tree) for path in tree}
    last = {change.path: change for change in sorted(changes, key=lambda change: change.sequence)}
    live = {path: change for path, change in last.items() if change.content is not None}
    if live.keys() != tree.keys() or any((change.content, change.acl) != (tree[path], acls[path]) for path, change in live.items()):
        raise Unmeasured("the records do not lead to the state that the events describe")
    return Expected(tree, acls, {path: change.sequence for path, change in last.items()})


def plan(stream: Iterable[Mapping[str, Any]]) -> Iterator[Change]:
    """Yield the records to publish, numbered from 1: the events, and the access lists that a changed OWNERS file changes."""
    tree: Tree = {}
    lists: dict[str, tuple[str, ...]] = {}
    sequence = 0
    for event in stream:
        direct = _apply(tree, event)
        at = datetime.fromtimestamp(event["ts"], UTC)
        for path in [*direct, *_with_changed_acl(tree, direct, lists)]:
            sequence += 1
            lists[path] = acl(path, tree)
            yield Change(sequence, path, tree.get(path), lists[path], at, path in direct)


def shuffled(changes: Sequence[Change]) -> list[Change]:
    """Return the records, some of them twice, in a random order that is the same each time."""
    rng = random.Random(SEED)
    mixed = [*changes, *rng.sample(changes, int(len(changes) * DUPLICATES))]
    rng.shuffle(mixed)
    return mixed


def acl(path: str, tree: Mapping[str, str]) -> tuple[str, ...]:
    """Return a path's access list: the people named in the OWNERS files of its folder and above; if there are none, everyone."""
    aliases = _owners(tree.get("OWNERS_ALIASES", "")).get("aliases")
    logins: set[str] = set()
    for folder in PurePosixPath(path).parents:
        rules = _owners(tree.get(str(folder / "OWNERS"), ""))
        for role in ("approvers", "reviewers", "assignees"):
            logins.update(_people(rules.get(role), aliases))
        if isinstance(options := rules.get("options"), Mapping) and options.get("no_parent_owners"):
            break
    return tuple(sorted(f"user:{login}" for login in logins)) or PUBLIC


def _people(names: object, aliases: object) -> Iterator[str]:
    for name in names if isinstance(names, list) else ():
        known = aliases.get(name) if isinstance(aliases, Mapping) else None
        yield from (str(login).lower() for login in (known if isinstance(known, list) else [name]))


@cache
def _owners(content: str) -> Mapping[str, Any]:
    """Parse an OWNERS file. Returns nothing if it is invalid."""
    try:
        parsed = yaml.safe_load(content)
    except yaml.YAMLError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _apply(tree: Tree, event: Mapping[str, Any]) -> list[str]:
    """Apply an event to the tree. Returns the paths that it changes."""
    path, old = event["path"], event.get("old_path")
    if event["op"] == "delete":
        tree.pop(path, None)
        return [path]
    deleted = [str(old)] if event["op"] == "rename" and old != path else []
    for name in deleted:
        tree.pop(name, None)
    tree[path] = event["content"]
    return [*deleted, path]


def _with_changed_acl(tree: Tree, changed: Sequence[str], lists: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Return the other documents whose access list differs after a change of these paths."""
    if not any(PurePosixPath(path).name in ("OWNERS", "OWNERS_ALIASES") for path in changed):
        return []
    return [path for path in tree if path not in changed and acl(path, tree) != lists[path]]


def _warm(headrace: Headrace) -> None:
    """Load the models and start the worker processes before the measurement."""
    from pipelines.governance import tenants

    tenants.add(headrace, "warm-up")
    with Publisher(headrace.endpoints.kafka_client(), "warm-up", "benchmark:warm-up") as publisher:
        publisher.upsert("warm-up.md", content="# Warm\n\nOne sentence.\n", media_type="text/markdown", sequence=1)
    headrace.ingest("warm-up")


def _pass(headrace: Headrace, tenant: str, changes: Sequence[Change], expected: Expected) -> dict[str, Any]:
    from pipelines.governance import tenants

    tenants.add(headrace, tenant)
    tally: Counter[str] = Counter()
    took = seconds(lambda: tally.update(_run(headrace, tenant, changes)))
    found = _compare(headrace, tenant, expected)
    note(f"{tenant}: {took:.1f} s; " + ", ".join(f"{key} {found[key]}" for key in WRONG))
    return {
        "published": len(changes),
        "acl_changes": sum(not change.direct for change in changes),
        "documents_expected": len(expected.contents),
        **found,
        "embedded": tally["embedded"],
        "seconds": took,
    }


def _run(headrace: Headrace, tenant: str, changes: Sequence[Change]) -> Counter[str]:
    """Publish and ingest slice by slice, then until nothing is due. Returns the stages' counts."""
    tally: Counter[str] = Counter()
    size = -(-len(changes) // SLICES[tenant])
    for start in range(0, len(changes), size):
        _publish(headrace, tenant, changes[start : start + size])
        tally += _ingested(headrace, tenant)
        note(f"{tenant}: {min(start + size, len(changes))}/{len(changes)} records")
    for _ in range(ROUNDS):
        if not due(headrace, tenant):
            return tally
        tally += _ingested(headrace, tenant)
    raise Unmeasured(f"{due(headrace, tenant)} documents are still due after {ROUNDS} more rounds")


def _ingested(headrace: Headrace, tenant: str) -> Counter[str]:
    _, reports = headrace.ingest(tenant)
    return Counter({"embedded": reports["embed"].tally["embedded"]})


def _publish(headrace: Headrace, tenant: str, changes: Iterable[Change], prefix: str = "") -> None:
    with Publisher(headrace.endpoints.kafka_client(), tenant, "benchmark:changestream") as publisher:
        for change in changes:
            if change.content is None:
                publisher.delete(prefix + change.path, sequence=change.sequence, time=change.at)
            else:
                publisher.upsert(
                    prefix + change.path,
                    content=change.content,
                    media_type="text/markdown" if change.path.endswith(".md") else "application/yaml",
                    file_name=PurePosixPath(change.path).name,
                    acl=change.acl,
                    sequence=change.sequence,
                    time=change.at,
                )


def _compare(headrace: Headrace, tenant: str, expected: Expected) -> dict[str, int]:
    """Count what is wrong with the tenant, in documents (orphans also in chunks)."""
    keys = headrace.session(tenant).keys
    names = {path: document_key(path, keys) for path in expected.sequences}
    state = read_state(headrace, tenant)
    # after reading the state, because this publishes more documents
    passages = _from_scratch(headrace, tenant, expected)
    found: Counter[str] = Counter()
    for path in expected.contents:
        found.update(_faults(path, names[path], state, passages.get(path, []), expected))
    live = {names[path] for path in expected.contents}
    orphans = (state.in_any_generation - live) | in_graph(headrace, tenant, set(names.values()) - live)
    failed = sum(row["status"] in ("failed", "waiting") for row in state.unfinished)
    found.update(orphans=state.unsourced + len(orphans), failed=failed)
    return {key: found[key] for key in (*WRONG, "empty", "failed")}


def _faults(path: str, document: str, state: TenantState, passages: Passages, expected: Expected) -> Iterator[str]:
    found = state.passages.get(document, [])
    if not found:
        # a document that was never indexed is missing even if its last content has no passages
        yield "empty" if not passages and document in state.indexed else "missing"
    elif found != passages or state.documents[document]["sequence"] != expected.sequences[path]:
        yield "stale"
    if state.acls(document) - {frozenset(expected.acls[path])}:
        yield "wrong_acl"


def _from_scratch(headrace: Headrace, tenant: str, expected: Expected) -> dict[str, Passages]:
    """Return the passages of each path's last content: publish it under another id and run it through the stages up to its chunks."""
    from pipelines.stages.inputs import Chunked

    prefix, at = "from-scratch/", datetime.now(UTC)
    _publish(headrace, tenant, [Change(1, path, text, PUBLIC, at) for path, text in expected.contents.items()], prefix)
    headrace.land(tenant)
    for stage in ("parse", "redact", "chunk"):
        headrace.run(tenant, stage)
    session = headrace.session(tenant)
    paths = {document_key(prefix + path, session.keys): path for path in expected.contents}
    with session.transaction() as connection:
        cut = artifacts.get(connection, session.keys, "chunk", list(paths))
    return {paths[d]: [(chunk.heading_path, chunk.text) for chunk in decode(payload, Chunked).chunks] for d, payload in cut.items()}


if __name__ == "__main__":
    run(measure, __doc__)
