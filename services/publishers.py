"""Publishers: one Kafka principal per tenant, which may write to that tenant's topic and read its outcomes, and nothing else.

This works on an external Kafka too, if our own principal may administer it.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any

from core.config import Endpoints, Settings
from core.errors import HeadraceError, Unavailable
from services import passwords
from services.embedded import endpoints, locked
from services.files import layout
from services.kafka import silent_logger

if TYPE_CHECKING:
    from confluent_kafka.admin import AclBinding, AclBindingFilter, AdminClient  # type: ignore[attr-defined]

_LIMIT_S = 15.0
_POLL_S = 0.05
_ITERATIONS = 8192


def authorize_publisher(settings: Settings, tenant: str, at: Endpoints | None = None) -> tuple[str, str]:
    """Return the user name and password with which `tenant`'s sources write to `documents.<tenant>` and read `outcomes.<tenant>`.

    The first call creates the principal. Later calls return the same one and restore what the broker lacks. `at` saves looking up the
    endpoints. Raises Unavailable if the broker does not answer, or does not know the publisher within 15 seconds; HeadraceError
    `kafka-not-authorized` if we may not administer it.
    """
    at = at or endpoints(settings)
    user, password = _user(tenant), _stored_password(settings, tenant)
    admin = _admin(at)
    _done(admin.alter_user_scram_credentials([_upsertion(user, password)]))
    _done(admin.create_acls(_bindings(user, tenant)))
    _await(admin, user, authorized=True)
    return user, password


def revoke_publisher(settings: Settings, tenant: str, at: Endpoints | None = None) -> None:
    """End a tenant's publisher: it has no ACLs, its login is of no use, and its password is not stored. Raises as `authorize_publisher`.

    Does nothing if there is none.
    """
    admin = _admin(at or endpoints(settings))
    _disable_login(admin, _user(tenant))
    _done(admin.delete_acls([_filter(_user(tenant))]))
    _await(admin, _user(tenant), authorized=False)
    folder = layout(settings)
    folder.prepare()
    with locked(folder):
        passwords.remove(folder, _secret(tenant))


def topic(tenant: str) -> str:
    return f"documents.{tenant}"


def _user(tenant: str) -> str:
    return f"publisher.{tenant}"


def _secret(tenant: str) -> str:
    return f"kafka_publisher.{tenant}"


def _stored_password(settings: Settings, tenant: str) -> str:
    """Return the publisher's password. Generates and stores it if there is none."""
    folder = layout(settings)
    folder.prepare()
    with locked(folder):
        stored = passwords.read(folder).get(_secret(tenant))
        if stored is None:
            stored = passwords.add(folder, {_secret(tenant): passwords.generate()})[_secret(tenant)]
    return stored.get_secret_value()


def _admin(at: Endpoints) -> AdminClient:
    from confluent_kafka.admin import AdminClient

    return AdminClient(at.kafka_client(), logger=silent_logger)


def _upsertion(user: str, password: str) -> Any:
    from confluent_kafka.admin import ScramCredentialInfo, ScramMechanism, UserScramCredentialUpsertion  # type: ignore[attr-defined]

    info = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_256, _ITERATIONS)
    return UserScramCredentialUpsertion(user, info, password.encode())


def _bindings(user: str, tenant: str) -> list[AclBinding]:
    """Return the publisher's ACLs. Since Kafka 2.8, an idempotent producer needs no more than WRITE on its topic.

    The publisher may use the consumer groups whose name begins with its user name and a dot. Tenant names contain no dot, so the prefix
    matches no other tenant's groups.
    """
    from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType  # type: ignore[attr-defined]

    principal, literal, allow = (f"User:{user}", "*"), ResourcePatternType.LITERAL, AclPermissionType.ALLOW
    rights = [
        (ResourceType.TOPIC, topic(tenant), literal, AclOperation.WRITE),
        (ResourceType.TOPIC, topic(tenant), literal, AclOperation.DESCRIBE),
        (ResourceType.TOPIC, f"outcomes.{tenant}", literal, AclOperation.READ),
        (ResourceType.TOPIC, f"outcomes.{tenant}", literal, AclOperation.DESCRIBE),
        (ResourceType.GROUP, f"{user}.", ResourcePatternType.PREFIXED, AclOperation.READ),
    ]
    return [AclBinding(kind, name, pattern, *principal, operation, allow) for kind, name, pattern, operation in rights]


def _filter(user: str) -> AclBindingFilter:
    from confluent_kafka.admin import AclBindingFilter, AclOperation, AclPermissionType, ResourcePatternType, ResourceType  # type: ignore[attr-defined]

    everything = AclOperation.ANY, AclPermissionType.ANY
    # None means "any" in a filter, which the annotations do not allow
    return AclBindingFilter(ResourceType.ANY, None, ResourcePatternType.ANY, f"User:{user}", None, *everything)  # type: ignore[arg-type]


def _await(admin: AdminClient, user: str, *, authorized: bool) -> None:
    """Wait until the broker has the user's ACLs, or none. The controller confirms changes before brokers read of them, in their order: the
    broker then has the login, too, whose change came first.
    """
    until = monotonic() + _LIMIT_S
    while _has_acls(admin, user) != authorized:
        if monotonic() > until:
            raise Unavailable(f"Kafka has not learnt of the change to {user}", remedy="Try again in a moment.")
        sleep(_POLL_S)


def _has_acls(admin: AdminClient, user: str) -> bool:
    found: Any = admin.describe_acls(_filter(user))
    return bool(_done({user: found})[0])


def _knows_login(admin: AdminClient, user: str) -> bool:
    from confluent_kafka import KafkaError, KafkaException

    asked: Any = admin.describe_user_scram_credentials([user])
    try:
        _results(asked)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.RESOURCE_NOT_FOUND:
            return False
        raise _translated(error) from error
    return True


def _disable_login(admin: AdminClient, user: str) -> None:
    """Give the login, if there is one, a password that nobody knows.

    It is not deleted: a Kafka before the fix of `ScramDelta.apply` (4.1.2 is) that starts by reading a deletion of one login may forget all
    of them, the administrator's too, and then answers nobody.
    """
    if _knows_login(admin, user):
        _done(admin.alter_user_scram_credentials([_upsertion(user, passwords.generate())]))


def _done(futures: Mapping[Any, Future[Any]]) -> list[Any]:
    from confluent_kafka import KafkaException

    try:
        return _results(futures)
    except KafkaException as error:
        raise _translated(error) from error


def _results(futures: Mapping[Any, Future[Any]]) -> list[Any]:
    try:
        return [future.result(_LIMIT_S) for future in futures.values()]
    except TimeoutError:
        raise Unavailable(f"Kafka did not answer within {_LIMIT_S:.0f} s") from None


def _translated(error: Exception) -> HeadraceError:
    from confluent_kafka import KafkaError

    cause = error.args[0]
    if cause.code() in (KafkaError.CLUSTER_AUTHORIZATION_FAILED, KafkaError.SECURITY_DISABLED):
        return HeadraceError(
            f"this Kafka does not allow us to administer its users: {cause.name()}",
            reason="kafka-not-authorized",
            remedy="Give our principal ALTER on the cluster, or create the publisher there yourself.",
        )
    return Unavailable(f"Kafka did not change the publisher: {cause.name()}")
