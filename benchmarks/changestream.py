"""A real change stream, replayed: the documents of github.com/kubernetes/community through half a year of edits, renames and deletes.

Every `events_*.jsonl.gz` of the data set, in the order of their names, is one stream; a `snapshot` is an upsert, so that it does not matter
whether a file begins with one. A document's id is its path; a rename deletes the old path and upserts the new one. Its access list is
what the stream's OWNERS files say: who is named from the document's folder upwards, up to a file with `no_parent_owners`, with the aliases
of OWNERS_ALIASES resolved; nobody named is everyone. Where one of these files changes, every document whose list changes with it is
published again. They are documents themselves too. (The first half of 2017 has none of them: there every list stays that of everyone.)

The stream is published twice, each time for a tenant of its own: `ordered` as it is, and `shuffled` with a fifth of its records twice.
The first comes in ten slices and the second in three, with every stage after each: versions are swapped, but not every version is
embedded. A pass ends when nothing is due. What a search could give then is compared with a plain replay of the files; what a document's
passages should be comes from publishing its last content once more, under another id of the same tenant (surrogates are the tenant's),
and taking that as far as its chunks.

Keys, of both passes together and of each (`ordered`, `shuffled`):
  events              lines of the files; each pass replays them all, so the total is not their sum
  documents_expected  paths that there are at the end, the same in both
  stale               documents whose passages or sequence are not those of their last content
  missing             documents that should have passages and have none
  orphans             documents that are gone and left something in index or graph, and chunks that no document holds
  wrong_acl           documents, or passages of theirs, with another access list than the last one
                      (these four must be 0; the totals are the sums)
  events_per_s        events / seconds (the slower pass)
Of each pass alone:
  published           Kafka records: a rename is two, a changed list one for each document under it; duplicates
  acl_changes         of these, records published for a changed list alone
  empty               expected documents that are indexed and have no passage, nor should (not counted as missing)
  failed              documents that a stage gave up or waits for
  embedded            texts embedded
  seconds             publishing and every stage, until nothing was due; models warm
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
from benchmarks._compare import Held, held, in_graph
from benchmarks._harness import Unmeasured, need, note, run, seconds
from core import artifacts
from core.records import decode
from events.digests import document_key
from headrace import Publisher
from pipelines.app import Headrace

SLICES = {"ordered": 10, "shuffled": 3}
SEED = 762
DUPLICATES = 0.2
EVERYONE = ("*",)
ROUNDS = 20
WRONG = ("stale", "missing", "orphans", "wrong_acl")

Tree = dict[str, str]
Passages = list[tuple[tuple[str, ...], str]]


@dataclass(frozen=True)
class Change:
    """One record to publish. `content` None is a delete; `told` is whether an event of the stream speaks of this document itself."""

    sequence: int
    path: str
    content: str | None
    acl: tuple[str, ...]
    at: datetime
    told: bool = True


@dataclass(frozen=True)
class Expected:
    """The end of the stream: what each path that there is holds, who may read it, and the last sequence of every path there ever was."""

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
    """The lines of all files, file by file in the order of their names, each in the order of its own `seq`."""
    folder = need(data / "changestream_k8s_community")
    files = sorted(folder.glob("events_*.jsonl.gz"))
    if not files:
        raise Unmeasured(f"{folder} holds no events_*.jsonl.gz")
    for file in files:
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            yield from sorted(map(json.loads, lines), key=lambda event: int(event["seq"]))


def replay(stream: Iterable[Mapping[str, Any]], changes: Iterable[Change]) -> Expected:
    """What the events lead to, by a plain dictionary. Raises Unmeasured where the records that are to tell them lead elsewhere."""
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
    """The records that tell the stream, numbered from 1: its events, and what an OWNERS file changes for the documents under it."""
    tree: Tree = {}
    lists: dict[str, tuple[str, ...]] = {}
    sequence = 0
    for event in stream:
        told = _apply(tree, event)
        at = datetime.fromtimestamp(event["ts"], UTC)
        for path in [*told, *_also(tree, told, lists)]:
            sequence += 1
            lists[path] = acl(path, tree)
            yield Change(sequence, path, tree.get(path), lists[path], at, path in told)


def shuffled(changes: Sequence[Change]) -> list[Change]:
    """The same records and a share of them twice, in an order of chance that is the same each time."""
    chance = random.Random(SEED)
    mixed = [*changes, *chance.sample(changes, int(len(changes) * DUPLICATES))]
    chance.shuffle(mixed)
    return mixed


def acl(path: str, tree: Mapping[str, str]) -> tuple[str, ...]:
    """Who may read a path: the people whom the OWNERS files from its folder upwards name; where they name nobody, everyone."""
    aliases = _named(tree.get("OWNERS_ALIASES", "")).get("aliases")
    logins: set[str] = set()
    for folder in PurePosixPath(path).parents:
        rules = _named(tree.get(str(folder / "OWNERS"), ""))
        for role in ("approvers", "reviewers", "assignees"):
            logins.update(_people(rules.get(role), aliases))
        if isinstance(options := rules.get("options"), Mapping) and options.get("no_parent_owners"):
            break
    return tuple(sorted(f"user:{login}" for login in logins)) or EVERYONE


def _people(names: object, aliases: object) -> Iterator[str]:
    for name in names if isinstance(names, list) else ():
        known = aliases.get(name) if isinstance(aliases, Mapping) else None
        yield from (str(login).lower() for login in (known if isinstance(known, list) else [name]))


@cache
def _named(content: str) -> Mapping[str, Any]:
    """What an OWNERS file says; one that cannot be read says nothing."""
    try:
        said = yaml.safe_load(content)
    except yaml.YAMLError:
        return {}
    return said if isinstance(said, dict) else {}


def _apply(tree: Tree, event: Mapping[str, Any]) -> list[str]:
    """Do to the tree what the event says. Gives the paths that it speaks of."""
    path, old = event["path"], event.get("old_path")
    if event["op"] == "delete":
        tree.pop(path, None)
        return [path]
    gone = [str(old)] if event["op"] == "rename" and old != path else []
    for name in gone:
        tree.pop(name, None)
    tree[path] = event["content"]
    return [*gone, path]


def _also(tree: Tree, told: Sequence[str], lists: Mapping[str, tuple[str, ...]]) -> list[str]:
    """The other documents whose access list these paths have changed."""
    if not any(PurePosixPath(path).name in ("OWNERS", "OWNERS_ALIASES") for path in told):
        return []
    return [path for path in tree if path not in told and acl(path, tree) != lists[path]]


def _warm(headrace: Headrace) -> None:
    """Models and worker processes are there before the clock runs."""
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
        "acl_changes": sum(not change.told for change in changes),
        "documents_expected": len(expected.contents),
        **found,
        "embedded": tally["embedded"],
        "seconds": took,
    }


def _run(headrace: Headrace, tenant: str, changes: Sequence[Change]) -> Counter[str]:
    """Publish and ingest slice by slice, then until nothing is due. Gives what the stages counted."""
    tally: Counter[str] = Counter()
    size = -(-len(changes) // SLICES[tenant])
    for start in range(0, len(changes), size):
        _publish(headrace, tenant, changes[start : start + size])
        tally += _ingested(headrace, tenant)
        note(f"{tenant}: {min(start + size, len(changes))}/{len(changes)} records")
    for _ in range(ROUNDS):
        if not headrace.due(tenant):
            return tally
        tally += _ingested(headrace, tenant)
    raise Unmeasured(f"{headrace.due(tenant)} documents are still due after {ROUNDS} more rounds")


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
    """What of the tenant is not as it should be, in documents (and, for orphans, in chunks too)."""
    keys = headrace.session(tenant).keys
    names = {path: document_key(path, keys) for path in expected.sequences}
    there = held(headrace, tenant)
    # after what is there was read: this publishes
    wanted = _from_scratch(headrace, tenant, expected)
    found: Counter[str] = Counter()
    for path in expected.contents:
        found.update(_faults(path, names[path], there, wanted.get(path, []), expected))
    live = {names[path] for path in expected.contents}
    left = (there.held - live) | in_graph(headrace, tenant, set(names.values()) - live)
    failed = sum(row["status"] in ("failed", "waiting") for row in there.unfinished)
    found.update(orphans=there.unsourced + len(left), failed=failed)
    return {key: found[key] for key in (*WRONG, "empty", "failed")}


def _faults(path: str, document: str, found: Held, wanted: Passages, expected: Expected) -> Iterator[str]:
    there = found.passages.get(document, [])
    if not there:
        # one that never came through is missing even where its last content has no passage
        yield "empty" if not wanted and document in found.listed else "missing"
    elif there != wanted or found.states[document]["sequence"] != expected.sequences[path]:
        yield "stale"
    if found.acls(document) - {frozenset(expected.acls[path])}:
        yield "wrong_acl"


def _from_scratch(headrace: Headrace, tenant: str, expected: Expected) -> dict[str, Passages]:
    """The passages of each path's last content, published once under another id and taken as far as its chunks."""
    from pipelines.stages.inputs import Chunked

    prefix, at = "from-scratch/", datetime.now(UTC)
    _publish(headrace, tenant, [Change(1, path, text, EVERYONE, at) for path, text in expected.contents.items()], prefix)
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
