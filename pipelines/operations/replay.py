"""Replay: retry dead letters, or land again what a topic still has.

Both are safe to repeat, and safe beside a running stream: landing judges each event as any repeated delivery, and no position moves.
A replay only makes documents stale; the stages take it from there. Only the topic that the positions belong to is replayed: a former one
of the same name cannot be read, and a newer one has not landed yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from core.errors import HeadraceError, LostRace
from core.keys import TenantKeys
from core.ledger import ledger
from core.sql import statements
from core.tenancy import Connection
from events.kafka.batches import Place
from pipelines import upgrade
from pipelines.app import LAND_BYTES, LAND_RECORDS
from pipelines.documents import find
from pipelines.operations.dead_letters import DeadLetter, open_letters, place_of, unknown
from pipelines.resources import Resources

if TYPE_CHECKING:
    from events.landing import Landed
    from events.positions import Position

Records = TypeVar("Records")

ATTEMPTS = 10
"""How often landing may lose the race for a document against a running stream; each time another event has landed."""


@dataclass(frozen=True)
class Selection:
    """Which open dead letters: those that match every given field.

    `document`: an id or a key. `since` and `until`: since ≤ `last_at` < until.
    """

    positions: tuple[str, ...] = ()
    reason: str | None = None
    document: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def matches(self, letter: DeadLetter) -> bool:
        """Whether it matches every field but `document`, which takes the tenant's key."""
        return (
            (not self.positions or letter.position in self.positions)
            and self.reason in (None, letter.reason)
            and (self.since is None or letter.last_at >= self.since)
            and (self.until is None or letter.last_at < self.until)
        )


EVERY_LETTER = Selection()


def dead_letters(resources: Resources, tenant: str, selection: Selection = EVERY_LETTER) -> list[dict[str, Any]]:
    """Retry open dead letters, oldest event first. Returns each one's position, stage, former reason, and the outcome.

    What landing refused is read from Kafka and landed again: the outcome is its fate, `refused` if it is refused again, or `gone` if the
    topic no longer has it. What a stage refused becomes `stale`, in its document's present state: `ingest` takes it.
    Raises HeadraceError before anything is retried.
    """
    selected = sorted(_selected(resources, tenant, selection), key=lambda letter: tuple(place_of(letter.position).values()))
    return [
        {"position": letter.position, "stage": letter.stage, "reason": letter.reason, "outcome": _retry(resources, tenant, letter)}
        for letter in selected
    ]


def _selected(resources: Resources, tenant: str, selection: Selection) -> list[DeadLetter]:
    found = open_letters(resources, tenant)
    for position in selection.positions:
        place_of(position)
        if position not in {letter.position for letter in found}:
            raise unknown(position)
    documents = None if selection.document is None else find(resources, tenant, selection.document)
    return [letter for letter in found if selection.matches(letter) and (documents is None or letter.document in documents)]


def _retry(resources: Resources, tenant: str, letter: DeadLetter) -> str:
    from events.positions import LOSSES

    if letter.reason in LOSSES:
        return "gone"
    if letter.stage == "land":
        return _land_again(resources, tenant, place_of(letter.position))
    with resources.session(tenant).transaction() as connection:
        ledger.retry(connection, [letter.document or ""], letter.stage)
    return "stale"


def _land_again(resources: Resources, tenant: str, place: Mapping[str, int]) -> str:
    from events.contract import topic_of
    from events.positions import NEVER_READ
    from events.replay import retry

    name = topic_of(tenant)
    position = _positions(resources, tenant).get(place["partition"], NEVER_READ)
    offset = position.offset_of(place["offset"])
    record = None if offset is None else resources.reader.read_one(name, place["partition"], offset)
    # checked after the read: then the record cannot be of another topic
    if record is None or not _SourceTopic(resources, name, {place["partition"]: position}).is_same():
        return "gone"
    landed = _landed(resources, tenant, partial(retry, numbering=position.numbering), record)
    return "refused" if landed.reasons else next(iter(landed.fates))


def _positions(resources: Resources, tenant: str) -> dict[int, Position]:
    from events.contract import topic_of
    from events.positions import stored

    with resources.session(tenant).transaction() as connection:
        return stored(connection, topic_of(tenant))


class _SourceTopic:
    """Whether a tenant's topic is still the one that these positions belong to."""

    def __init__(self, resources: Resources, name: str, positions: Mapping[int, Position]) -> None:
        self._name, self._topics = name, resources.topics
        self._landed_from = {position.topic_id for position in positions.values()} - {None}

    def is_same(self) -> bool:
        """False if the topic was deleted, or recreated and not landed from yet."""
        return self._landed_from <= {self._topics.ids([self._name]).get(self._name)}

    def require_same(self) -> None:
        """Raises HeadraceError `topic-recreated` if it is another topic."""
        if not self.is_same():
            raise HeadraceError(
                f"{self._name} was recreated since it was last read from",
                reason="topic-recreated",
                remedy="Let the stream or `headrace ingest` land its events; then replay.",
            )


