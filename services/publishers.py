"""Who may publish: one Kafka principal per tenant, who may write to that tenant's topic and read its outcomes, and nothing else.

Works on whichever Kafka the endpoints name, if the principal that we log in as may administer it.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from core.config import Endpoints, Settings
from core.errors import HeadraceError, Unavailable
from services import passwords
from services.embedded import endpoints, exclusive
from services.files import layout
from services.kafka import quiet

if TYPE_CHECKING:
    from confluent_kafka.admin import AclBinding, AclBindingFilter, AdminClient  # type: ignore[attr-defined]

_LIMIT_S = 15.0
_ITERATIONS = 8192


def authorize_publisher(settings: Settings, tenant: str, where: Endpoints | None = None) -> tuple[str, str]:
    """The user name and password with which `tenant`'s source systems may write to `documents.<tenant>` and read `outcomes.<tenant>`.

    Made at the first call; later calls give the same and mend what is missing in the broker. `where` saves a look-up.
    Raises Unavailable where the broker does not answer, HeadraceError `kafka-not-authorized` where we may not administer it.
    """
    where = where or endpoints(settings)
    place = layout(settings)
    place.prepare()
    user = _user(tenant)
    with exclusive(place):
        known = passwords.read(place).get(_secret(tenant))
        password = known.get_secret_value() if known else passwords.generate()
        if known is None:
            passwords.add(place, {_secret(tenant): password})
    admin = _admin(where)
    _done(admin.alter_user_scram_credentials([_upsertion(user, password)]))
    _done(admin.create_acls(_bindings(user, tenant)))
    return user, password


def revoke_publisher(settings: Settings, tenant: str, where: Endpoints | None = None) -> None:
    """Take a tenant's publisher its rights, its login and its kept password; nothing happens where it has none."""
    admin = _admin(where or endpoints(settings))
    _done(admin.delete_acls([_filter(_user(tenant))]))
    _delete_login(admin, _user(tenant))
    place = layout(settings)
    place.prepare()
    with exclusive(place):
        passwords.forget(place, _secret(tenant))


def topic(tenant: str) -> str:
    return f"documents.{tenant}"


def _user(tenant: str) -> str:
    return f"publisher.{tenant}"


def _secret(tenant: str) -> str:
    return f"kafka_publisher.{tenant}"


def _admin(where: Endpoints) -> AdminClient:
    from confluent_kafka.admin import AdminClient

    return AdminClient(where.kafka_client(), logger=quiet)


def _upsertion(user: str, password: str) -> Any:
    from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion  # type: ignore[attr-defined]

    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, _ITERATIONS)
    return UserScramCredentialUpsertion(user, info, password.encode())


def _bindings(user: str, tenant: str) -> list[AclBinding]:
    """To write is to describe too; an idempotent producer needs no more than to write since Kafka 2.8.

    Consumer groups are those whose name begins with the user's and a dot: no other tenant's does, as names have no dots.
    """
    from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType  # type: ignore[attr-defined]

    who, literal, allow = (f"User:{user}", "*"), ResourcePatternType.LITERAL, AclPermissionType.ALLOW
    rights = [
        (ResourceType.TOPIC, topic(tenant), literal, AclOperation.WRITE),
        (ResourceType.TOPIC, topic(tenant), literal, AclOperation.DESCRIBE),
        (ResourceType.TOPIC, f"outcomes.{tenant}", literal, AclOperation.READ),
        (ResourceType.TOPIC, f"outcomes.{tenant}", literal, AclOperation.DESCRIBE),
        (ResourceType.GROUP, f"{user}.", ResourcePatternType.PREFIXED, AclOperation.READ),
    ]
    return [AclBinding(kind, name, pattern, *who, operation, allow) for kind, name, pattern, operation in rights]


def _filter(user: str) -> AclBindingFilter:
    from confluent_kafka.admin import AclBindingFilter, AclOperation, AclPermissionType, ResourcePatternType, ResourceType  # type: ignore[attr-defined]

    everything = AclOperation.ANY, AclPermissionType.ANY
    # its annotations forget that None is how a filter says "any"
    return AclBindingFilter(ResourceType.ANY, None, ResourcePatternType.ANY, f"User:{user}", None, *everything)  # type: ignore[arg-type]


def _delete_login(admin: AdminClient, user: str) -> None:
    from confluent_kafka import KafkaError, KafkaException
    from confluent_kafka.admin import ScramMechanism, UserScramCredentialDeletion  # type: ignore[attr-defined]

    try:
        _results(admin.alter_user_scram_credentials([UserScramCredentialDeletion(user, ScramMechanism.SCRAM_SHA_256)]))
    except KafkaException as error:
        if error.args[0].code() != KafkaError.RESOURCE_NOT_FOUND:
            raise _translated(error) from error


def _done(futures: Mapping[Any, Future[Any]]) -> None:
    from confluent_kafka import KafkaException

    try:
        _results(futures)
    except KafkaException as error:
        raise _translated(error) from error


def _results(futures: Mapping[Any, Future[Any]]) -> None:
    for future in futures.values():
        future.result(_LIMIT_S)


def _translated(error: Exception) -> HeadraceError:
    from confluent_kafka import KafkaError

    cause = error.args[0]
    if cause.code() in (KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError.SECURITY_DISABLED):
        return HeadraceError(
            f"this Kafka does not let us administer its users: {cause.name()}",
            reason="kafka-not-authorized",
            remedy="Give our principal ALTER on the cluster, or make the publisher there yourself.",
        )
    return Unavailable(f"Kafka did not change the publisher: {cause.name()}")
