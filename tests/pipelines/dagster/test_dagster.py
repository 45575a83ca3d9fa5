"""Dagster's side: what a person sees of a run, what stops one, what starts one, and what never gets there."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from urllib.request import urlopen

import dagster as dg
import psutil
import pytest
import yaml
from dagster._core.instance.config import dagster_instance_config
from dagster_shared.serdes import serialize_value
from pydantic import SecretStr

import services
from assets import checks, stages
from assets.boundary import plain_failures
from assets.picture import stacked
from assets.runtime import RESOURCE
from core import artifacts
from core.config import Endpoints, Settings
from core.errors import HeadraceError, Unavailable
from core.records import Block, Redacted, decode, encode
from core.schema.migrate import migrate
from events.publish import Publisher
from pipelines.dagster import interrupted
from pipelines.dagster.runtime import Runtime
from pipelines.dagster.sensors import FIRST_PAUSE_S, LONGEST_PAUSE_S, STATE, lag_sensor, tenant_sensor
from pipelines.dagster.webserver import INSTANCE
from pipelines.definitions import build
from pipelines.governance.tenants import remove
from pipelines.stages.registry import NAMES
from quality.catalogue import NAMES as CHECKS
from tests.tenant_fixture import WIKI, publish

EMAIL, PHONE, IBAN, CARD = "jane.roe@example.com", "+49 30 901820", "DE89370400440532013000", "4111111111111111"
NAME = f"letters/{EMAIL}.md"
LETTER = f"""# DeadLetter of {EMAIL}

Call me at {PHONE}, or pay to {IBAN}. My card is {CARD}.

## Weir

The weir by the sawmill needs a new plank before the thaw.
"""
# two sections that are long enough for a chunk each
GUIDE = """# Guide

Grease the guide bearing every 250 operating hours, with the grease that the plate beside the pump names, until it comes out at the
shaft; wipe off what is left there.

## Seals

The seal is inspected once a year, when the pump stands still and is cold, by two people who know it; what they find is written down
in the book of the hall.
"""
PERSONAL = (EMAIL, PHONE, PHONE.replace(" ", ""), IBAN, CARD, "jane.roe", "sawmill", "guide bearing", "Guide", "guide.md", "broken.docx")


class Dagster:
    """The definitions on the session's Runtime, and an instance of their own."""

    def __init__(self, app: Runtime, instance: dg.DagsterInstance) -> None:
        self.app = app
        self.instance = instance
        self.job = build({RESOURCE: app}).resolve_job_def("ingest_tenant")

    def add(self, *tenants: str) -> None:
        self.instance.add_dynamic_partitions("tenants", tenants)

    def ingest(self, tenant: str, **tags: str) -> dg.ExecuteInProcessResult:
        self.add(tenant)
        return self.job.execute_in_process(instance=self.instance, partition_key=tenant, raise_on_error=False, tags=tags)

    def materialized(self, result: dg.ExecuteInProcessResult) -> dict[str, dict[str, Any]]:
        """Asset → its metadata."""
        found = [event.step_materialization_data.materialization for event in result.get_asset_materialization_events()]
        return {each.asset_key.to_user_string(): {key: value.value for key, value in each.metadata.items()} for each in found}

    def lag(self, *tenants: str) -> dg.SensorResult:
        self.add(*tenants)
        return self.evaluate(lag_sensor)

    def evaluate(self, sensor: dg.SensorDefinition) -> dg.SensorResult:
        result = sensor(dg.build_sensor_context(instance=self.instance), headrace=self.app)
        assert isinstance(result, dg.SensorResult)
        return result

    def everything(self) -> str:
        """All that the instance keeps of its runs, pictures decoded."""
        runs = self.instance.get_runs()
        kept = "\n".join(serialize_value(entry) for run in runs for entry in self.instance.all_logs(run.run_id))
        pictures = [b64decode(found).decode() for found in re.findall(r"base64,([A-Za-z0-9+/=]+)", kept)]
        return "\n".join([kept, *pictures, *(str(run.tags) for run in runs)])


