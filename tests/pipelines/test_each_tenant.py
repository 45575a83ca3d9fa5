"""The loop over tenants: whatever happens to one of them, each other one is attempted, once, and what became of whom is known."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.config import Settings
from core.errors import ConfigurationError, DocumentError, HeadraceError, LostRace, PolicyError, TenantError, Unavailable, described
from core.tenancy import PostgresUnavailable, Tenant
from events.kafka.client import KafkaUnavailable
from pipelines.app import Headrace
from pipelines.each_tenant import Attempt, by_error, each_tenant
from pipelines.governance.tenants import remove

ERRORS: list[Callable[[], Exception]] = [
    *(partial(kind, "of this tenant") for kind in (HeadraceError, PolicyError, TenantError, ConfigurationError, DocumentError, LostRace)),
    # of a server that answers the others
    *(partial(kind, "of this tenant") for kind in (Unavailable, PostgresUnavailable, KafkaUnavailable)),
    partial(HeadraceError, "of this tenant's topic", reason="kafka-refused"),
    partial(OSError, 13, "Permission denied"),
    partial(ValueError, "jane.roe@example.com"),
    MemoryError,
    StopIteration,
]


@pytest.fixture(scope="module")
def three(app: Headrace) -> Iterator[list[Tenant]]:
    """Three tenants of this module, by name."""
    from pipelines.governance.tenants import add

    names = ["each-a", "each-b", "each-c"]
    for name in names:
        add(app, name)
    yield [app.database.get(name) for name in names]
    for name in names:
        remove(app, name)


@given(st.lists(st.sampled_from([None, *ERRORS]), min_size=3, max_size=3))
def test_whatever_becomes_of_a_tenant_every_other_one_is_attempted(
    app: Headrace, three: list[Tenant], raised: list[Callable[[], Exception] | None]
) -> None:
    errors, attempted = dict(zip([tenant.tenant for tenant in three], raised, strict=True)), list[str]()

    def do(tenant: Tenant) -> str:
        attempted.append(tenant.tenant)
        if error := errors[tenant.tenant]:
            raise error()
        return f"of {tenant.tenant}"

    made = list(each_tenant(app, do, three))
    assert [attempt.tenant for attempt in made] == attempted == list(errors)
    for attempt in made:
        expected = errors[attempt.tenant]
        assert attempt.result == (None if expected else f"of {attempt.tenant}")
        assert (attempt.error and attempt.error.reason) == (described(expected()).reason if expected else None)
    assert "jane" not in " ".join(str(attempt) for attempt in made)


def test_an_error_that_nobody_foresaw_is_named_by_its_type_alone_and_has_its_cause() -> None:
    cause = ValueError("jane.roe@example.com")
    found = described(cause)
    assert (found.reason, found.detail, found.__cause__) == ("bug", "unexpected ValueError", cause)
    assert described(PermissionError(13, "Permission denied", "/secret/path")).detail == "Permission denied"


def test_without_its_server_nobody_is_attempted_in_vain(
    settings: Settings, app: Headrace, three: list[Tenant], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("events.kafka.reader.REQUEST_S", 1.0)
    attempted: list[str] = []
    with Headrace(settings, app.endpoints.model_copy(update={"kafka_username": "nobody"})) as refused:

        def land(tenant: Tenant) -> None:
            attempted.append(tenant.tenant)
            refused.land(tenant.tenant)

        made = list(each_tenant(refused, land, three))
    assert attempted == [three[0].tenant]
    assert all(attempt.error and "Kafka" in attempt.error.detail for attempt in made)


def test_a_tenant_that_is_removed_meanwhile_is_nobodys_trouble(app: Headrace, acme: str, globex: str) -> None:
    def do(tenant: Tenant) -> NoReturn:
        if tenant.tenant == acme:
            remove(app, acme)
        app.session(tenant.tenant)
        raise LostRace("of this tenant")

    made = list(each_tenant(app, do, [app.database.get(acme), app.database.get(globex)]))
    assert [attempt.tenant for attempt in made] == [globex]


def test_tenants_with_the_same_error_are_told_together() -> None:
    made: list[Attempt[None]] = [Attempt("well"), Attempt("other", error=LostRace("lost"))]
    made += [Attempt(f"t{number}", error=Unavailable("away")) for number in range(12)]
    found = {error.detail: tenants for error, tenants in by_error(made)}
    assert found == {"lost": "other", "away": "t0, t1, t2, t3, t4 and 7 more"}
