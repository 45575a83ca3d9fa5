"""A random workload of document events, and the state that it must lead to. `benchmarks.chaos` and the fault suite publish it.

It has upserts, edits, changes of the access list alone, deletes, documents that come back, and texts that several documents share. Records
are duplicated and out of order, with explicit sequences, and with event times and timestamps hours in the past or ahead. Some must become
dead letters, at landing or in a stage; some of those are hostile, with bytes that no client of ours writes. The same seed gives the same
records. Results are read back in `_compare`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import time
from typing import Any

from benchmarks._raw_producer import RawProducer
from core.principals import EVERYONE
from events.contract import DELETE, UPSERT, topic_of

SOURCE = "/chaos"
STRUCTURED = ((b"content-type", b"application/cloudevents+json"),)
ODD_TIMESTAMPS = (-(2**63), -1, 1, 2**63 - 1)
GROUPS = ("group:millers", "group:bakers", "group:carters", "user:jo")
PEOPLE = ("ada.stone@example.com", "ben.race@example.com", "cleo.flume@example.com")
# each section is long enough for a passage of its own: the chunker joins shorter ones
SHARED = tuple(
    f"Rule {number} of the mill holds for every wheel, and every page repeats it word for word, from the day on which the wheel is set "
    "until the day on which it is taken out, whether the water is high or low, and whoever owns it."
    for number in range(1, 5)
)
READ_ALOUD = "by the mark on the left of the two posts in front of the sluice, which somebody has to read aloud every morning"
IN_TIME = "by the evening of the same day, with the number of the gauge in the first line, so that whoever reads it knows where to look"
CLEARED = ".. cleared by its author\n"
UNREADABLE = "%PDF-1.7 and nothing else"
_NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

Passage = tuple[tuple[str, ...], str]
"""A heading path and a text."""


@dataclass(frozen=True)
class Record:
    """A record to produce, with a timestamp `ago_s` seconds in the past, or `timestamp_ms`.

    `refused`: it must become a dead letter at landing. `hostile`: so must it, and no client of ours writes it.
    """

    key: bytes | None
    value: bytes | None
    ago_s: int = 0
    refused: bool = False
    headers: tuple[tuple[bytes, bytes | None], ...] = STRUCTURED
    timestamp_ms: int | None = None
    hostile: bool = False

    @property
    def name(self) -> str:
        """The key as text; empty if there is none."""
        return name_of(self.key)

    def send(self, producer: RawProducer, tenant: str) -> None:
        stamp = int(1000 * (time() - self.ago_s)) if self.timestamp_ms is None else self.timestamp_ms
        producer.produce(topic_of(tenant), self.key, self.value, self.headers, timestamp_ms=stamp)


def name_of(key: bytes | None) -> str:
    return (key or b"").decode("utf-8", "backslashreplace")


@dataclass(frozen=True)
class Version:
    """A document's state at one sequence. `sections`: None for a delete, empty for an emptied page. `corrupt`: it cannot be parsed."""

    sequence: int
    sections: tuple[Passage, ...] | None
    title: str = ""
    acl: tuple[str, ...] = ()
    corrupt: bool = False

    @property
    def deleted(self) -> bool:
        return self.sections is None

    @property
    def readable(self) -> bool:
        return self.sections is not None and not self.corrupt