@pytest.fixture
def dagster(app: Runtime) -> Iterator[Dagster]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield Dagster(app, instance)


def publish_all(app: Runtime, tenant: str) -> None:
    """Two good documents, one of them full of personal data down to its id, and a corrupt one."""
    publish(app, tenant, guide_md=GUIDE, broken_docx=b"PK\x03\x04 cut off")
    with Publisher(app.endpoints.kafka_client(), tenant, WIKI) as publisher:
        publisher.upsert(NAME, content=LETTER, file_name=NAME, title=f"From {EMAIL}", sequence=1, media_type="text/markdown")


def execute(app: Runtime, tenant: str, query: str) -> None:
    with app.session(tenant).transaction() as connection:
        connection.execute(query)


def test_the_definitions_load_and_show_every_stage_and_every_check() -> None:
    definitions = build()
    dg.Definitions.validate_loadable(definitions)
    assert [stage for declared in stages.STAGE_ASSETS for stage in declared.stages] == list(NAMES)
    assert {spec.name for check in checks.ALL for spec in check.check_specs} == set(CHECKS)


def test_importing_the_definitions_imports_nothing_heavy_and_warns_of_nothing() -> None:
    heavy = (
        "torch sentence_transformers transformers docling presidio_analyzer spacy great_expectations neo4j polars numpy "
        "confluent_kafka psycopg"
    )
    code = f"import sys, pipelines.definitions; print(*[name for name in {heavy.split()} if name in sys.modules])"
    found = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
    assert found.stderr == ""


def test_a_run_reports_counts_reasons_and_timings_and_a_second_one_does_nothing(app: Runtime, acme: str, dagster: Dagster) -> None:
    publish_all(app, acme)
    first = dagster.ingest(acme)
    assert first.success
    materialized = dagster.materialized(first)
    assert materialized["document_events"]["events/landed"] == materialized["document_events"]["now/live"] == 3
    parsed = materialized["parsed_documents"]
    assert (parsed["documents/done"], parsed["documents/failed"], parsed["now/done"], parsed["now/failed"]) == (2, 1, 2, 1)
    assert "| `corrupt-document` | 1 | 1 |" in parsed["reasons"]
    assert (materialized["chunks"]["now/done"], materialized["chunks"]["now/behind"], materialized["chunks"]["now/blocked"]) == (2, 0, 1)
    assert materialized["redacted_documents"]["redact/EMAIL"] > 0
    embedded = materialized["embeddings"]
    assert embedded["embed/embedded"] == embedded["embed/texts"] == materialized["chunks"]["chunk/chunks"] == 4
    assert materialized["embeddings"]["embed/cache_hits"] == 0
    assert materialized["embeddings"]["embed/tokens_per_second"] > 0
    assert {f"embed/{name}" for name in ("tokens", "padding_share", "backend", "device", "precision")} <= materialized["embeddings"].keys()
    assert materialized["vector_index"]["documents/done"] == materialized["knowledge_graph"]["project/documents/done"] == 2
    assert all(any(key.endswith("time/seconds") for key in metadata) for metadata in materialized.values())
    assert all(any(key.endswith("overview") for key in metadata) for asset, metadata in materialized.items() if asset != "maintenance")
    assert len(materialized) == 8

    again = dagster.materialized(dagster.ingest(acme))
    assert again["document_events"]["events"] == 0
    assert {key: n for key, n in _counts(again).items() if n} == {}
    assert again["embeddings"].get("embed/embedded", 0) == 0
    assert again["parsed_documents"]["now/done"] == 2
    assert "| `corrupt-document` | 0 | 1 |" in again["parsed_documents"]["reasons"]


