"""A tenant that is given canaries in every field of every format and event, and all that is done with them: what the canaries' test reads.

Here belongs what is given and done. What was left of it is read in `tests.canaries.storage_scan`; what must hold stands in
`tests.canaries.test_canaries`.
"""

from __future__ import annotations

import base64
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import dagster as dg
import neo4j
import polars as pl
import psycopg
import pytest
import zstandard
from confluent_kafka import Producer
from prometheus_client import generate_latest

from assets.runtime import RESOURCE
from events.contract import DELETE, UPSERT, topic_of
from events.kafka.topics import outcomes_of
from parsers import Format
from pipelines import cli
from pipelines.app import Headrace
from pipelines.dagster.webserver import environment, prepare_home
from pipelines.definitions import build
from pipelines.operations.search import ask
from pipelines.stream.metrics import Metrics
from tests.canaries import storage_scan
from tests.canaries.canary_formats import MAKERS, broken_off
from tests.canaries.values import Canaries, Plant

TENANT = "aviary"
Record = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]
_QUIET = logging.getLogger("tests.canaries.canary_tenant")
_JSON = [("content-type", b"application/cloudevents+json")]


@dataclass
class Aviary:
    """What it is given, and what was found of it: `seen` is where → the places whose canaries are there, `codes` how commands ended."""

    app: Headrace
    inbox: Path
    canaries: Canaries = field(default_factory=Canaries)
    records: list[Record] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    seen: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    codes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.source = self.canaries.of("event")("source")
        self.keeper = self.canaries.of("event").reader("acl")

    @property
    def folder(self) -> Path:
        return self.app.settings.data_dir

    def look(self, pieces: Iterator[storage_scan.Piece]) -> None:
        for where, what in pieces:
            self.seen[where] |= self.canaries.found(what)

    def hear(self, where: str, said: str | bytes) -> None:
        self.seen[where] |= self.canaries.found(said)

    def left(self, *, readers: bool = False) -> dict[str, set[str]]:
        """Where canaries are that are no decoys: those of principals, or all the others."""
        wanted = {where: {name for name in names if name.endswith(": acl") is readers} for where, names in self.seen.items()}
        real = {where: {name for name in names if not name.startswith("decoy")} for where, names in wanted.items()}
        return {where: names for where, names in real.items() if names}

    def decoys(self, which: str) -> set[str]:
        """Where the decoy of this name was found."""
        return {where for where, names in self.seen.items() if f"decoy: {which}" in names}

    def document(self, name: str, end: str, make: Callable[[Plant], bytes], sequence: int = 1, of: str | None = None) -> None:
        """A document of a format, with canaries in its event too; `of` names an earlier one whose id it has."""
        plant = self.canaries.of(name)
        named = f"of {plant('id, folder')}/{plant.iban('id, IBAN')} {plant('id')} as {end}.{end}"
        self.ids[name] = self.ids[of] if of else named
        data = {
            "sequence": sequence,
            "content_base64": base64.b64encode(make(plant)).decode(),
            "title": f"Of {plant('event title')}",
            "file_name": f"{plant('event file name')}.{end}",
            "media_type": f'application/octet-stream; name="{plant("media type")}"',
            "metadata": {plant("metadata key"): "x", "owner": plant.words("metadata"), "seen": "; ".join(plant.disguised("metadata"))},
            "acl": [plant.reader("acl"), self.keeper],
            "owner": plant("unknown property"),
        }
        self.event(UPSERT, self.ids[name], plant, data)

    def event(self, kind: str, name: str, plant: Plant, data: Mapping[str, Any], **attributes: Any) -> None:
        own = {"specversion": "1.0", "id": plant("event id"), "source": f"mailto:{self.source}", "type": kind, "subject": name}
        whole = own | {"owner": plant("extension"), "data": data} | attributes
        self.records.append((name.encode(), json.dumps(whole).encode(), [*_JSON, ("x-owner", plant("header").encode())]))

    def taken(self) -> list[Record]:
        """What was made since this was last asked for."""
        taken, self.records = self.records, []
        return taken

    def publish(self, records: list[Record]) -> None:
        _produce(self.app, topic_of(TENANT), records)


