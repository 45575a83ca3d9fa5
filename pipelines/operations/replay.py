"""`headrace replay`: dead letters once more, and what a topic still has once more.

Both are safe to repeat and beside a stream that runs: landing judges each event as any repeated delivery, and no position moves.
What is replayed makes documents stale at most; the stages take it from there. Only the topic that the positions are in is replayed: of a
former one of the same name nothing can be read, and a newer one has not landed yet.
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
from pipelines.app import LAND_BYTES, LAND_RECORDS
from pipelines.operations.explain import find, letters, no_letter, place_of
from pipelines.resources import Resources

if TYPE_CHECKING:
    from events.landing import Landed
    from events.positions import Position

What = TypeVar("What")

TRIES = 10
"""How often landing may lose the race for a document against a stream that runs; each time somebody else's event has landed."""


@dataclass(frozen=True)
class Wanted:
    """Which open dead letters: those that meet all that is given. `document` is an id or a key; of `last_at`, since ≤ it < until."""

    positions: tuple[str, ...] = ()
    reason: str | None = None
    document: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def meets(self, row: Mapping[str, Any]) -> bool:
        """Of everything but the document, which only its tenant's key can tell."""
        return (
            (not self.positions or row["position"] in self.positions)
            and self.reason in (None, row["reason"])
            and (self.since is None or row["last_at"] >= self.since)
            and (self.until is None or row["last_at"] < self.until)
        )


EVERY_LETTER = Wanted()


def dead_letters(resources: Resources, tenant: str, wanted: Wanted = EVERY_LETTER) -> list[dict[str, Any]]:
    """Try open dead letters again, oldest event first; gives each one's position, stage, the reason it had, and the outcome.

    What landing refused is read from Kafka and landed once more: its fate, `refused` where it is again, or `gone` from the topic. What a
    stage refused is `stale` again, as its document stands now: `ingest` takes it. Raises HeadraceError before anything is tried.
    """
    chosen = sorted(_chosen(resources, tenant, wanted), key=lambda row: tuple(place_of(row["position"]).values()))
    told = ("position", "stage", "reason")
    return [{name: row[name] for name in told} | {"outcome": _again(resources, tenant, row)} for row in chosen]


def _chosen(resources: Resources, tenant: str, wanted: Wanted) -> list[dict[str, Any]]:
    found = letters(resources, tenant)
    for position in wanted.positions:
        place_of(position)
        if position not in {row["position"] for row in found}:
            no_letter(position)
    documents = None if wanted.document is None else find(resources, tenant, wanted.document)
    return [row for row in found if wanted.meets(row) and (documents is None or row["document"] in documents)]


def _again(resources: Resources, tenant: str, row: Mapping[str, Any]) -> str:
    from events.positions import LOSSES

    if row["reason"] in LOSSES:
        return "gone"
    if row["stage"] == "land":
        return _land_again(resources, tenant, place_of(row["position"]))
    with resources.session(tenant).transaction() as connection:
        ledger.retry(connection, [row["document"]], row["stage"])
    return "stale"


def _land_again(resources: Resources, tenant: str, place: Mapping[str, int]) -> str:
    from events.contract import topic_of
    from events.positions import NEVER_READ
    from events.replay import retry

    name = topic_of(tenant)
    position = _known(resources, tenant).get(place["partition"], NEVER_READ)
    offset = position.offset_of(place["offset"])
    record = None if offset is None else resources.reader.read_one(name, place["partition"], offset)
    # asked after it was read: what it was read from is no other topic then
    if record is None or not _Inlet(resources, name, {place["partition"]: position}).same():
        return "gone"
    landed = _landed(resources, tenant, partial(retry, base=position.base), record)
    return "refused" if landed.reasons else next(iter(landed.fates))


def _known(resources: Resources, tenant: str) -> dict[int, Position]:
    from events.contract import topic_of
    from events.positions import stored

    with resources.session(tenant).transaction() as connection:
        return stored(connection, topic_of(tenant))


class _Inlet:
    """A tenant's topic, as long as it is the one that these positions are in."""

    def __init__(self, resources: Resources, name: str, positions: Mapping[int, Position]) -> None:
        self._name, self._topics = name, resources.topics
        self._landed_from = {position.topic_id for position in positions.values()} - {None}

    def same(self) -> bool:
        """False where the topic was deleted, or made anew and not landed from yet."""
        return self._landed_from <= {self._topics.ids([self._name]).get(self._name)}

    def need(self) -> None:
        """Raises HeadraceError `topic-recreated` where it is another one."""
        if not self.same():
            raise HeadraceError(
                f"{self._name} was made anew since it was last read from",
                reason="topic-recreated",
                remedy="Let the stream or `headrace ingest` land what it holds; then replay.",
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
    """Read what has landed once more, from an offset or from the first record that is not older than `since`, up to the position.

    Gives a row per partition: `from_offset` and `to_offset` (not in it), `removed` (offsets of these that Kafka has no longer), and what
    became of the rest: `events`, `fates`, `reasons`. `progress` hears how many events were read. Raises HeadraceError `bad-position` for a
    partition that is not there, `offset-out-of-range` where the topic ends before the position, and `topic-recreated` where it was made
    anew: then it is not the one that landed.
    """
    landed = _known(resources, tenant)
    ends = _ends(resources, tenant, landed, partition)
    first = dict.fromkeys(ends, from_offset) if since is None else _first_since(resources, tenant, since, ends)
    starts = {place: min(first[place], end) for place, end in ends.items()}
    kept = _kept(resources, ends, landed)
    totals = _reread(resources, tenant, {place: max(at, kept[place]) for place, at in starts.items()}, ends, landed, progress)
    return [_row(place, starts[place], kept[place], ends[place], totals.get(place)) for place in ends]


def _kept(resources: Resources, ends: Mapping[Place, int], landed: Mapping[int, Position]) -> dict[Place, int]:
    """The first offset of each partition that can be replayed: Kafka still has it, and it is counted from the base that counts now."""
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
    """The positions of the partitions that are asked for: what is beyond has not landed and is not for a replay."""
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
    """By Kafka's own index, and by what landed: that knows of events which Kafka has no longer."""
    from events.contract import topic_of

    there = resources.reader.offsets_since(topic_of(tenant), max(0, int(since.timestamp() * 1000)))
    values = {"since": since, "topic": topic_of(tenant)}
    with resources.session(tenant).transaction() as connection:
        rows = connection.execute(statements("pipelines.operations", "sql/replay.sql")["first_since"], values).fetchall()
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
    inlet = _Inlet(resources, topic_of(tenant), {partition: landed[partition] for _, partition in reading})
    for batch in resources.reader.read_batches(reading, LAND_RECORDS, LAND_BYTES, until=ends):
        inlet.need()  # asked after the batch was read: what it was read from is no other topic then
        total = totals.setdefault((batch.topic, batch.partition), Landed())
        total.add(_landed(resources, tenant, partial(reread, base=landed[batch.partition].base), batch.records))
        progress(_events(totals.values()))
    return totals


def _events(totals: Iterable[Landed]) -> int:
    return sum(total.events for total in totals)


def _landed(resources: Resources, tenant: str, landing: Callable[[Connection, TenantKeys, What], Landed], what: What) -> Landed:
    """One transaction; again where somebody else's event landed for the same document in between. Raises LostRace when that never ends."""
    session = resources.session(tenant)
    for _ in range(TRIES - 1):
        try:
            with session.transaction() as connection:
                return landing(connection, session.keys, what)
        except LostRace:
            continue
    with session.transaction() as connection:
        return landing(connection, session.keys, what)