def test_runs_take_turns_at_the_embedding_model(app: Runtime, acme: str) -> None:
    configured = yaml.safe_load(INSTANCE.format(runs=2))
    settings = {"concurrency": {"pools": configured["concurrency"]["pools"]}, "telemetry": configured["telemetry"]}
    publish(app, acme, guide_md=GUIDE)
    with dg.DagsterInstance.local_temp(overrides=settings) as instance, ThreadPoolExecutor(1) as pool:
        places, dagster = instance.event_log_storage, Dagster(app, instance)
        places.initialize_concurrency_limit_to_default(stages.EMBEDDER)
        assert places.claim_concurrency_slot(stages.EMBEDDER, "another run", "embeddings").is_claimed
        running = pool.submit(dagster.ingest, acme)
        _wait_until(lambda: places.get_concurrency_info(stages.EMBEDDER).pending_step_count == 1)
        assert app.stage_counts(acme, "chunk").documents["done"] == app.stage_counts(acme, "embed").documents["behind"] == 1
        places.free_concurrency_slots_for_run("another run")
        assert running.result(60).success
        assert places.get_concurrency_info(stages.EMBEDDER).active_slot_count == 0
    assert app.stage_counts(acme, "project").documents["done"] == 1


def _wait_until(true: Callable[[], bool]) -> None:
    until = monotonic() + 60
    while not true():
        assert monotonic() < until
        sleep(0.05)


def test_both_instances_give_a_pool_one_place_and_take_it_back_when_a_run_has_ended(here: Path, tmp_path: Path) -> None:
    (tmp_path / "dagster.yaml").write_text(INSTANCE.format(runs=2), encoding="utf-8")
    for folder in (tmp_path, here / "docker"):
        configured, _ = dagster_instance_config(str(folder))
        assert configured["concurrency"]["pools"] == {"granularity": "op", "default_limit": 1}
        # no launcher of ours can resume a run
        assert configured["run_monitoring"].pop("max_resume_run_attempts") == 0
        # at 0 seconds the daemon takes every run that starts or is cancelled for an error
        assert all(configured["run_monitoring"].values())
        assert "free_slots_after_run_end_seconds" in configured["run_monitoring"]


def test_a_run_does_the_maintenance_that_follows_no_stage_after_the_stages_and_shows_what_is_due(
    app: Runtime, acme: str, dagster: Dagster
) -> None:
    publish(app, acme, guide_md=GUIDE)
    assert dagster.ingest(acme).success
    execute(app, acme, "UPDATE lexicon SET behind = true")
    assert app.maintenance_due(acme) == ["terms"]
    assert [request.partition_key for request in dagster.lag(acme).run_requests or []] == [acme]
    result = dagster.ingest(acme)
    shown = dagster.materialized(result)["maintenance"]
    assert (shown["terms/passages"], shown["due"], shown["tasks due"]) == (2, "nothing", 0)
    assert [event.asset_key for event in result.get_asset_materialization_events()][-1] == dg.AssetKey("maintenance")
    assert not dagster.lag(acme).run_requests


def _counts(materialized: dict[str, dict[str, Any]]) -> dict[str, int]:
    """What this run did, over all its assets."""
    return {f"{asset}/{key}": n for asset, metadata in materialized.items() for key, n in metadata.items() if "documents/" in key}


def test_every_check_is_evaluated_for_the_tenant_and_passes_on_good_documents(app: Runtime, acme: str, dagster: Dagster) -> None:
    publish(app, acme, guide_md=GUIDE, second_md=GUIDE.replace("Guide", "Second").replace("250", "300"))
    evaluations = dagster.ingest(acme).get_asset_check_evaluations()
    assert {evaluation.check_name for evaluation in evaluations} == set(CHECKS)
    assert {evaluation.check_name: evaluation.description for evaluation in evaluations if not evaluation.passed} == {}
    assert {evaluation.partition for evaluation in evaluations} == {acme}


