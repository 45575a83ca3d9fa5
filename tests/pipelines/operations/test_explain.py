"""Explanations of documents, finding documents, and the doctor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from pydantic import SecretStr

from core.config import Postgres, Settings
from core.errors import HeadraceError, TenantError
from events.publish import Publisher
from pipelines import documents
from pipelines.app import Headrace
from pipelines.governance import tenants
from pipelines.operations import explain, status
from pipelines.operations.doctor import Finding, diagnose
from pipelines.operations.lag import lag
from tests.tenant_fixture import publish, rows, verdict

PAGE = "# Seals\n\nThe shaft seal of the {} is inspected once a year.\n"
CORRUPT = b"PK\x03\x04 cut off"


@pytest.fixture
def graphless(settings: Settings, app: Headrace) -> Iterator[Headrace]:
    """Headrace where Neo4j does not answer: nothing listens at port 1."""
    with Headrace(settings, app.endpoints.model_copy(update={"neo4j_url": "bolt://127.0.0.1:1"})) as headrace:
        yield headrace


def test_a_verdict_names_the_stage_that_a_document_waits_for(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, page=PAGE.format("pump"))
    app.land(acme)
    assert verdict(app, acme, "page") == "not searchable: waits for parse; `headrace ingest` runs it"
    for stage in ("parse", "redact", "chunk", "embed", "index"):
        app.run(acme, stage)
    assert verdict(app, acme, "page") == "searchable; the graph lags: waits for graph; `headrace ingest` runs it"
    app.ingest(acme)
    assert verdict(app, acme, "page") == "searchable"


def test_a_verdict_says_that_an_older_version_is_searchable(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, page=PAGE.format("pump"))
    app.ingest(acme)
    publish(app, acme, 2, page=PAGE.format("turbine"))
    app.land(acme)
    assert verdict(app, acme, "page").startswith("an older version is searchable: waits for parse")
    publish(app, acme, 3, page=CORRUPT)
    app.ingest(acme)
    assert verdict(app, acme, "page") == "an older version is searchable: parse failed with corrupt-document"


def test_a_verdict_says_who_can_read_it_and_what_is_deleted(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, acl=[], page=PAGE.format("pump"))
    app.ingest(acme)
    assert verdict(app, acme, "page") == "indexed, but its acl lets nobody read it"
    publish(app, acme, 2, page=None)
    app.land(acme)
    assert verdict(app, acme, "page").startswith("deleted; its tombstone keeps the sequence; still to pass: parse")
    app.ingest(acme)
    assert verdict(app, acme, "page") == "deleted; its tombstone keeps the sequence"


def test_a_document_whose_every_event_was_refused_is_explained_by_its_dead_letters(app: Headrace, acme: str) -> None:
    with Publisher(app.endpoints.kafka_client(), acme, "/wiki") as publisher:
        publisher._producer.produce(f"documents.{acme}", b"not an event", b"page")
    app.land(acme)
    (explained,) = explain.explain(app, acme, "page")
    assert explained.state is None
    assert explained.verdict == "not searchable: every event of it was refused, see its dead letters"
    assert [letter.reason for letter in explained.dead_letters] == ["not-cloudevents"]


def test_a_chunk_stands_for_every_document_that_has_it(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, page=PAGE.format("pump"), copy=PAGE.format("pump"))
    app.ingest(acme)
    (chunk,) = rows(app, acme, "SELECT text_hash FROM chunk")
    explained = explain.explain(app, acme, chunk["text_hash"])
    assert {document.document for document in explained} == {documents.find_document(app, acme, name) for name in ("page", "copy")}
    assert [document.index[0].shares_with for document in explained] == [1, 1]


def test_a_document_is_explained_without_neo4j(app: Headrace, graphless: Headrace, acme: str) -> None:
    publish(app, acme, 1, page=PAGE.format("pump"))
    app.ingest(acme)
    (explained,) = explain.explain(graphless, acme, "page")
    assert explained.verdict == "searchable"
    assert list(msgspec.to_builtins(explained.graph)) == ["unavailable"]


def test_an_unknown_id_is_refused_and_not_repeated(app: Headrace, acme: str) -> None:
    with pytest.raises(HeadraceError) as refused:
        explain.explain(app, acme, "jane.roe@example.com")
    assert refused.value.reason == "unknown-document"
    assert "jane" not in str(refused.value)


def test_what_has_not_landed_is_counted(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, page=PAGE.format("pump"), other=PAGE.format("turbine"))
    assert lag(app, acme).events == 2
    app.land(acme)
    assert lag(app, acme).events == 0
    assert status.overview(app, acme).not_indexed == 2


def test_an_id_that_reads_like_another_documents_key_is_the_document_that_has_it(app: Headrace, acme: str) -> None:
    publish(app, acme, 1, page=PAGE.format("pump"))
    app.land(acme)
    key = documents.find_document(app, acme, "page")
    assert documents.find_document(app, acme, key) == key
    publish(app, acme, 1, {key: PAGE.format("turbine")})
    app.land(acme)
    assert documents.find_document(app, acme, key) != key


def test_a_recreated_tenant_has_its_new_key_in_a_process_that_knew_the_old_one(app: Headrace, acme: str) -> None:
    old = app.session(acme).keys.digest(b"value", "test")
    tenants.remove(app, acme)
    with pytest.raises(TenantError):
        app.session(acme)
    tenants.add(app, acme)
    assert app.session(acme).keys.digest(b"value", "test") != old


def findings_of(settings: Settings) -> dict[str, Finding]:
    return {finding.what: finding for finding in diagnose(settings)}


def test_the_doctor_finds_running_servers_well(settings: Settings, app: Headrace) -> None:
    findings = findings_of(settings)
    # examinations of every tenant also find what other tests did to theirs
    ours = (
        "configuration",
        "postgres, as pipeline",
        "postgres, as reader",
        "postgres, for dagster",
        "neo4j",
        "migrations",
        "embedding model",
    )
    assert [findings[what] for what in ours if not findings[what].well] == []
    assert {"kafka", "row-level security", "master key and tenants' keys", "tenants' roles", "redaction"} <= findings.keys()


def test_the_doctor_names_the_rights_that_a_login_has_too_many(settings: Settings, app: Headrace) -> None:
    urls = {"owner": "owner", "pipeline": "owner", "reader": "reader", "dagster": "dagster"}
    swapped = {f"{role}_url": getattr(app.endpoints, f"postgres_{login}") for role, login in urls.items()}
    given = settings.model_copy(update={"postgres": Postgres(**swapped), "master_key": app.endpoints.master_key})
    finding = findings_of(given)["postgres, as pipeline"]
    assert not finding.well
    assert finding.found == "its role has more rights than it needs: inherits, makes roles, owns"


def test_the_doctor_sees_a_wrong_master_key(settings: Settings, app: Headrace, acme: str) -> None:
    finding = findings_of(settings.model_copy(update={"master_key": SecretStr("A" * 43 + "=")}))["master key and tenants' keys"]
    assert not finding.well
    assert "master_key" in finding.remedy


def test_the_doctor_says_what_to_do_where_nothing_runs(settings: Settings, tmp_path: Path) -> None:
    findings = findings_of(settings.model_copy(update={"data_dir": tmp_path}))
    assert findings["servers"] == Finding("servers", well=False, found="Postgres is not running", remedy="Run `headrace up`.")
    assert list(findings) == ["configuration", "servers"]
