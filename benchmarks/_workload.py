"""A random workload of document events, and the state that it must lead to. `benchmarks.chaos` and the fault suite publish it.

It has upserts, edits, changes of the access list alone, deletes, documents that come back, and texts that several documents share. Records
are duplicated and out of order, with explicit sequences, and with event times and timestamps hours in the past or ahead. Some must become
dead letters, at landing or in a stage. The same seed gives the same records. Results are read back in `_compare`.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import time
from typing import Any

from confluent_kafka import Producer

from core.principals import EVERYONE
from events.contract import DELETE, UPSERT, topic_of
from events.kafka.client import ClientErrors

SOURCE = "/chaos"
STRUCTURED = (("content-type", b"application/cloudevents+json"),)
GROUPS = ("group:millers", "group:bakers", "group:carters", "user:jo")
PEOPLE = ("ada.stone@example.com", "ben.race@example.com", "cleo.flume@example.com")
SHARED = tuple(f"Rule {number} of the mill holds for every wheel, and every page repeats it word for word." for number in range(1, 5))
CLEARED = ".. cleared by its author\n"
UNREADABLE = "%PDF-1.7 and nothing else"
_NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

Passage = tuple[tuple[str, ...], str]
"""A heading path and a text."""


@dataclass(frozen=True)
class Record:
    """A record to produce, with a timestamp `ago_s` seconds in the past. `refused`: it must become a dead letter at landing."""

    key: str
    value: bytes
    ago_s: int = 0
    refused: bool = False

    def send(self, producer: Producer, tenant: str) -> None:
        headers: list[tuple[str, str | bytes | None]] = list(STRUCTURED)
        stamp = int(1000 * (time() - self.ago_s))
        producer.produce(topic_of(tenant), self.value, self.key.encode(), headers=headers, timestamp=stamp)


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
        fresh += [*again, *self._refused()]
        self._random.shuffle(fresh)
        # a record of another source is refused only if the document already has an owner
        self._owned = sorted(self.newest)
        self.records += fresh
        return fresh

    @property
    def names(self) -> list[str]:
        """The keys of all records."""
        return sorted({record.key for record in self.records})

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
        own = ("Mill",), f"Gauge {name} reads {sequence} since the last flood."
        contact = ("Mill", "Contact"), f"Write to {self._random.choice(PEOPLE)} about RFC {self._random.randint(1, 4)}."
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
        return Record(name, _event(DELETE if version.deleted else UPSERT, self._id(), name, source, at, data), self._ago())

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
        yield Record(name, value, refused=True)


def publish(kafka_client_properties: Mapping[str, Any], tenant: str, records: list[Record]) -> None:
    """Produce the records in this order and wait for the broker. Raises RuntimeError if it does not have them all after a minute."""
    errors = ClientErrors()
    producer = Producer(errors.configuration(kafka_client_properties, **{"enable.idempotence": True, "linger.ms": 5}))
    for record in records:
        record.send(producer, tenant)
    if producer.flush(60):
        raise RuntimeError("Kafka did not accept all records within a minute")


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