# unmistakable, and likely where there is enough of it
@pytest.mark.parametrize("leak", [EMAIL, "078-05-1120"])
def test_personal_data_that_redaction_left_stops_the_stages_below(app: Runtime, acme: str, dagster: Dagster, leak: str) -> None:
    publish(app, acme, guide_md=GUIDE, letter_md=LETTER)
    app.land(acme)
    app.run(acme, "parse")
    app.run(acme, "redact")
    session = app.session(acme)
    with session.transaction() as connection:
        keys = [row["document"] for row in connection.execute("SELECT document FROM stage_record WHERE stage = 'redact'").fetchall()]
        for document, payload in artifacts.get(connection, session.keys, "redact", keys).items():
            whole = decode(payload, Redacted)
            leaky = Redacted(whole.name, (*whole.blocks, Block(kind="paragraph", text=f"Ask for {leak}.")), whole.title)
            artifacts.put(connection, session.keys, "redact", {document: encode(leaky)})
    result = dagster.ingest(acme)
    assert not result.success
    assert [each.check_name for each in result.get_asset_check_evaluations() if not each.passed] == ["residual_pii"]
    assert set(dagster.materialized(result)) == {"document_events", "parsed_documents", "redacted_documents", "maintenance"}
    assert app.stage_counts(acme, "chunk").documents["behind"] == 2
    assert leak not in dagster.everything()


def test_nothing_that_came_out_of_a_document_is_in_dagsters_records(app: Runtime, acme: str, dagster: Dagster) -> None:
    publish_all(app, acme)
    requests = dagster.lag(acme).run_requests or []
    assert dagster.ingest(acme, **requests[0].tags).success
    kept = dagster.everything()
    assert "corrupt-document" in kept
    assert [value for value in PERSONAL if value in kept] == []
    with app.session(acme).transaction() as connection:
        documents = [row["document"] for row in connection.execute("SELECT document FROM document").fetchall()]
    assert [document for document in documents if document in kept] == []


def test_a_librarys_error_leaves_its_message_behind(dagster: Dagster) -> None:
    @dg.asset
    def quoting() -> None:
        with plain_failures():
            quote()

    def quote() -> None:
        try:
            int(EMAIL)
        except ValueError as error:
            raise TypeError(f"cannot read {IBAN!r}") from error

    result = dg.materialize([quoting], instance=dagster.instance, raise_on_error=False)
    assert not result.success
    kept = dagster.everything()
    assert EMAIL not in kept
    assert IBAN not in kept
    assert "TypeError" in kept
    assert "test_dagster.py" in kept


@pytest.mark.parametrize(("error", "again"), [(Unavailable("Kafka: timed out"), True), (HeadraceError("refused", reason="no"), False)])
def test_only_a_server_that_is_away_is_worth_another_try(error: HeadraceError, again: bool) -> None:
    with pytest.raises(dg.Failure) as caught, plain_failures():
        raise error
    assert caught.value.allow_retries is again
    assert caught.value.description == str(error)
    assert caught.value.metadata["reason"].value == error.reason


def test_without_neo4j_the_index_is_complete_and_the_graph_says_what_it_waits_for(
    settings: Settings, endpoints: Endpoints, app: Runtime, acme: str
) -> None:
    publish(app, acme, guide_md=GUIDE)
    nowhere = endpoints.model_copy(update={"neo4j_url": "bolt://127.0.0.1:9", "neo4j_password": SecretStr("none")})
    with Runtime(settings, nowhere) as cut_off:
        # the models are the session's: only the graph is away
        cut_off.models.__dict__.update({name: getattr(app.models, name) for name in ("redactor", "embedder", "chunker", "extractors")})
        *before, graph = stages.PIPELINE
        for asset in before:
            asset(_context(acme, cut_off))
        with pytest.raises(dg.Failure) as caught:
            graph(_context(acme, cut_off))
    assert caught.value.allow_retries
    assert "project waits: Neo4j" in str(caught.value.description)
    assert caught.value.metadata["graph/documents/done"].value == 1
    assert app.stage_counts(acme, "index").documents["done"] == app.stage_counts(acme, "project").documents["behind"] == 1


def _context(tenant: str, headrace: Runtime) -> dg.AssetExecutionContext:
    return dg.build_asset_context(partition_key=tenant, resources={RESOURCE: headrace})


def test_tenants_come_and_go_as_partitions(app: Runtime, acme: str, globex: str, dagster: Dagster) -> None:
    def evaluate() -> list[Any]:
        return list(dagster.evaluate(tenant_sensor).dynamic_partitions_requests or [])

    [added] = evaluate()
    assert isinstance(added, dg.AddDynamicPartitionsRequest)
    assert {acme, globex} <= set(added.partition_keys)
    dagster.add(*added.partition_keys)
    assert evaluate() == []
    remove(app, globex)
    [gone] = evaluate()
    assert isinstance(gone, dg.DeleteDynamicPartitionsRequest)
    assert list(gone.partition_keys) == [globex]


