"""The demo succeeds twice in a row, and nothing that it stores contains the samples' personal data in clear."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import neo4j
import psycopg
import pytest
from psycopg.rows import tuple_row

import samples.demo
import services
from core.config import Settings
from core.policy import Privacy
from samples import FOLDER
from services import passwords
from services.files import layout

pytestmark = pytest.mark.servers

PII: dict[str, list[dict[str, str]]] = json.loads((FOLDER / "pii.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def demo(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The demo, run twice on its own servers, so that only the demo has written there. Uses the names model that `make demo` uses."""
    named = Privacy(profile="names", names_model="en_core_web_sm")
    own = settings.model_copy(update={"data_dir": tmp_path_factory.mktemp("demo"), "privacy": named})
    try:
        samples.demo.run(own)
        samples.demo.run(own)
        yield own
    finally:
        services.down(own)


def pii_values(*kinds: str) -> set[str]:
    """Return the known values of these kinds."""
    return {entry["value"] for entries in PII.values() for entry in entries if entry["kind"] in kinds}


def variants(value: str) -> set[str]:
    """Return the ways in which a value could be written: with and without its separators."""
    return {value, re.sub(r"[\s()-]", "", value)}


REDACTED = sorted({written for value in pii_values("EMAIL", "PHONE", "IBAN", "CARD") for written in variants(value)})
NAMES = sorted(pii_values("PERSON"))


def found_in(haystack: str | bytes) -> set[str]:
    """Return the known values that occur in the text, of the kinds that patterns find."""
    if isinstance(haystack, bytes):
        lowered = haystack.lower()
        return {value for value in REDACTED if value.lower().encode() in lowered}
    return {value for value in REDACTED if value.lower() in haystack.lower()}


def cells(url: str) -> Iterator[tuple[str, str]]:
    """Yield (table, row as text) for every table of a database. Reads as the superuser, to whom row-level security does not apply."""
    with psycopg.connect(url, row_factory=tuple_row) as connection:
        tables = connection.execute(
            "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        for (table,) in tables:
            for row in connection.execute("SELECT t::text FROM " + table + " t"):
                yield table, row[0]


def superuser(settings: Settings, database: str) -> str:
    """Return the URL of the embedded server's superuser for this database."""
    secret = passwords.read(layout(settings))["postgres_superuser"].get_secret_value()
    address = next(status.address for status in services.status(settings) if status.name == "postgres")
    return f"postgresql://postgres:{secret}@{address}/{database}"


def test_no_table_contains_a_personal_value(demo: Settings) -> None:
    leaks = {(table, value) for table, row in cells(superuser(demo, "headrace")) for value in found_in(row)}
    assert {table for table, _ in leaks} == set()


def test_at_most_a_tenth_of_the_names_are_left_in_the_index(demo: Settings) -> None:
    """The small model misses some names, so this limits the share that it misses."""
    index = "\n".join(row for table, row in cells(superuser(demo, "headrace")) if ".chunk" in table or ".indexed" in table)
    missed = {name for name in NAMES if name in index}
    assert len(missed) <= len(NAMES) // 10


def test_no_file_of_postgres_contains_a_personal_value(demo: Settings) -> None:
    data = layout(demo).home("postgres")
    leaks = {path.relative_to(data) for path in data.rglob("*") if path.is_file() and found_in(path.read_bytes())}
    assert leaks == set()


def test_no_log_contains_a_personal_value(demo: Settings) -> None:
    logs = [
        path for path in demo.data_dir.rglob("*") if path.is_file() and (path.suffix in {".log", ".out", ".txt"} or "logs" in path.parts)
    ]
    assert logs
    assert {path.name for path in logs if found_in(path.read_bytes())} == set()


def test_no_property_in_neo4j_contains_a_personal_value(demo: Settings) -> None:
    endpoints = services.endpoints(demo)
    auth = (endpoints.neo4j_username, endpoints.neo4j_password.get_secret_value())
    with neo4j.GraphDatabase.driver(endpoints.neo4j_url, auth=auth) as driver:
        nodes = driver.execute_query("MATCH (n) RETURN properties(n) AS properties").records
        edges = driver.execute_query("MATCH ()-[r]->() RETURN properties(r) AS properties").records
    everything: list[dict[str, Any]] = [record["properties"] for record in (*nodes, *edges)]
    assert len(everything) > 100
    assert sum(bool(found_in(json.dumps(properties, default=str))) for properties in everything) == 0


def test_the_receipt_contains_nothing_that_was_erased(demo: Settings) -> None:
    receipt = (demo.data_dir / "receipt.json").read_text(encoding="utf-8")
    assert json.loads(receipt)["complete"]
    assert found_in(receipt) == set()
    assert "jane" not in receipt.lower()


def test_the_scan_would_find_a_personal_value(tmp_path: Path) -> None:
    (tmp_path / "leak.log").write_text(f"oops {REDACTED[0]}", encoding="utf-8")
    assert found_in((tmp_path / "leak.log").read_bytes()) == {REDACTED[0]}
