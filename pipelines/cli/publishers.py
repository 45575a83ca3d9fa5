"""A tenant's publisher: the Kafka login that may write to the tenant's topic, on a Kafka whose users we administer."""

from __future__ import annotations

from typing import Any

from core.errors import HeadraceError
from pipelines.app import Headrace

_NOT_ADMINISTERED = "kafka-not-authorized"


def authorize(headrace: Headrace, tenant: str) -> dict[str, Any]:
    """`publisher`, and `password`: where it is stored. `publisher` is None, and `password` the reason, if we cannot administer users."""
    import services
    from services.files import layout

    try:
        username, _ = services.authorize_publisher(headrace.settings, tenant, headrace.endpoints)
    except HeadraceError as error:
        if error.reason != _NOT_ADMINISTERED:
            raise
        return {"publisher": None, "password": f"{error.detail}. {error.remedy}"}
    return {"publisher": username, "password": f"kafka_publisher.{tenant} in {layout(headrace.settings).secrets}"}


def revoke(headrace: Headrace, tenant: str) -> None:
    """Delete the tenant's publisher, if we administer Kafka's users."""
    import services

    try:
        services.revoke_publisher(headrace.settings, tenant, headrace.endpoints)
    except HeadraceError as error:
        if error.reason != _NOT_ADMINISTERED:
            raise