def test_each_tenant_that_lags_gets_one_run_and_the_others_none(app: Runtime, acme: str, globex: str, dagster: Dagster) -> None:
    idle = dagster.lag(acme, globex)
    assert not idle.run_requests
    assert f"{acme}: nothing to do." in str(idle.skip_reason)
    publish(app, acme, guide_md=GUIDE)
    publish(app, acme, second_md=GUIDE)
    [first] = dagster.lag(acme, globex).run_requests or []
    assert (first.partition_key, first.tags["headrace/events"]) == (acme, "2")
    [same] = dagster.lag(acme, globex).run_requests or []
    assert same.run_key == first.run_key
    publish(app, acme, third_md=GUIDE)
    [more] = dagster.lag(acme, globex).run_requests or []
    assert more.run_key != first.run_key
    app.ingest(acme)
    assert not dagster.lag(acme, globex).run_requests


def test_what_a_run_left_over_is_taken_up_without_new_events(app: Runtime, acme: str, dagster: Dagster) -> None:
    publish_all(app, acme)
    app.land(acme)
    app.run(acme, "parse")
    [cut_off] = dagster.lag(acme).run_requests or []
    assert (cut_off.tags["headrace/events"], cut_off.tags["headrace/left_over"]) == ("0", "2")
    app.ingest(acme)
    assert not dagster.lag(acme).run_requests

    execute(app, acme, "UPDATE stage_record SET status = 'waiting', next_attempt = now() + interval '1 h' WHERE stage = 'embed'")
    assert not dagster.lag(acme).run_requests
    execute(app, acme, "UPDATE stage_record SET next_attempt = now() WHERE stage = 'embed'")
    [due] = dagster.lag(acme).run_requests or []
    assert due.tags["headrace/left_over"] == "2"
    execute(app, acme, "UPDATE stage_record SET status = 'failed' WHERE stage = 'embed'")
    assert not dagster.lag(acme).run_requests