def _produce(app: Headrace, topic: str, records: list[Record]) -> None:
    producer = Producer({**app.endpoints.kafka_client(), "compression.type": "zstd"}, logger=_QUIET)
    for key, value, headers in records:
        producer.produce(topic, value, key, headers=headers)
    assert producer.flush(30) == 0


# what is given


def everything(aviary: Aviary) -> None:
    """A document of each format, and one broken off; by reference; and events that are outside the contract in each way."""
    for kind, (end, make) in MAKERS.items():
        aviary.document(str(kind), end, make)
        aviary.document(f"broken {kind}", end, lambda plant, make=make: broken_off(make(plant)))
    aviary.document("garbled", "txt", lambda plant: ("\ufffd" * 1200 + plant.words("text")).encode())
    by_reference(aviary)
    refused(aviary)


def by_reference(aviary: Aviary) -> None:
    for name, there in (("fetched", True), ("missing", False)):
        plant = aviary.canaries.of(name)
        path = aviary.inbox / f"of {plant('folder')}" / f"{plant('uri')}.txt"
        path.parent.mkdir()
        if there:
            path.write_text(plant.words("text"), encoding="utf-8")
        aviary.ids[name] = plant("id")
        aviary.event(UPSERT, aviary.ids[name], plant, {"uri": path.as_uri(), "sequence": 1, "acl": [plant.reader("acl")]})


def refused(aviary: Aviary) -> None:
    plant = aviary.canaries.of("refused event")
    name = plant("id")
    aviary.event(UPSERT, name, plant, {"content": plant("content"), "uri": plant("uri"), "acl": [plant.reader("acl")]})
    aviary.event(UPSERT, name, plant, {"content": 7, "metadata": {plant("metadata key"): [plant("metadata value")]}})
    aviary.event(UPSERT, name, plant, {"content_base64": plant("no base64"), plant("property"): 1})
    aviary.event(UPSERT, plant("subject"), plant, {"content": plant("content under another key")})
    aviary.records[-1] = (plant("key").encode(), *aviary.records[-1][1:])
    aviary.event(f"headrace.{plant('type')}", name, plant, {"content": plant("content of no type")})
    aviary.event(UPSERT, name, plant, {"content": "x"}, source=f"no uri: {plant('no source')}", time=plant("no time"))
    aviary.event(DELETE, plant("deleted id"), plant, {"sequence": plant("sequence")})
    aviary.records += [
        (plant("key of no JSON").encode(), plant("no JSON").encode(), _JSON),
        (b"\xff" + plant("key of no text").encode(), b"{}", [("content-type", plant("content type").encode())]),
        (None, plant("value without a key").encode(), [("ce_id", plant("binary id").encode()), ("ce_specversion", b"1.0")]),
        (plant("key of a tombstone").encode(), None, []),
    ]


def afterwards(aviary: Aviary) -> None:
    """Edits, one of them with nothing left in it that can be read, and deletes."""
    for kind in (Format.MARKDOWN, Format.DOCX, Format.EMAIL, Format.ZIP):
        end, make = MAKERS[kind]
        aviary.document(f"edited {kind}", end, make, sequence=2, of=str(kind))
    aviary.document("spoilt pptx", "pptx", lambda plant: b"PK\x03\x04" + plant("text").encode(), sequence=2, of="pptx")
    for kind in (Format.HTML, Format.TAR):
        plant = aviary.canaries.of(f"delete of {kind}")
        aviary.event(DELETE, aviary.ids[kind], plant, {"sequence": 2, "reason": plant("unknown property")})


# what is done


