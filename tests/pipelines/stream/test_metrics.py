"""The metrics page as Prometheus scrapes it: counts are right, labels are codes, and the list in the documentation is the list there is."""

from __future__ import annotations

import re
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from core.errors import ConfigurationError
from core.ledger.stage import Report
from events.landing import Landed
from events.publish import Publisher
from pipelines.app import Headrace
from pipelines.stream.metrics import HOST, Metrics, exposed, served
from pipelines.stream.observer import Heartbeat, Observer


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def page(metrics: Metrics) -> Iterator[str]:
    with served(metrics, 0) as port:
        yield f"http://{HOST}:{port}/metrics"


def scraped(page: str) -> list[Metric]:
    with urlopen(page, timeout=10) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        return list(text_string_to_metric_families(answer.read().decode()))


def values(page: str) -> dict[str, float]:
    """Each sample, as Prometheus writes it, without histograms' buckets."""
    return {
        f"{sample.name}{{{','.join(f'{k}={v}' for k, v in sorted(sample.labels.items()))}}}": sample.value
        for family in scraped(page)
        for sample in family.samples
        if not sample.name.endswith("_bucket")
    }


def beat(**changes: object) -> Heartbeat:
    return Heartbeat(**{"slot": "s1", "tenants": 2, "partitions": 6, "waiting": {}, "lag": {}, "waits": {}, **changes})  # type: ignore[arg-type]


def everything(metrics: Metrics) -> None:
    """One of each thing that a stream reports."""
    metrics.landed("acme", Landed(events=3, fates=Counter(landed=2, unchanged=1), reasons=Counter({"not-cloudevents": 1})), 0.02)
    metrics.ran("acme", Report("index", "acme", done=2, deleted=1, seconds=0.3, latencies=[0.2, 0.4, 9.0]))
    metrics.ran(
        "acme", Report("parse", "acme", failed=1, waiting=1, seconds=0.1, reasons=Counter({"corrupt-document": 1, "unavailable": 1}))
    )
    metrics.ran("acme", Report("index", "acme", tally=Counter({"chunks": 4, "maintenance/promotion/generations": 1})))
    metrics.maintained("acme", {"unused-vectors/vectors": 6})
    metrics.heartbeat(beat(lag={"acme": 5}, waiting={"acme": 7}, waits={"project": "Neo4j: ServiceUnavailable"}))


def test_the_page_counts_what_was_reported(metrics: Metrics, page: str) -> None:
    everything(metrics)
    metrics.landed("acme", Landed(events=1, fates=Counter(landed=1)), 0.03)
    found = values(page)
    assert found["headrace_events_total{fate=landed,tenant=acme}"] == 3
    assert found["headrace_events_total{fate=unchanged,tenant=acme}"] == 1
    assert found["headrace_documents_total{stage=index,status=done,tenant=acme}"] == 2
    assert found["headrace_documents_total{stage=index,status=deleted,tenant=acme}"] == 1
    assert found["headrace_failures_total{reason=not-cloudevents,stage=land,tenant=acme}"] == 1
    assert found["headrace_failures_total{reason=corrupt-document,stage=parse,tenant=acme}"] == 1
    assert found["headrace_stage_seconds_count{stage=land}"] == 2
    assert found["headrace_stage_seconds_sum{stage=land}"] == pytest.approx(0.05)
    assert found["headrace_latency_seconds_count{stage=index}"] == 3
    assert found["headrace_latency_seconds_sum{stage=index}"] == pytest.approx(9.6)
    assert found["headrace_maintenance_total{count=generations,task=promotion,tenant=acme}"] == 1
    assert found["headrace_maintenance_total{count=vectors,task=unused-vectors,tenant=acme}"] == 6
    assert found["headrace_lag_events{tenant=acme}"] == 5
    assert found["headrace_documents_in_flight{tenant=acme}"] == 7
    assert found["headrace_waits{stage=project}"] == 1
    assert (found["headrace_tenants{}"], found["headrace_partitions{}"], found["headrace_slot_up{slot=s1}"]) == (2, 6, 1)


