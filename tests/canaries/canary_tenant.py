"""A tenant with canaries in every field of every format and event, and the steps that process it: runs, commands and searches.

Everything written meanwhile is read by `tests.canaries.storage_scan`; the assertions are in `tests.canaries.test_canaries`.
"""

from __future__ import annotations

import base64
import json
import logging
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, field
from functools import partial
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
from tests.canaries.canary_formats import MAKERS, Maker, truncated
from tests.canaries.values import Canaries, FieldCanaries

TENANT = "canaries"
Record = tuple[bytes | None, bytes | None, list[tuple[str, bytes]]]
_QUIET = logging.getLogger("tests.canaries.canary_tenant")
_JSON = [("content-type", b"application/cloudevents+json")]


@dataclass
class CanaryTenant:
    """The tenant's records, and the canaries found in storage and output.

    `places`: for each column, file or output, the fields whose canaries it contains; `codes`: the exit code of each command.
    """

    app: Headrace
    inbox: Path
    canaries: Canaries = field(default_factory=Canaries)
    records: list[Record] = field(default_factory=list)
    ids: dict[str, str] = field(default_factory=dict)
    places: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    codes: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.source = self.canaries.of("event")("source")
        self.keeper = self.canaries.of("event").reader("acl")

    @property
    def folder(self) -> Path:
        return self.app.settings.data_dir

    def scan(self, pieces: Iterator[storage_scan.Piece]) -> None:
        for where, what in pieces:
            self.places[where] |= self.canaries.found(what)

    def record(self, where: str, output: str | bytes) -> None:
        self.places[where] |= self.canaries.found(output)

    def found(self, *, readers: bool = False) -> dict[str, set[str]]:
        """The places that contain canaries other than decoys: those of principals (`readers`), or all others."""
        of_kind = {where: {name for name in names if name.endswith(": acl") is readers} for where, names in self.places.items()}
        real = {where: {name for name in names if not name.startswith("decoy")} for where, names in of_kind.items()}
        return {where: names for where, names in real.items() if names}

    def decoys(self, which: str) -> set[str]:
        """The places that contain the decoy of this name."""
        return {where for where, names in self.places.items() if f"decoy: {which}" in names}

    def document(self, name: str, end: str, make: Callable[[FieldCanaries], bytes], sequence: int = 1, of: str | None = None) -> None:
        """Add a document of a format, with canaries in its event too. `of`: an earlier document whose id it reuses."""
        canary = self.canaries.of(name)
        named = f"of {canary('id, folder')}/{canary.iban('id, IBAN')} {canary('id')} as {end}.{end}"
        self.ids[name] = self.ids[of] if of else named
        data = {
            "sequence": sequence,
            "content_base64": base64.b64encode(make(canary)).decode(),
            "title": f"Of {canary('event title')}",
            "file_name": f"{canary('event file name')}.{end}",
            "media_type": f'application/octet-stream; name="{canary("media type")}"',
            "metadata": {canary("metadata key"): "x", "owner": canary.words("metadata"), "seen": "; ".join(canary.disguised("metadata"))},
            "acl": [canary.reader("acl"), self.keeper],
            "owner": canary("unknown property"),
        }
        self.event(UPSERT, self.ids[name], canary, data)

    def event(self, kind: str, name: str, canary: FieldCanaries, data: Mapping[str, Any], **attributes: Any) -> None:
        own = {"specversion": "1.0", "id": canary("event id"), "source": f"mailto:{self.source}", "type": kind, "subject": name}
        whole = own | {"owner": canary("extension"), "data": data} | attributes
        self.records.append((name.encode(), json.dumps(whole).encode(), [*_JSON, ("x-owner", canary("header").encode())]))

    def take_records(self) -> list[Record]:
        """The records added since the last call."""
        records, self.records = self.records, []
        return records

    def publish(self, records: list[Record]) -> None:
        _produce(self.app, topic_of(TENANT), records)