@dataclass
class Workload:
    """One tenant's records, and the newest version of each document. `records` are all so far, in publishing order."""

    seed: int
    documents: int = 12
    newest: dict[str, Version] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        self._owned: list[str] = []
        self._ids = 0

    def take(self, changes: int) -> list[Record]:
        """Return the next records: this number of changes, out of order, some of them twice, and now and then one that is refused."""
        fresh = [self._change() for _ in range(changes)]
        again = [record for record in fresh if self._random.random() < 0.2]
        if self.records and self._random.random() < 0.3:
            again.append(self._random.choice(self.records))
        fresh += [*again, *self._refused(), *self._hostile(1 + changes // 3)]
        self._random.shuffle(fresh)
        # a record of another source is refused only if the document has an owner: an upsert that is its newest version always lands
        self._owned = sorted({*self._owned, *(name for name, version in self.newest.items() if not version.deleted)})
        self.records += fresh
        return fresh

    @property
    def keys(self) -> list[bytes]:
        """The keys of all records that have one."""
        return sorted({record.key for record in self.records if record.key})

    def _change(self) -> Record:
        if self._random.random() < 0.05:
            return self._unreadable()
        name = f"page-{self._random.randrange(self.documents)}.rst"
        before = self.newest.get(name)
        sequence = before.sequence + self._random.randint(1, 3) if before else self._random.randint(0, 2)
        return self._publish(name, self._next(name, sequence, before))

    def _next(self, name: str, sequence: int, before: Version | None) -> Version:
        kind = self._random.random()
        if before and kind < 0.15:
            return Version(sequence, None)
        if before and before.readable and kind < 0.3:
            return Version(sequence, before.sections, before.title, self._acl())
        shared = ("Mill", "Rules"), self._random.choice(SHARED)
        if before and kind > 0.9:
            return Version(sequence, (), f"Page {sequence}", self._acl())
        own = ("Mill",), f"Gauge {name} reads {sequence} since the last flood, {READ_ALOUD}."
        contact = ("Mill", "Contact"), f"Write to {self._random.choice(PEOPLE)} about RFC {self._random.randint(1, 4)}, {IN_TIME}."
        whole = [(own, shared), (own, shared, contact), ((("Mill",), SHARED[0]), shared)]
        return Version(sequence, self._random.choice(whole), f"Page {sequence}", self._acl())

    def _unreadable(self) -> Record:
        """Return a version that the parser refuses. Such documents are later deleted but never readable: the old passages would remain."""
        name = f"broken-{self._random.randrange(3)}.rst"
        before = self.newest.get(name)
        sequence = before.sequence + 1 if before else 0
        return self._publish(name, Version(sequence, (), corrupt=True) if self._random.random() < 0.7 else Version(sequence, None))

    def _acl(self) -> tuple[str, ...]:
        chosen = self._random.sample(GROUPS, self._random.randint(0, 3))
        return tuple(sorted(chosen)) if self._random.random() < 0.7 else (EVERYONE,)

    def _publish(self, name: str, version: Version) -> Record:
        self.newest[name] = version
        at = _NOON - timedelta(minutes=self._random.randrange(60 * 48))
        return self._record(name, SOURCE, version, at)

    def _record(self, name: str, source: str, version: Version, at: datetime = _NOON) -> Record:
        data: dict[str, Any] = {"sequence": version.sequence}
        if version.sections is not None:
            content = UNREADABLE if version.corrupt else _text(version.sections) if version.sections else CLEARED
            data |= {"content": content, "media_type": "text/x-rst", "title": version.title, "acl": list(version.acl)}
        return Record(name.encode(), _event(DELETE if version.deleted else UPSERT, self._id(), name, source, at, data), self._ago())

    def _ago(self) -> int:
        """Publishers' clocks differ from ours: hours behind, or up to half an hour ahead, which Kafka still accepts."""
        return self._random.choice((0, self._random.randint(-1800, 47 * 3600)))

    def _id(self) -> str:
        self._ids += 1
        return f"e{self._ids}"

    def _refused(self) -> Iterator[Record]:
        if not self._owned or self._random.random() < 0.7:
            return
        name = self._random.choice(self._owned)
        intruder = Version(10**6, ((("Mill",), "Of another source."),), acl=("*",))
        value = self._random.choice(
            [
                b"{ cut off",
                _event("headrace.document.upsert.v9", self._id(), name, SOURCE, _NOON, {"content": "later"}),
                _event("another.type", self._id(), name, SOURCE, _NOON, {}),
                _event(UPSERT, self._id(), name, SOURCE, _NOON, {"content": 17}),
                _event(UPSERT, self._id(), f"not-{name}", SOURCE, _NOON, {"content": "text"}),
                self._record(name, "/intruder", intruder).value,
            ]
        )
        yield Record(name.encode(), value, refused=True)

    def _hostile(self, most: int) -> Iterator[Record]:
        for _ in range(most):
            if self._owned and self._random.random() < 0.5:
                yield self._hostile_record()

    def _hostile_record(self) -> Record:
        name = self._random.choice(self._owned)
        # the newest of all, if it were read
        event = _event(UPSERT, self._id(), name, SOURCE, _NOON, {"sequence": 10**9, "content": "Of a hostile record.", "title": "T"})
        key, value, headers = self._random.choice(
            [
                (name.encode(), event, ((b"tr\xe9s", b"x"), *STRUCTURED)),
                (name.encode(), event, (*STRUCTURED, (b"content-type\0", b"x"))),
                (None, event, STRUCTURED),
                (None, None, ()),
                (b"", b"", ((b"", None),)),
                (b"\xff\0", None, ()),
                (name.encode(), b"[" * 10_000, STRUCTURED),
                (name.encode(), event.replace(b"1000000000", b"9" * 5_000), STRUCTURED),
                (name.encode(), event.replace(b'"T"', b'"\\ud800"'), STRUCTURED),
                (name.encode(), event.replace(b'"T"', b'"\\u0000"'), STRUCTURED),
            ]
        )
        stamp = self._random.choice(ODD_TIMESTAMPS)
        return Record(key, value, refused=True, headers=headers, timestamp_ms=stamp, hostile=True)


def publish(kafka_client_properties: Mapping[str, Any], tenant: str, records: list[Record]) -> None:
    """Produce the records in this order and wait for the broker. Raises RuntimeError if some are left after a minute."""
    with RawProducer({**kafka_client_properties, "enable.idempotence": True, "linger.ms": 5}) as producer:
        for record in records:
            record.send(producer, tenant)


def _text(sections: tuple[Passage, ...]) -> str:
    parts: list[str] = []
    path: tuple[str, ...] = ()
    for heading, text in sections:
        if heading != path:
            parts.append(f"{heading[-1]}\n{'=-'[len(heading) - 1] * len(heading[-1])}")
        path = heading
        parts.append(text)
    return "\n\n".join(parts) + "\n"


def _event(kind: str, event_id: str, name: str, source: str, at: datetime, data: Mapping[str, Any]) -> bytes:
    attributes = {"specversion": "1.0", "id": event_id, "source": source, "type": kind, "subject": name, "time": at.isoformat()}
    return json.dumps(attributes | {"data": data}).encode()
