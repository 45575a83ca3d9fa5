"""Addresses and logins of the three servers, and the master key."""

from __future__ import annotations

import base64
from typing import Any

from pydantic import SecretStr

from core.section import Section


class Endpoints(Section):
    """Addresses and logins of the three servers, embedded or external. URLs contain passwords: never print one."""

    postgres_owner: SecretStr
    postgres_pipeline: SecretStr
    postgres_reader: SecretStr
    postgres_dagster: SecretStr
    kafka_bootstrap: str
    kafka_protocol: str
    kafka_mechanism: str | None = None
    kafka_username: str | None = None
    kafka_password: SecretStr | None = None
    neo4j_url: str
    neo4j_username: str
    neo4j_password: SecretStr
    master_key: SecretStr

    def kafka_client(self) -> dict[str, Any]:
        """librdkafka's properties for a client that logs in as us."""
        properties: dict[str, Any] = {"bootstrap.servers": self.kafka_bootstrap, "security.protocol": self.kafka_protocol}
        if self.kafka_username and self.kafka_password:
            properties |= {
                "sasl.mechanism": self.kafka_mechanism,
                "sasl.username": self.kafka_username,
                "sasl.password": self.kafka_password.get_secret_value(),
            }
        return properties


def master_key_bytes(value: SecretStr) -> bytes:
    """The 32 bytes behind a base64 master key. Raises ValueError, without the value, if it is anything else."""
    try:
        key = base64.b64decode(value.get_secret_value(), validate=True)
    except ValueError as error:
        raise ValueError("master_key must be base64") from error
    if len(key) != 32:
        raise ValueError(f"master_key must be 32 bytes in base64, was: {len(key)} bytes")
    return key