def _produce(app: Headrace, topic: str, records: list[Record]) -> None:
    producer = Producer({**app.endpoints.kafka_client(), "compression.type": "zstd"}, logger=_QUIET)
    for key, value, headers in records:
        producer.produce(topic, value, key, headers=[*headers])
    assert producer.flush(30) == 0


# records


def add_documents(tenant: CanaryTenant) -> None:
    """Documents of each format, whole and truncated; documents by reference; and events that violate the contract in each way."""
    for kind, (end, make) in MAKERS.items():
        tenant.document(str(kind), end, make)
        tenant.document(f"broken {kind}", end, partial(_truncated, make))
    tenant.document("garbled", "txt", lambda canary: ("\ufffd" * 1200 + canary.words("text")).encode())
    add_references(tenant)
    add_invalid_events(tenant)


def _truncated(make: Maker, canary: FieldCanaries) -> bytes:
    return truncated(make(canary))


def add_references(tenant: CanaryTenant) -> None:
    for name, there in (("fetched", True), ("missing", False)):
        canary = tenant.canaries.of(name)
        path = tenant.inbox / f"of {canary('folder')}" / f"{canary('uri')}.txt"
        path.parent.mkdir()
        if there:
            path.write_text(canary.words("text"), encoding="utf-8")
        tenant.ids[name] = canary("id")
        tenant.event(UPSERT, tenant.ids[name], canary, {"uri": path.as_uri(), "sequence": 1, "acl": [canary.reader("acl")]})


def add_invalid_events(tenant: CanaryTenant) -> None:
    canary = tenant.canaries.of("refused event")
    name = canary("id")
    tenant.event(UPSERT, name, canary, {"content": canary("content"), "uri": canary("uri"), "acl": [canary.reader("acl")]})
    tenant.event(UPSERT, name, canary, {"content": 7, "metadata": {canary("metadata key"): [canary("metadata value")]}})
    tenant.event(UPSERT, name, canary, {"content_base64": canary("no base64"), canary("property"): 1})
    tenant.event(UPSERT, canary("subject"), canary, {"content": canary("content under another key")})
    tenant.records[-1] = (canary("key").encode(), *tenant.records[-1][1:])
    tenant.event(f"headrace.{canary('type')}", name, canary, {"content": canary("content of no type")})
    tenant.event(UPSERT, name, canary, {"content": "x"}, source=f"no uri: {canary('no source')}", time=canary("no time"))
    tenant.event(DELETE, canary("deleted id"), canary, {"sequence": canary("sequence")})
    tenant.records += [
        (canary("key of no JSON").encode(), canary("no JSON").encode(), _JSON),
        (b"\xff" + canary("key of no text").encode(), b"{}", [("content-type", canary("content type").encode())]),
        (None, canary("value without a key").encode(), [("ce_id", canary("binary id").encode()), ("ce_specversion", b"1.0")]),
        (canary("key of a tombstone").encode(), None, []),
    ]


def add_edits(tenant: CanaryTenant) -> None:
    """Edits, one of them unreadable, and deletes."""
    for kind in (Format.MARKDOWN, Format.DOCX, Format.EMAIL, Format.ZIP):
        end, make = MAKERS[kind]
        tenant.document(f"edited {kind}", end, make, sequence=2, of=str(kind))
    tenant.document("spoilt pptx", "pptx", lambda canary: b"PK\x03\x04" + canary("text").encode(), sequence=2, of="pptx")
    for kind in (Format.HTML, Format.TAR):
        canary = tenant.canaries.of(f"delete of {kind}")
        tenant.event(DELETE, tenant.ids[kind], canary, {"sequence": 2, "reason": canary("unknown property")})


# steps


