"""A document of low quality is quarantined, not dropped; an operator may release that content and no other."""

from __future__ import annotations

import pytest

from core.errors import HeadraceError
from pipelines.app import Headrace
from pipelines.governance import tenants
from pipelines.governance.quarantine import release
from pipelines.operations import dead_letters
from pipelines.operations.search import ask
from tests.tenant_fixture import publish

GARBAGE = "\n\n".join(
    f"Th\ufffd sh\ufffdft s\ufffd\ufffdl n\ufffd. {n} w\ufffds \ufffd\ufffdspect\ufffdd l\ufffdst y\ufffd\ufffdr." for n in range(20)
)


def publish_scan(app: Headrace, tenant: str, text: str, sequence: int) -> None:
    publish(app, tenant, sequence, {"scan.txt": text}, media_type="text/plain")


def reasons(app: Headrace, tenant: str) -> list[tuple[str, str]]:
    app.ingest(tenant)
    return [(letter.stage, letter.reason) for letter in dead_letters.open_letters(app, tenant)]


def test_what_can_be_read_only_badly_is_put_aside_until_somebody_lets_it_pass(app: Headrace, acme: str) -> None:
    publish_scan(app, acme, GARBAGE, 1)
    assert reasons(app, acme) == [("parse", "low-quality-text")]
    assert not ask(app, acme, "shaft seal")
    release(app, acme, "scan.txt")
    assert reasons(app, acme) == []
    assert ask(app, acme, "shaft seal")[0].citations[0].document == "scan.txt"
    publish_scan(app, acme, GARBAGE + " And m\ufffdr\ufffd.", 2)
    assert reasons(app, acme) == [("parse", "low-quality-text")], "other content is judged again"


def test_a_tenants_thresholds_decide(app: Headrace, acme: str) -> None:
    tenants.configure(app, acme, reading={"most_replaced": 1.0, "least_wordlike": 0.0})
    publish_scan(app, acme, GARBAGE, 1)
    assert reasons(app, acme) == []


def test_a_document_that_is_not_quarantined_cannot_be_released(app: Headrace, acme: str) -> None:
    publish_scan(app, acme, "The shaft seal is inspected once a year.", 1)
    app.ingest(acme)
    with pytest.raises(HeadraceError) as refused:
        release(app, acme, "scan.txt")
    assert refused.value.reason == "not-put-aside"


def test_a_document_quarantined_by_the_profile_passes_redacted_once_released(app: Headrace, acme: str) -> None:
    tenants.configure(app, acme, privacy={"actions": {"IBAN": "quarantine"}})
    publish_scan(app, acme, "Pay the shaft seal to DE89 3704 0044 0532 0130 00, please.", 1)
    assert reasons(app, acme) == [("redact", "quarantined-by-policy")]
    release(app, acme, "scan.txt")
    assert reasons(app, acme) == []
    (found,) = ask(app, acme, "shaft seal")
    assert "<IBAN:" in found.text
    assert "DE89" not in found.text
