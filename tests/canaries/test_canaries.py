"""No personal value is stored in clear: canaries in every field of every format and event, and a scan of everything that was written.

There are two exceptions, which docs/privacy.md documents. Kafka's log of `documents.<tenant>`: the source system wrote it. Principals of
access lists: they are in clear in the columns that enforce access, and in Postgres' files and statistics of these columns.
Findings are reported by format and field; no canary is ever shown.
"""

from __future__ import annotations

import base64
import logging
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from random import Random

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import settings as effort
from hypothesis import strategies as st
from msgspec.structs import replace

import privacy
import services
from core import frames
from core.config import Fetching, Settings
from core.errors import DocumentError
from core.policy import Privacy
from core.records import Content, Envelope, decode, encode
from core.schema.migrate import migrate
from events.children import DEEPEST
from events.kafka.topics import outcomes_of
from parsers import Format
from pipelines.app import Headrace
from pipelines.dagster.runtime import Runtime
from pipelines.governance import tenants
from privacy import Redactor
from tests.canaries import canary_tenant as steps
from tests.canaries import storage_scan
from tests.canaries.canary_formats import MAKERS, truncated
from tests.canaries.canary_tenant import TENANT, CanaryTenant
from tests.canaries.values import Canaries, FieldCanaries
from tests.tenant_fixture import rows

INBOUND_TOPICS = "*/kafka/data/documents.*"
ENFORCING = {"document.acl", "access_list.principals"}
"""The columns that enforce access: at landing, and in every search."""
STORAGE_OF_ACLS = re.compile(r"postgres/data/(?:base/\d+/\d+|pg_wal/\w{24})")
"""Postgres' files that contain a column: those of its table and of the statistics, and the write-ahead log."""


@contextmanager
def captured_output(to: Path) -> Iterator[None]:
    """Write the output of this process and its children, and all log records of any level, to files in this folder."""
    handler = logging.FileHandler(to / "logging.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(name)s %(message)s %(args)s"))
    root, kept = logging.getLogger(), [os.dup(1), os.dup(2)]
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with (to / "output.log").open("w", encoding="utf-8") as output, redirect_stdout(output), redirect_stderr(output):
            for number in (1, 2):
                os.dup2(output.fileno(), number)
            yield
    finally:
        for number, before in zip((1, 2), kept, strict=True):
            os.dup2(before, number)
            os.close(before)
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()


@pytest.fixture(scope="module")
def canary_tenant(settings: Settings, app: Headrace, tmp_path_factory: pytest.TempPathFactory) -> CanaryTenant:
    """The tenant after all steps and scans, on its own servers, which are stopped before their files are read."""
    folder = tmp_path_factory.mktemp("canaries")
    (folder / "inbox").mkdir()
    own = settings.model_copy(update={"data_dir": folder / "data", "fetching": Fetching(roots=(folder / "inbox",))})
    (folder / "headrace.toml").write_text(f'data_dir = "{own.data_dir}"\n', encoding="utf-8")
    endpoints = services.up(own)
    try:
        migrate(endpoints.postgres_owner.get_secret_value())
        with pytest.MonkeyPatch.context() as patch, Runtime(own, endpoints) as headrace:
            patch.setenv("HEADRACE_CONFIG", str(folder / "headrace.toml"))
            warm = {name: getattr(app.models, name) for name in ("redactor", "embedder", "chunker", "extractors", "parsers")}
            headrace.models.__dict__.update(warm)
            canary_tenant = CanaryTenant(headrace, folder / "inbox")
            run_all(canary_tenant)
            scan_servers(canary_tenant)
    finally:
        services.down(own)
    canary_tenant.scan(storage_scan.files(own.data_dir, INBOUND_TOPICS))
    return canary_tenant


def run_all(canary_tenant: CanaryTenant) -> None:
    tenants.add(canary_tenant.app, TENANT)
    steps.add_documents(canary_tenant)
    first = canary_tenant.take_records()
    steps.add_edits(canary_tenant)
    with captured_output(canary_tenant.folder):
        canary_tenant.publish(first)
        steps.run_in_dagster(canary_tenant)
        canary_tenant.publish(canary_tenant.take_records())
        steps.run_with_metrics(canary_tenant)
        steps.run_commands(canary_tenant)
        steps.run_with_metrics(canary_tenant)
        steps.run_searches(canary_tenant)
    steps.add_decoys(canary_tenant)


def scan_servers(canary_tenant: CanaryTenant) -> None:
    """Scan what needs running servers."""
    app = canary_tenant.app
    for what, query in (("indexed", "SELECT name AS one FROM indexed"), ("reasons", "SELECT reason AS one FROM dead_letter")):
        canary_tenant.ids[what] = " ".join(str(row["one"]) for row in rows(app, TENANT, query))
    canary_tenant.scan(storage_scan.postgres(app.settings, canary_tenant.canaries.found))
    canary_tenant.scan(storage_scan.graph(app.endpoints))
    canary_tenant.scan(storage_scan.topic(app.endpoints.kafka_client(), outcomes_of(TENANT)))