def test_latency_has_buckets_around_the_goals(metrics: Metrics, page: str) -> None:
    everything(metrics)
    (family,) = [family for family in scraped(page) if family.name == "headrace_latency_seconds"]
    within = {sample.labels["le"]: sample.value for sample in family.samples if sample.name.endswith("_bucket")}
    assert (within["0.25"], within["1.0"], within["+Inf"]) == (1, 2, 3)


def test_a_tenant_that_is_gone_is_not_behind_and_a_server_that_is_back_is_not_waited_for(metrics: Metrics, page: str) -> None:
    everything(metrics)
    metrics.heartbeat(beat(lag={"globex": 0}))
    found = values(page)
    assert "headrace_lag_events{tenant=acme}" not in found
    assert found["headrace_lag_events{tenant=globex}"] == 0
    assert not any(name.startswith(("headrace_documents_in_flight", "headrace_waits")) for name in found)


def test_why_a_server_is_waited_for_is_not_on_the_page(metrics: Metrics, page: str) -> None:
    everything(metrics)
    with urlopen(page, timeout=10) as answer:
        assert b"ServiceUnavailable" not in answer.read()


def test_what_a_real_batch_came_to_is_on_the_page(metrics: Metrics, page: str, app: Headrace, acme: str) -> None:
    with Publisher(app.endpoints.kafka_client(), acme, "/wiki") as publisher:
        publisher.upsert("page", content="# Seals\n\nInspected once a year.", sequence=1, media_type="text/markdown")
        publisher.upsert("torn", content=b"PK\x03\x04 cut off", sequence=1)
    landed, reports = app.ingest(acme)
    metrics.landed(acme, landed, 0.1)
    for report in reports.values():
        metrics.ran(acme, report)
    found = values(page)
    assert found[f"headrace_events_total{{fate=landed,tenant={acme}}}"] == 2
    assert found[f"headrace_documents_total{{stage=index,status=done,tenant={acme}}}"] == 1
    assert found[f"headrace_failures_total{{reason=corrupt-document,stage=parse,tenant={acme}}}"] == 1


def test_two_slots_of_one_host_have_two_pages(metrics: Metrics) -> None:
    with served(metrics, 0) as first, served(Metrics(), first) as second:
        everything(metrics)
        assert second != first
        assert "headrace_slot_up{slot=s1}" in values(f"http://{HOST}:{first}/metrics")
        assert values(f"http://{HOST}:{second}/metrics").keys() == _UNLABELLED


_UNLABELLED = {"headrace_tenants{}", "headrace_partitions{}"}


def test_a_page_that_cannot_be_served_is_refused_with_the_setting() -> None:
    with pytest.raises(ConfigurationError, match=r"stream\.metrics_port.*203\.0\.113\.1:9464"), exposed(9464, "203.0.113.1"):
        pytest.fail("served")


def test_where_no_port_is_free_a_stream_does_not_start() -> None:
    with ExitStack() as taken:
        with suppress(OSError):  # somebody else has it
            taken.enter_context(socket.create_server((HOST, 65_535)))
        with pytest.raises(ConfigurationError, match="no free port from 65535 to 65535"), exposed(65_535):
            pytest.fail("served")


def test_without_a_port_nothing_is_counted_and_nothing_listens() -> None:
    with exposed(None) as listener:
        assert type(listener) is Observer


def test_the_page_of_operations_lists_exactly_the_metrics_with_their_labels(metrics: Metrics, page: str, here: Path) -> None:
    everything(metrics)
    # the server has its own, in a section after those of the stream
    text = (here / "docs/operations.md").read_text(encoding="utf-8").split("## The server")[0]
    listed = {
        name: (kind, _codes(labels)) for name, kind, labels in re.findall(r"^\| `(headrace_\w+)` \| (\w+) \| (.*?) \|", text, re.MULTILINE)
    }
    assert listed == {_full_name(family): (family.type, _labels(family)) for family in scraped(page)}


def _codes(cell: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", cell))


def _full_name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def _labels(family: Metric) -> set[str]:
    return {label for sample in family.samples for label in sample.labels} - {"le"}
