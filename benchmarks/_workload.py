"""A stream of document events of chance, and what it leads to by its own account: what `benchmarks.chaos` and the fault suite publish.

Upserts, edits, access lists that change alone, deletes, documents that come back, texts that several documents share; records twice and out
of order, under explicit sequences, with event times and timestamps hours back, or ahead; and some that must become dead letters, at landing
or in a stage. The same seed gives the same records. Nothing is read back here: `_compare` does that.
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

from events.contract import DELETE, UPSERT, topic_of
from events.kafka.client import ClientErrors

SOURCE = "/chaos"
STRUCTURED = (("content-type", b"application/cloudevents+json"),)
GROUPS = ("group:millers", "group:bakers", "group:carters", "user:jo")
PEOPLE = ("ada.stone@example.com", "ben.race@example.com", "cleo.flume@example.com")
SHARED = tuple(f"Rule {number} of the mill holds for every wheel, and every page repeats it word for word." for number in range(1, 5))
NOTHING_TO_READ = " \n\n \n"
_NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

Passage = tuple[tuple[str, ...], str]
"""A heading path and a text."""


@dataclass(frozen=True)
class Record:
    """As it is produced, with a timestamp of so many seconds ago. `refused`: it must become a dead letter as it lands."""

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
    """A document's state under one sequence. `sections` None is a delete; empty, that no stage can read it."""

    sequence: int
    sections: tuple[Passage, ...] | None
    title: str = ""
    acl: tuple[str, ...] = ()

    @property
    def deleted(self) -> bool:
        return self.sections is None

    @property
    def readable(self) -> bool:
        return bool(self.sections)


@dataclass
class Workload:
    """The records of one tenant, and in `newest` what each document has come to. `records` are all so far, in the order of publishing."""

    seed: int
    documents: int = 12
    newest: dict[str, Version] = field(default_factory=dict)
    records: list[Record] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)
        self._known: list[str] = []
        self._made = 0

    def take(self, changes: int) -> list[Record]:
        """The next records: so many changes out of order, some of them twice, and now and then one that is refused."""
        fresh = [self._change() for _ in range(changes)]
        again = [record for record in fresh if self._chance.random() < 0.2]
        if self.records and self._chance.random() < 0.3:
            again.append(self._chance.choice(self.records))
        fresh += [*again, *self._refused()]
        self._chance.shuffle(fresh)
        # another source may not come before the owner: only what is published already is somebody's
        self._known = sorted(self.newest)
        self.records += fresh
        return fresh

    @property
    def names(self) -> list[str]:
        """Every key that a record has."""
        return sorted({record.key for record in self.records})

    def _change(self) -> Record:
        if self._chance.random() < 0.05:
            return self._unreadable()
        name = f"page-{self._chance.randrange(self.documents)}.rst"
        before = self.newest.get(name)
        sequence = before.sequence + self._chance.randint(1, 3) if before else self._chance.randint(0, 2)
        return self._publish(name, self._next(name, sequence, before))

    def _next(self, name: str, sequence: int, before: Version | None) -> Version:
        kind = self._chance.random()
        if before and kind < 0.15:
            return Version(sequence, None)
        if before and before.readable and kind < 0.3:
            return Version(sequence, before.sections, before.title, self._acl())
        shared = ("Mill", "Rules"), self._chance.choice(SHARED)
        own = ("Mill",), f"Gauge {name} reads {sequence} since the last flood."
        contact = ("Mill", "Contact"), f"Write to {self._chance.choice(PEOPLE)} about RFC {self._chance.randint(1, 4)}."
        whole = [(own, shared), (own, shared, contact), ((("Mill",), SHARED[0]), shared)]
        return Version(sequence, self._chance.choice(whole), f"Page {sequence}", self._acl())

    def _unreadable(self) -> Record:
        """A document that the parser refuses; later ones of its name may be deletes, never texts: what was there before would stay."""
        name = f"blank-{self._chance.randrange(3)}.rst"
        before = self.newest.get(name)
        sequence = before.sequence + 1 if before else 0
        return self._publish(name, Version(sequence, () if self._chance.random() < 0.7 else None))

    def _acl(self) -> tuple[str, ...]:
        chosen = self._chance.sample(GROUPS, self._chance.randint(0, 3))
        return tuple(sorted(chosen)) if self._chance.random() < 0.7 else ("*",)

    def _publish(self, name: str, version: Version) -> Record:
        self.newest[name] = version
        at = _NOON - timedelta(minutes=self._chance.randrange(60 * 48))
        return self._record(name, SOURCE, version, at)

    def _record(self, name: str, source: str, version: Version, at: datetime = _NOON) -> Record:
        data: dict[str, Any] = {"sequence": version.sequence}
        if version.sections is not None:
            data |= {"content": _text(version.sections), "media_type": "text/x-rst", "title": version.title, "acl": list(version.acl)}
        return Record(name, _event(DELETE if version.deleted else UPSERT, self._id(), name, source, at, data), self._ago())

    def _ago(self) -> int:
        """The clocks of those who publish are not ours: hours behind, or half an hour ahead, which is less than Kafka refuses."""
        return self._chance.choice((0, self._chance.randint(-1800, 47 * 3600)))

    def _id(self) -> str:
        self._made += 1
        return f"e{self._made}"

    def _refused(self) -> Iterator[Record]:
        if not self._known or self._chance.random() < 0.7:
            return
        name = self._chance.choice(self._known)
        intruder = Version(10**6, ((("Mill",), "Of another source."),), acl=("*",))
        value = self._chance.choice(
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
    """Produce them in this order. Returns when the broker has all. Raises RuntimeError where it has not after a minute."""
    errors = ClientErrors()
    producer = Producer(errors.configuration(kafka_client_properties, **{"enable.idempotence": True, "linger.ms": 5}))
    for record in records:
        record.send(producer, tenant)
    if producer.flush(60):
        raise RuntimeError("Kafka did not take all records within a minute")


def _text(sections: tuple[Passage, ...]) -> str:
    parts: list[str] = []
    path: tuple[str, ...] = ()
    for heading, text in sections or ((path, NOTHING_TO_READ),):
        if heading != path:
            parts.append(f"{heading[-1]}\n{'=-'[len(heading) - 1] * len(heading[-1])}")
        path = heading
        parts.append(text)
    return "\n\n".join(parts) + "\n"


def _event(kind: str, event_id: str, name: str, source: str, at: datetime, data: Mapping[str, Any]) -> bytes:
    attributes = {"specversion": "1.0", "id": event_id, "source": source, "type": kind, "subject": name, "time": at.isoformat()}
    return json.dumps(attributes | {"data": data}).encode()
