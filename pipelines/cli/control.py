"""Tenants and dead letters."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any

from core.errors import PolicyError
from core.freshness import FRESHNESS
from pipelines.app import Headrace
from pipelines.cli.output import builtins, print_json, print_record, print_rows, without

IN_PART = 7
"""The exit code where something was done and something else was not; the output says what."""


@contextmanager
def opened() -> Iterator[Headrace]:
    """Headrace on the configuration of this working directory and on servers that run."""
    import services
    from core.config import load

    settings = load()
    with Headrace(settings, services.endpoints(settings)) as headrace:
        yield headrace


def add(name: str, wishes: Sequence[str], freshness: float | None = None, *, as_json: bool) -> None:
    from core.tenancy import valid_tenant
    from pipelines.governance import audit, tenants

    with opened() as headrace:
        configuration = tenants.checked(headrace.settings, _configuration(wishes, freshness))
        with audit.recorded(headrace, "tenant-add", valid_tenant(name), settings=_settings(configuration)):
            # first, and it may be repeated: a tenant that is there has its publisher, or one that somebody else looks after
            publisher = _authorize(headrace, name)
            tenants.add(headrace, name, configuration)
    print_record({"tenant": name, "topic": f"documents.{name}", **publisher}, as_json=as_json, title="Tenant added")


def configure(name: str, wishes: Sequence[str], freshness: float | None = None, *, as_json: bool) -> None:
    from pipelines.governance import audit, tenants
    from pipelines.governance.legal_hold import held
    from pipelines.sealed_settings import counted

    with opened() as headrace:
        before = headrace.database.get(name).configuration
        changes = _configuration(wishes, freshness, before)
        settings = [name for name, value in _each(changes) if dict(_each(before)).get(name) != value]
        action = "legal-hold" if _HOLD in settings else "tenant-set"
        with audit.recorded(headrace, action, name, settings=settings) as act:
            tenants.configure(headrace, name, **changes)
            act.details.update({"held": held(headrace, name)} if _HOLD in settings else {})
        configuration = counted(headrace.database.get(name).configuration)
    print_record({"tenant": name, "configuration": configuration}, as_json=as_json, title="Tenant changed")


def _configuration(wishes: Sequence[str], freshness: float | None, before: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """`SECTION.KEY=VALUE` as a tenant's configuration has it, beside what its sections hold already; a value may be JSON."""
    changed: dict[str, Any] = {} if freshness is None else {FRESHNESS: freshness}
    for wish in wishes:
        (section, _, key), value = (part := wish.partition("="))[0].partition("."), part[2]
        if not (key and part[1]):
            raise PolicyError(f"a setting is SECTION.KEY=VALUE, was: {wish!r:.200}")
        changed[section] = {**before.get(section, {}), **changed.get(section, {}), key: _value(value)}
    return changed


_HOLD = "retention.legal_hold"


def _settings(configuration: Mapping[str, Any]) -> list[str]:
    """The names of what is set, without what it is set to."""
    return [name for name, _ in _each(configuration)]


def _each(configuration: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for section, keys in sorted(configuration.items()):
        yield from ((f"{section}.{key}", value) for key, value in sorted(keys.items())) if isinstance(keys, dict) else [(section, keys)]


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _authorize(headrace: Headrace, tenant: str) -> dict[str, Any]:
    """The tenant's publisher and where its password is, or why this Kafka has none that we made."""
    import services
    from core.errors import HeadraceError
    from services.files import layout

    try:
        username, _ = services.authorize_publisher(headrace.settings, tenant, headrace.endpoints)
    except HeadraceError as error:
        if error.reason != _UNMANAGED:
            raise
        return {"publisher": None, "password": f"{error.detail}. {error.remedy}"}
    return {"publisher": username, "password": f"kafka_publisher.{tenant} in {layout(headrace.settings).secrets}"}


_UNMANAGED = "kafka-not-authorized"


def list_all(*, as_json: bool) -> None:
    from pipelines.operations.status import overview

    with opened() as headrace:
        rows = [builtins(overview(headrace, tenant.tenant)) for tenant in headrace.tenants()]
    print_rows(rows, as_json=as_json, title="Tenants", empty="no tenants yet: `headrace tenant add NAME`")


def remove(name: str, *, as_json: bool) -> None:
    from pipelines.governance import audit, tenants
    from pipelines.governance.legal_hold import refuse_held

    with opened() as headrace, audit.recorded(headrace, "tenant-remove", headrace.database.get(name).tenant):
        refuse_held(headrace, name)
        # first: what cannot be published any more cannot come in between
        revoke(headrace, name)
        tenants.remove(headrace, name)
    print_record({"removed": name}, as_json=as_json)


def revoke(headrace: Headrace, tenant: str) -> None:
    """Take the tenant's publisher away, where its Kafka has one that we made."""
    import services
    from core.errors import HeadraceError

    try:
        services.revoke_publisher(headrace.settings, tenant, headrace.endpoints)
    except HeadraceError as error:
        if error.reason != _UNMANAGED:
            raise


def dead_letters(tenant: str, *, as_json: bool) -> None:
    from pipelines.operations.dead_letters import open_letters

    with opened() as headrace:
        rows = [builtins(letter) for letter in open_letters(headrace, tenant)]
    shown = rows if as_json else [without(row, ("document", "first_at")) for row in rows]
    print_rows(shown, as_json=as_json, title="Dead letters", empty="no open dead letters")


def dead_letter(tenant: str, position: str, *, as_json: bool) -> None:
    from pipelines.operations.dead_letters import at

    with opened() as headrace:
        rows = [builtins(letter) for letter in at(headrace, tenant, position)]
    if as_json:
        print_json(rows)
        return
    for row in rows:
        print_record(row, as_json=False, title=f"Dead letter {position}")


def dismiss(tenant: str, position: str, *, as_json: bool) -> None:
    from events.positions import dismiss
    from pipelines.governance import audit
    from pipelines.operations.dead_letters import place_of, unknown

    place = place_of(position)
    with opened() as headrace:
        session = headrace.session(tenant)
        with audit.recorded(headrace, "dismiss", tenant, position=position), session.transaction() as connection:
            if not dismiss(connection, place["partition"], place["offset"]):
                raise unknown(position)
    print_record({"tenant": tenant, "dismissed": position}, as_json=as_json)
