"""docs/events.md agrees with the contract: its examples are valid events, and its tables are complete."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage

from core.fates import FATES
from core.records import decode
from events import contract, fencing
from events.contract import DELETE, UPSERT, Event, KafkaRecord, read
from events.outcomes import Outcome
from events.validation import SCHEMA as SCHEMA_FILE

PAGE = (Path(__file__).parents[2] / "docs/events.md").read_text(encoding="utf-8")
SCHEMA = json.loads((Path(contract.__file__).parent / SCHEMA_FILE).read_text(encoding="utf-8"))
STRUCTURED = (("content-type", b"application/cloudevents+json"),)


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)


def accepted(key: bytes, value: bytes, headers: Any) -> Event:
    outcome = read(KafkaRecord("documents.acme", 0, 5, 1_700_000_000_000, key, value, tuple(headers)))
    assert isinstance(outcome, Event), outcome.reason
    return outcome


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    """The first Python example, run."""
    names: dict[str, Any] = {}
    exec(compile(blocks("python")[0], "docs/events.md", "exec"), names)
    return names


@pytest.mark.parametrize("mode", ["structured", "binary"])
def test_the_python_example_makes_a_valid_record(example: dict[str, Any], mode: str) -> None:
    record: KafkaMessage = example[mode](example["upsert"]("contracts/riverside.docx", b"PK\x03\x04", sequence=17))
    found = accepted(str(record.key).encode(), record.value, record.headers.items())
    assert (found.document_name, found.operation, found.source) == ("contracts/riverside.docx", "upsert", "/dms")
    assert (found.sequence, found.sequence_explicit, found.content) == (17, True, b"PK\x03\x04")
    assert found.time is not None


def test_the_python_example_that_sends_is_python() -> None:
    assert compile(blocks("python")[1], "docs/events.md", "exec")


@pytest.mark.parametrize(("number", "operation"), [(0, "upsert"), (1, "upsert"), (2, "delete")])
def test_each_json_example_is_a_valid_event(number: int, operation: str) -> None:
    text = blocks("json")[number]
    found = accepted(json.loads(text)["subject"].encode(), text.encode(), STRUCTURED)
    assert found.operation == operation


def test_the_outcome_example_is_valid_and_the_table_has_every_field() -> None:
    shown = blocks("json")[3]
    assert decode(shown.encode(), Outcome).outcome == "indexed"
    section = PAGE.split("## Outcomes")[1].split("## Size")[0]
    named = [name for row in re.findall(r"^\| (`.+?) \|", section, re.MULTILINE) for name in re.findall(r"`([a-z_-]+)`", row)]
    outcomes = ["indexed", "deleted", "unchanged", "superseded", "unknown-document", "dead-lettered"]
    assert named == [*outcomes, *Outcome.__struct_fields__]
    assert list(json.loads(shown)) == list(Outcome.__struct_fields__)


def test_every_field_of_the_schema_is_in_the_tables() -> None:
    described = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    fields = set(SCHEMA["properties"]) | set(SCHEMA["$defs"]["upsert"]["properties"]) | set(SCHEMA["$defs"]["delete"]["properties"])
    assert fields - {"data_base64"} <= described


def test_both_types_and_every_reason_and_fate_are_on_the_page() -> None:
    reasons = {contract.NOT_CLOUDEVENTS, contract.VIOLATION, contract.UNSUPPORTED_VERSION, contract.UNKNOWN_TYPE, contract.KEY_MISMATCH}
    for code in {UPSERT, DELETE} | reasons | set(fencing.REFUSALS) | set(FATES):
        assert f"`{code}`" in PAGE