def topic(
    resources: Resources,
    tenant: str,
    *,
    from_offset: int = 0,
    since: datetime | None = None,
    partition: int | None = None,
    progress: Callable[[int], None] = lambda _: None,
) -> list[dict[str, Any]]:
    """Land again what has landed, from an offset or from the first record that is not older than `since`, up to the position.

    Returns a row per partition: `from_offset` and `to_offset` (exclusive), `removed` (how many of these offsets Kafka no longer has), and
    for the rest `events`, `fates`, `reasons`. `progress` is called with the number of events read so far. Raises HeadraceError
    `bad-position` for an unknown partition, `offset-out-of-range` if the topic ends before the position, and `topic-recreated` if it was
    recreated: then it is not the topic that landed.
    """
    landed = _positions(resources, tenant)
    ends = _ends(resources, tenant, landed, partition)
    first = dict.fromkeys(ends, from_offset) if since is None else _first_since(resources, tenant, since, ends)
    starts = {place: min(first[place], end) for place, end in ends.items()}
    kept = _kept(resources, ends, landed)
    totals = _reread(resources, tenant, {place: max(at, kept[place]) for place, at in starts.items()}, ends, landed, progress)
    return [_row(place, starts[place], kept[place], ends[place], totals.get(place)) for place in ends]


def _kept(resources: Resources, ends: Mapping[Place, int], landed: Mapping[int, Position]) -> dict[Place, int]:
    """The first offset of each partition that can be replayed: Kafka still has it, and it counts from the present base."""
    low = resources.reader.low_watermarks({name for name, _ in ends})
    return {place: max(low[place], landed[place[1]].base_from if place[1] in landed else 0) for place in ends}


def _row(place: Place, start: int, kept: int, end: int, landed: Landed | None) -> dict[str, Any]:
    return {
        "partition": place[1],
        "from_offset": start,
        "to_offset": end,
        "removed": max(0, min(kept, end) - start),
        "events": landed.events if landed else 0,
        "fates": dict(landed.fates) if landed else {},
        "reasons": dict(landed.reasons) if landed else {},
    }


def _ends(resources: Resources, tenant: str, landed: Mapping[int, Position], partition: int | None) -> dict[Place, int]:
    """The positions of the requested partitions: events beyond them have not landed, and are not replayed."""
    from events.contract import topic_of

    there = resources.reader.partitions(topic_of(tenant))
    ends = {(topic_of(tenant), p): landed[p].next_offset if p in landed else 0 for p in there if partition in (None, p)}
    if not ends:
        raise HeadraceError(
            f"the topic has no partition {partition}", reason="bad-position", remedy=f"It has partitions 0 to {len(there) - 1}."
        )
    for error in resources.reader.out_of_range(ends).values():
        if error.reason == "offset-out-of-range":
            raise error
    return ends


def _first_since(resources: Resources, tenant: str, since: datetime, ends: Mapping[Place, int]) -> dict[Place, int]:
    """From Kafka's own index, and from what landed: that includes events which Kafka no longer has."""
    from events.contract import topic_of

    there = resources.reader.offsets_since(topic_of(tenant), max(0, int(since.timestamp() * 1000)))
    values = {"since": since, "topic": topic_of(tenant)}
    with resources.session(tenant).transaction() as connection:
        rows = connection.execute(_SQL["first_since"], values).fetchall()
    landed = {row["kafka_partition"]: row["kafka_offset"] for row in rows}
    return {place: min(there.get(place, end), landed.get(place[1], end)) for place, end in ends.items()}


def _reread(
    resources: Resources,
    tenant: str,
    starts: Mapping[Place, int],
    ends: Mapping[Place, int],
    landed: Mapping[int, Position],
    progress: Callable[[int], None],
) -> dict[Place, Landed]:
    from events.contract import topic_of
    from events.landing import Landed
    from events.replay import reread

    totals: dict[Place, Landed] = {}
    reading = {place: at for place, at in starts.items() if at < ends[place]}
    source = _SourceTopic(resources, topic_of(tenant), {partition: landed[partition] for _, partition in reading})
    for batch in resources.reader.read_batches(reading, LAND_RECORDS, LAND_BYTES, until=ends):
        source.require_same()  # checked after the read: then the batch cannot be of another topic
        total = totals.setdefault((batch.topic, batch.partition), Landed())
        total.add(_landed(resources, tenant, partial(reread, numbering=landed[batch.partition].numbering), batch.records))
        progress(_events(totals.values()))
    return totals


def _events(totals: Iterable[Landed]) -> int:
    return sum(total.events for total in totals)


def _landed(resources: Resources, tenant: str, land: Callable[[Connection, TenantKeys, Records], Landed], records: Records) -> Landed:
    """Land in one transaction, and again if another event landed for the same document meanwhile. Raises LostRace after all attempts."""
    session = resources.session(tenant)
    upgrade.ensure(resources, session)
    for _ in range(ATTEMPTS - 1):
        try:
            with session.transaction() as connection:
                return land(connection, session.keys, records)
        except LostRace:
            continue
    with session.transaction() as connection:
        return land(connection, session.keys, records)


_SQL = statements("pipelines.operations", "sql/replay.sql")