def run_in_dagster(tenant: CanaryTenant) -> None:
    """Run all stages in Dagster, with its own storage in Postgres and in the data folder."""
    home = prepare_home(tenant.app.settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HEADRACE_DAGSTER_STORAGE", environment(tenant.app.settings, home)["HEADRACE_DAGSTER_STORAGE"])
        with dg.DagsterInstance.from_config(str(home)) as instance:
            instance.add_dynamic_partitions("tenants", [TENANT])
            job = build({RESOURCE: tenant.app}).resolve_job_def("ingest_tenant")
            assert job.execute_in_process(instance=instance, partition_key=TENANT, raise_on_error=False).success


def run_with_metrics(tenant: CanaryTenant) -> None:
    """Run all stages, and record the metrics page."""
    metrics = Metrics()
    landed, reports = tenant.app.ingest(TENANT)
    metrics.landed(TENANT, landed, 0.1)
    for report in reports.values():
        metrics.ran(TENANT, report)
    tenant.record("metrics", generate_latest(metrics.registry))


def run_commands(tenant: CanaryTenant) -> None:
    """Run the command line. The output of `explain` is recorded separately, because it shows principals."""
    receipt = tenant.folder / "receipt.json"
    for words in (
        ("status",), ("status", "--json"), ("tenant", "list", "--json"),
        ("dead-letters", "list", "-t", TENANT), ("dead-letters", "list", "-t", TENANT, "--json"),
        ("explain", "-t", TENANT, tenant.canaries.of("command")("unknown id")), ("release", "-t", TENANT, tenant.ids["garbled"]),
        ("erase", "-t", TENANT, tenant.ids["email"], "--receipt", str(receipt)), ("erase", "--verify", str(receipt)),
        ("tenant", "set", TENANT, f'privacy.deny=["{tenant.canaries.of("command")("deny list")}"]', "--json"),
        ("replay", "dead-letters", "-t", TENANT, "--json"), ("replay", "topic", "-t", TENANT, "--from-offset", "0", "--json"),
        ("retention", "-t", TENANT), ("audit", "list", "--json"), ("audit", "verify"),
        ("export", TENANT, "--to", str(tenant.inbox.parent / "export")),
    ):  # fmt: skip
        tenant.codes[" ".join(words[:2])] = cli.run(words)
    for path in sorted((tenant.inbox.parent / "export").rglob("*.parquet")):
        for column in pl.read_parquet(path).iter_columns():
            tenant.record(f"export {column.name}", repr(column.to_list()))
    inside = f"{tenant.ids['zip']}!/inner.tar"
    for name in (*(tenant.ids[name] for name in ("markdown", "html", "broken docx", "fetched", "missing")), inside):
        with redirect_stdout(StringIO()) as output:
            cli.run(("explain", "-t", TENANT, name, "--json"))
        tenant.record("explain", output.getvalue())


def run_searches(tenant: CanaryTenant) -> None:
    """Search as an application that may read everything."""
    found = [ask(tenant.app, TENANT, query, [tenant.keeper], 50) for query in ("weir", "write to", "owner", "attachment")]
    assert sum(map(len, found)) > 50
    tenant.record("search", repr(found))


def add_decoys(tenant: CanaryTenant) -> None:
    """Write canaries where they must not be, to prove that the scan finds them there."""
    canary = tenant.canaries.of("decoy")
    with psycopg.connect(storage_scan.superuser(tenant.app.settings, "headrace")) as connection:
        connection.execute("CREATE TABLE decoy (text text, bytes bytea, packed bytea)")
        packed, wide = zstandard.compress(canary("compressed").encode() * 9), canary("UTF-16").encode("utf-16-le")
        # Postgres compresses long values, so this one is in no file
        connection.execute("INSERT INTO decoy VALUES (%s, %s, %s)", [canary("table") + " " * 9_000, wide, packed])
    endpoints = tenant.app.endpoints
    auth = (endpoints.neo4j_username, endpoints.neo4j_password.get_secret_value())
    with neo4j.GraphDatabase.driver(endpoints.neo4j_url, auth=auth) as driver:
        driver.execute_query("CREATE (:Decoy {owner: $owner})", owner=f"{canary('graph')} {'x' * 400}")
    (tenant.folder / "logs" / "decoy.log").write_text(canary("log").upper(), encoding="utf-8")
    _produce(tenant.app, outcomes_of(TENANT), [(canary("outcome's key").encode(), canary("outcome").encode(), [])])