def materialized(aviary: Aviary) -> None:
    """The whole way as Dagster runs it, on Dagster's own storage in Postgres and below the data folder."""
    home = prepare_home(aviary.app.settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADRACE_DAGSTER_STORAGE", environment(aviary.app.settings, home)["HEADRACE_DAGSTER_STORAGE"])
        with dg.DagsterInstance.from_config(str(home)) as instance:
            instance.add_dynamic_partitions("tenants", [TENANT])
            job = build({RESOURCE: aviary.app}).resolve_job_def("ingest_tenant")
            assert job.execute_in_process(instance=instance, partition_key=TENANT, raise_on_error=False).success


def counted(aviary: Aviary) -> None:
    """A whole run, and the page of metrics after it."""
    metrics = Metrics()
    landed, reports = aviary.app.ingest(TENANT)
    metrics.landed(TENANT, landed, 0.1)
    for report in reports.values():
        metrics.ran(TENANT, report)
    aviary.hear("metrics", generate_latest(metrics.registry))


def commanded(aviary: Aviary) -> None:
    """What people do and see at the command line; what `explain` says apart, for it says who may read."""
    receipt = aviary.folder / "receipt.json"
    for words in (
        ("status",), ("status", "--json"), ("tenant", "list", "--json"),
        ("dead-letters", "list", "-t", TENANT), ("dead-letters", "list", "-t", TENANT, "--json"),
        ("explain", "-t", TENANT, aviary.canaries.of("command")("unknown id")), ("release", "-t", TENANT, aviary.ids["garbled"]),
        ("erase", "-t", TENANT, aviary.ids["email"], "--receipt", str(receipt)), ("erase", "--verify", str(receipt)),
        ("tenant", "set", TENANT, f'privacy.deny=["{aviary.canaries.of("command")("deny list")}"]', "--json"),
        ("replay", "dead-letters", "-t", TENANT, "--json"), ("replay", "topic", "-t", TENANT, "--from-offset", "0", "--json"),
        ("retention", "-t", TENANT), ("audit", "list", "--json"), ("audit", "verify"),
        ("export", TENANT, "--to", str(aviary.inbox.parent / "export")),
    ):  # fmt: skip
        aviary.codes[" ".join(words[:2])] = cli.run(words)
    for path in sorted((aviary.inbox.parent / "export").rglob("*.parquet")):
        for column in pl.read_parquet(path).iter_columns():
            aviary.hear(f"export {column.name}", repr(column.to_list()))
    inside = f"{aviary.ids['zip']}!/inner.tar"
    for name in (*(aviary.ids[name] for name in ("markdown", "html", "broken docx", "fetched", "missing")), inside):
        with redirect_stdout(StringIO()) as said:
            cli.run(("explain", "-t", TENANT, name, "--json"))
        aviary.hear("explain", said.getvalue())


def searched(aviary: Aviary) -> None:
    """What an application finds and is shown that may read everything."""
    found = [ask(aviary.app, TENANT, query, [aviary.keeper], 50) for query in ("weir", "write to", "owner", "attachment")]
    assert sum(map(len, found)) > 50
    aviary.hear("search", repr(found))


def decoyed(aviary: Aviary) -> None:
    """Canaries where they must not be, so that it shows that they would be found there."""
    plant = aviary.canaries.of("decoy")
    with psycopg.connect(storage_scan.superuser(aviary.app.settings, "headrace")) as connection:
        connection.execute("CREATE TABLE decoy (text text, bytes bytea, packed bytea)")
        packed, wide = zstandard.compress(plant("compressed").encode() * 9), plant("UTF-16").encode("utf-16-le")
        # Postgres compresses what is long: no file of it shows this one
        connection.execute("INSERT INTO decoy VALUES (%s, %s, %s)", [plant("table") + " " * 9_000, wide, packed])
    endpoints = aviary.app.endpoints
    auth = (endpoints.neo4j_username, endpoints.neo4j_password.get_secret_value())
    with neo4j.GraphDatabase.driver(endpoints.neo4j_url, auth=auth) as driver:
        driver.execute_query("CREATE (:Decoy {owner: $owner})", owner=f"{plant('graph')} {'x' * 400}")
    (aviary.folder / "logs" / "decoy.log").write_text(plant("log").upper(), encoding="utf-8")
    _produce(aviary.app, outcomes_of(TENANT), [(plant("outcome's key").encode(), plant("outcome").encode(), [])])