def test_a_tenant_has_one_run_at_a_time_and_one_that_failed_is_tried_again_later_and_later(
    app: Runtime, acme: str, dagster: Dagster, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(app, acme, guide_md=GUIDE)
    [request] = dagster.lag(acme).run_requests or []
    tags = {**request.tags, "dagster/partition": acme}
    run = dagster.instance.create_run_for_job(dagster.job, status=dg.DagsterRunStatus.STARTED, tags=tags)
    assert "a run is under way" in str(dagster.lag(acme).skip_reason)
    dagster.instance.report_run_failed(run)
    pauses = []
    for _ in range(7):
        skipped = dagster.lag(acme)
        assert not skipped.run_requests
        pauses += re.findall(r"next one in (\d+) s", str(skipped.skip_reason))
        dagster.instance.create_run_for_job(dagster.job, status=dg.DagsterRunStatus.FAILURE, tags=tags)
    expected = [min(FIRST_PAUSE_S * 2**tries, LONGEST_PAUSE_S) for tries in range(7)]
    assert [int(pause) for pause in pauses] == pytest.approx(expected, abs=20)
    publish(app, acme, second_md=GUIDE)
    [fresh] = dagster.lag(acme).run_requests or []
    assert fresh.run_key != request.run_key


def test_a_run_after_the_pause_is_a_new_request(app: Runtime, acme: str, dagster: Dagster, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(app, acme, guide_md=GUIDE)
    [request] = dagster.lag(acme).run_requests or []
    dagster.instance.create_run_for_job(dagster.job, status=dg.DagsterRunStatus.FAILURE, tags={**request.tags, "dagster/partition": acme})
    monkeypatch.setattr("pipelines.dagster.sensors.FIRST_PAUSE_S", 0.0)
    [again] = dagster.lag(acme).run_requests or []
    assert again.tags[STATE] == request.tags[STATE]
    assert again.run_key != request.run_key


def test_one_tenants_trouble_is_not_the_next_ones(app: Runtime, new_tenant: Any, dagster: Dagster) -> None:
    from events.kafka.topics import delete_topics

    broken, sound = sorted([new_tenant(), new_tenant()])
    publish(app, sound, guide_md=GUIDE)
    delete_topics(app.endpoints.kafka_client(), broken)
    [request] = dagster.lag(broken, sound).run_requests or []
    assert request.partition_key == sound


def test_runs_of_a_ui_that_was_killed_do_not_block_their_tenant(dagster: Dagster) -> None:
    started = dagster.instance.create_run_for_job(dagster.job, status=dg.DagsterRunStatus.STARTED)
    waiting = dagster.instance.create_run_for_job(dagster.job, status=dg.DagsterRunStatus.NOT_STARTED)
    assert interrupted.fail(dagster.instance) == 1
    status = {run.run_id: run.status for run in dagster.instance.get_runs()}
    assert status == {started.run_id: dg.DagsterRunStatus.FAILURE, waiting.run_id: dg.DagsterRunStatus.NOT_STARTED}


def test_a_picture_shows_one_failure_in_a_million_and_says_it_in_words() -> None:
    markdown = stacked({"now": {"done": 1_000_000, "failed": 1, "waiting": 0}})
    svg = b64decode(markdown.split("base64,")[1].rstrip(")")).decode()
    widths = [float(width) for width in re.findall(r'width="([\d.]+)" height="14"', svg)]
    assert len(widths) == 2
    assert min(widths) >= 2
    assert "now: 1000000 done, 1 failed" in markdown


@pytest.fixture
def own_records(tmp_path: Path, endpoints: Endpoints) -> Iterator[dict[str, str]]:
    """The environment of a Runtime with a Postgres of its own and no tenants, so that its sensors find none of the other tests'."""
    kafka = endpoints.kafka_client()
    given = {
        "HEADRACE_DATA_DIR": str(tmp_path),
        "HEADRACE_KAFKA__BOOTSTRAP": kafka["bootstrap.servers"],
        "HEADRACE_KAFKA__PROTOCOL": kafka["security.protocol"],
        "HEADRACE_KAFKA__MECHANISM": kafka["sasl.mechanism"],
        "HEADRACE_KAFKA__USERNAME": kafka["sasl.username"],
        "HEADRACE_KAFKA__PASSWORD": kafka["sasl.password"],
        "HEADRACE_NEO4J__URL": endpoints.neo4j_url,
        "HEADRACE_NEO4J__PASSWORD": endpoints.neo4j_password.get_secret_value(),
    }
    with pytest.MonkeyPatch.context() as patch:
        for name, value in given.items():
            patch.setenv(name, value)
        settings = Settings()
        migrate(services.up(settings).postgres_owner.get_secret_value())
    try:
        yield {**os.environ, **given}
    finally:
        services.down(settings)


def ui(environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from pipelines.cli import main; main()", "ui", "--port", "0"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def address_of(server: subprocess.Popen[str]) -> str:
    assert server.stdout
    said = server.stdout.readline()
    found = re.search(r"http://127\.0\.0\.1:\d+", said)
    assert found, said
    return found[0]


def below(server: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(server.pid).children(recursive=True)


def test_the_ui_answers_runs_once_and_leaves_no_process_behind_even_where_it_was_killed(own_records: dict[str, str]) -> None:
    with ui(own_records) as killed:
        address_of(killed)
        orphans = below(killed)
        killed.kill()
    with ui(own_records) as server:
        with urlopen(f"{address_of(server)}/server_info", timeout=10) as answer:
            assert "dagster_webserver_version" in answer.read().decode()
        with ui(own_records) as second:
            assert "ui-runs-already" in second.communicate(timeout=60)[0]
        started = below(server)
        assert len(started) >= 4
        server.send_signal(signal.SIGTERM)
        assert server.wait(60) == 0
    _, alive = psutil.wait_procs([*orphans, *started], timeout=60)
    assert alive == []
