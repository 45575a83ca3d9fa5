"""No personal value stands in clear anywhere: canaries in every field of every format and event, and a look at everything that was written.

Two places are left out, and docs/privacy.md tells people of both. Kafka's own log of `documents.<tenant>`: the source system wrote them
there. Principals of access lists: they stand in clear in the columns that enforce access, and in what Postgres itself keeps of these.
A find is told by format and field: no canary is ever shown.
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
from pipelines.governance import tenants
from privacy import Redactor
from tests.canaries import canary_tenant as world
from tests.canaries import storage_scan
from tests.canaries.canary_formats import MAKERS, broken_off
from tests.canaries.canary_tenant import TENANT, Aviary
from tests.canaries.values import Canaries, Plant
from tests.tenant_fixture import rows

INBOUND = "*/kafka/data/documents.*"
ENFORCING = {"document.acl", "chunk_source.acl"}
"""The columns that enforce access: at landing, and in every search."""
KEPT_OF_THEM = re.compile(r"postgres/data/(?:base/\d+/\d+|pg_wal/\w{24})")
"""What Postgres writes on disk of a column: its table's file, its own statistics' file, and the log that both are written to first."""


@contextmanager
def overheard(to: Path) -> Iterator[None]:
    """Whatever this process and what it starts say meanwhile, and whatever is logged at any level, goes into these files."""
    handler = logging.FileHandler(to / "logging.log", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(name)s %(message)s %(args)s"))
    root, kept = logging.getLogger(), [os.dup(1), os.dup(2)]
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with (to / "said.log").open("w", encoding="utf-8") as said, redirect_stdout(said), redirect_stderr(said):
            for number in (1, 2):
                os.dup2(said.fileno(), number)
            yield
    finally:
        for number, before in zip((1, 2), kept, strict=True):
            os.dup2(before, number)
            os.close(before)
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()


@pytest.fixture(scope="module")
def aviary(settings: Settings, app: Headrace, tmp_path_factory: pytest.TempPathFactory) -> Aviary:
    """All of it once, on servers of its own, which are stopped before their files are read."""
    folder = tmp_path_factory.mktemp("canaries")
    (folder / "inbox").mkdir()
    own = settings.model_copy(update={"data_dir": folder / "data", "fetching": Fetching(roots=(folder / "inbox",))})
    (folder / "headrace.toml").write_text(f'data_dir = "{own.data_dir}"\n', encoding="utf-8")
    endpoints = services.up(own)
    try:
        migrate(endpoints.postgres_owner.get_secret_value())
        with pytest.MonkeyPatch.context() as patch, Headrace(own, endpoints) as headrace:
            patch.setenv("HEADRACE_CONFIG", str(folder / "headrace.toml"))
            warm = {name: getattr(app.models, name) for name in ("redactor", "embedder", "chunker", "entities", "parsers")}
            headrace.models.__dict__.update(warm)
            made = Aviary(headrace, folder / "inbox")
            done(made)
            read(made)
    finally:
        services.down(own)
    made.look(storage_scan.files(own.data_dir, INBOUND))
    return made


def done(aviary: Aviary) -> None:
    tenants.add(aviary.app, TENANT)
    world.everything(aviary)
    first = aviary.taken()
    world.afterwards(aviary)
    with overheard(aviary.folder):
        aviary.publish(first)
        world.materialized(aviary)
        aviary.publish(aviary.taken())
        world.counted(aviary)
        world.commanded(aviary)
        world.counted(aviary)
        world.searched(aviary)
    world.decoyed(aviary)


def read(aviary: Aviary) -> None:
    """All that has to be asked of a server that runs."""
    app = aviary.app
    for what, query in (("indexed", "SELECT name AS one FROM indexed"), ("reasons", "SELECT reason AS one FROM dead_letter")):
        aviary.ids[what] = " ".join(str(row["one"]) for row in rows(app, TENANT, query))
    aviary.look(storage_scan.postgres(app.settings, aviary.canaries.found))
    aviary.look(storage_scan.graph(app.endpoints))
    aviary.look(storage_scan.topic(app.endpoints.kafka_client(), outcomes_of(TENANT)))


def test_every_format_has_canaries(here: Path) -> None:
    page = (here / "docs/formats.md").read_text(encoding="utf-8").partition("\n## ")[0]
    assert sorted(re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)) == sorted(MAKERS)
    assert MAKERS.keys() == set(Format)


def test_what_was_planted_went_all_the_way_or_failed_in_many_ways(aviary: Aviary) -> None:
    endings = set(re.findall(r"as (\w+)\.", aviary.ids["indexed"]))
    # a picture without words has none to be found by; the others were deleted or erased
    assert {end for end, _ in MAKERS.values()} - endings <= {"png", "html", "tar", "eml"}
    assert set(aviary.ids["reasons"].split()) >= {
        "corrupt-document",
        "contract-violation",
        "not-cloudevents",
        "key-mismatch",
        "unknown-type",
    }


def test_every_command_did_what_it_was_told(aviary: Aviary) -> None:
    # of an id that nobody knows nothing can be explained, and what is outside of the contract cannot be replayed
    assert {words: code for words, code in aviary.codes.items() if code} == {"explain -t": 5, "replay dead-letters": 7}


def test_nothing_that_was_written_anywhere_holds_a_canary(aviary: Aviary) -> None:
    assert aviary.left() == {}


def test_principals_stand_in_clear_where_access_is_enforced_and_nowhere_else(aviary: Aviary) -> None:
    found = aviary.left(readers=True).keys()
    assert found >= ENFORCING
    kept = {where for where in found if KEPT_OF_THEM.fullmatch(where)} | {f"statistics of {column}" for column in ENFORCING}
    # `explain` tells an operator who may read a document, and an export whoever has to enforce it elsewhere
    assert found - ENFORCING - kept == {"explain", "export acl"}


def test_a_canary_would_have_been_found_wherever_there_was_one(aviary: Aviary) -> None:
    assert aviary.decoys("table") == {"decoy.text"}
    assert "decoy.bytes, unpacked" in aviary.decoys("UTF-16")
    assert any(where.startswith("postgres/data/base/") for where in aviary.decoys("UTF-16"))
    assert "decoy.packed, unpacked" in aviary.decoys("compressed")
    assert "Neo4j Decoy" in aviary.decoys("graph")
    assert any(where.startswith("neo4j/data/") for where in aviary.decoys("graph"))
    assert aviary.decoys("log") == {"logs/decoy.log"}
    assert outcomes_of(TENANT) in aviary.decoys("outcome") & aviary.decoys("outcome's key")


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
    plant = canaries.of("any")
    for text in (plant("address"), plant("address, half")[:9], plant.iban("IBAN"), *plant.disguised("text")):
        assert canaries.found(b"\0\x99 " + spelling(text) + b" \0"), "not found"
    assert canaries.found(b"Of no canary: qzv kj, 4539 1488, 453914880") == set()


# what leaves redaction, whatever stands where


class Drawn(Plant):
    """Gives a canary of any kind, or none, for each field."""

    def __init__(self, canaries: Canaries, name: str, draw: Random) -> None:
        super().__init__(canaries, name)
        self._draw = draw

    def __call__(self, field: str) -> str:
        address = super().__call__(field)
        kinds = (lambda: address, address.upper, lambda: self.iban(field), lambda: self.card(field), lambda: "nobody")
        return self._draw.choice(kinds)()

    def halves(self, field: str) -> tuple[str, str]:
        return Plant(self._canaries, self._name).halves(field)


@pytest.fixture(scope="module")
def redactor() -> Redactor:
    return Redactor(Privacy())


@effort(max_examples=60)
@given(kind=st.sampled_from(sorted(MAKERS)), seed=st.integers(0, 2**32), whole=st.booleans())
@example(kind=Format.EMAIL, seed=0, whole=True)
def test_no_field_of_any_format_ever_leaves_redaction_with_a_canary(
    app: Headrace, redactor: Redactor, kind: Format, seed: int, whole: bool
) -> None:
    canaries, (end, make) = Canaries(), MAKERS[kind]
    plant = Drawn(canaries, str(kind), Random(seed))
    content = make(plant) if whole else broken_off(make(plant))
    assert canaries.found(b"\n".join(leaving(app, redactor, f"{plant('id')}.{end}", content))) == set()


def leaving(app: Headrace, redactor: Redactor, name: str, content: bytes, media_type: str = "", depth: int = 0) -> Iterator[bytes]:
    """What becomes of a document and of those inside of it: what redaction gives, or the reason why it was not read."""
    try:
        parsed = decode(app.models.parsers.parse(content, media_type, name), Content)
    except DocumentError as error:
        yield str(error).encode()
        return
    record = {"document": "d", "input_key": "i", "envelope": encode(Envelope(name, "x")), "content": encode(replace(parsed, children=()))}
    (row,) = privacy.redact(pl.DataFrame([record], schema=dict(frames.PARSED)), redactor, KEYS).to_dicts()
    yield row["payload"] or row["detail"].encode()
    for child in parsed.children if depth < DEEPEST else ():
        yield from leaving(app, redactor, f"{name}!/{child.path}", child.content, child.media_type, depth + 1)


MASTER = b"k" * 32
KEYS = privacy.tenant_keys(MASTER, TENANT, privacy.new_data_key(MASTER, TENANT))