def test_every_format_has_canaries(here: Path) -> None:
    page = (here / "docs/formats.md").read_text(encoding="utf-8").partition("\n## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == sorted(MAKERS)
    assert MAKERS.keys() == set(Format)


def test_documents_of_all_formats_are_indexed_and_invalid_events_fail_in_each_way(canary_tenant: CanaryTenant) -> None:
    endings = set(re.findall(r"as (\w+)\.", canary_tenant.ids["indexed"]))
    # a picture without text has no chunks; the others were deleted or erased
    assert {end for end, _ in MAKERS.values()} - endings <= {"png", "html", "tar", "eml"}
    assert set(canary_tenant.ids["reasons"].split()) >= {
        "corrupt-document",
        "contract-violation",
        "not-cloudevents",
        "key-mismatch",
        "unknown-type",
    }


def test_every_command_succeeds(canary_tenant: CanaryTenant) -> None:
    # an unknown id cannot be explained, and events that violate the contract cannot be replayed
    assert {words: code for words, code in canary_tenant.codes.items() if code} == {"explain -t": 5, "replay dead-letters": 7}


def test_no_canary_is_written_anywhere(canary_tenant: CanaryTenant) -> None:
    assert canary_tenant.found() == {}


def test_principals_are_in_clear_only_where_access_is_enforced(canary_tenant: CanaryTenant) -> None:
    found = canary_tenant.found(readers=True).keys()
    assert found >= ENFORCING
    storage = {where for where in found if STORAGE_OF_ACLS.fullmatch(where)} | {f"statistics of {column}" for column in ENFORCING}
    # `explain` shows an operator who may read a document, and an export is for systems that enforce access themselves
    assert found - ENFORCING - storage == {"explain", "export acl"}


def test_the_scan_finds_a_decoy_in_each_kind_of_storage(canary_tenant: CanaryTenant) -> None:
    assert canary_tenant.decoys("table") == {"decoy.text"}
    assert "decoy.bytes, unpacked" in canary_tenant.decoys("UTF-16")
    assert any(where.startswith("postgres/data/base/") for where in canary_tenant.decoys("UTF-16"))
    assert "decoy.packed, unpacked" in canary_tenant.decoys("compressed")
    assert "Neo4j Decoy" in canary_tenant.decoys("graph")
    assert any(where.startswith("neo4j/data/") for where in canary_tenant.decoys("graph"))
    assert canary_tenant.decoys("log") == {"logs/decoy.log"}
    assert outcomes_of(TENANT) in canary_tenant.decoys("outcome") & canary_tenant.decoys("outcome's key")


SPELLINGS: list[Callable[[str], bytes]] = [
    str.encode,
    lambda text: text.upper().encode(),
    lambda text: text.encode("utf-16-le"),
    lambda text: text.encode("utf-16-be"),
    lambda text: text.encode().hex().encode(),
    lambda text: text.encode().hex().upper().encode(),
    lambda text: "".join(f"%{byte:02X}" for byte in text.encode()).encode(),
    *(lambda text, before=before: base64.b64encode(b"\xfa" * before + text.encode()) for before in range(3)),
]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_canary_is_found_in_every_spelling(spelling: Callable[[str], bytes]) -> None:
    canaries = Canaries()
    canary = canaries.of("any")
    for text in (canary("address"), canary("address, half")[:9], canary.iban("IBAN"), *canary.disguised("text")):
        assert canaries.found(b"\0\x99 " + spelling(text) + b" \0"), "not found"
    assert canaries.found(b"Of no canary: qzv kj, 4539 1488, 453914880") == set()


# redaction of documents with random canaries


class RandomCanaries(FieldCanaries):
    """Creates a canary of any kind, or none, for each field."""

    def __init__(self, canaries: Canaries, name: str, draw: Random) -> None:
        super().__init__(canaries, name)
        self._draw = draw

    def __call__(self, field: str) -> str:
        address = super().__call__(field)
        kinds = (lambda: address, address.upper, lambda: self.iban(field), lambda: self.card(field), lambda: "nobody")
        return self._draw.choice(kinds)()

    def halves(self, field: str) -> tuple[str, str]:
        return FieldCanaries(self._canaries, self._name).halves(field)


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    return Redactor(Privacy())


@effort(max_examples=60)
@given(kind=st.sampled_from(sorted(MAKERS)), seed=st.integers(0, 2**32), whole=st.booleans())
@example(kind=Format.EMAIL, seed=0, whole=True)
def test_no_canary_in_any_field_of_any_format_survives_redaction(
    app: Headrace, redactor: Redactor, kind: Format, seed: int, whole: bool
) -> None:
    canaries, (end, make) = Canaries(), MAKERS[kind]
    canary = RandomCanaries(canaries, str(kind), Random(seed))
    content = make(canary) if whole else truncated(make(canary))
    assert canaries.found(b"\n".join(redacted_parts(app, redactor, f"{canary('id')}.{end}", content))) == set()


def redacted_parts(app: Headrace, redactor: Redactor, name: str, content: bytes, media_type: str = "", depth: int = 0) -> Iterator[bytes]:
    """The result of redaction for a document and for those inside it, or the reason why it was not read."""
    try:
        parsed = decode(app.models.parsers.parse(content, media_type, name), Content)
    except DocumentError as error:
        yield str(error).encode()
        return
    record = {"document": "d", "input_key": "i", "envelope": encode(Envelope(name, "x")), "content": encode(replace(parsed, children=()))}
    (row,) = privacy.redact(pl.DataFrame([record], schema=dict(frames.PARSED)), redactor, KEYS).to_dicts()
    yield row["payload"] or row["detail"].encode()
    for child in parsed.children if depth < DEEPEST else ():
        yield from redacted_parts(app, redactor, f"{name}!/{child.path}", child.content, child.media_type, depth + 1)


MASTER = b"k" * 32
KEYS = privacy.tenant_keys(MASTER, TENANT, privacy.new_data_key(MASTER, TENANT))
