"""The embedded Kafka: one KRaft node that is broker and controller, with SCRAM and Kafka's own authorizer. No topic is made here."""

from __future__ import annotations

import base64
import logging
import shutil
from importlib.resources import files
from pathlib import Path
from uuid import uuid4

from services.files import write_whole
from services.jvm import JavaServer
from services.processes import free_port
from services.server import NotYet, Progress

ADMIN = "headrace"
PROTOCOL = "SASL_PLAINTEXT"
MECHANISM = "SCRAM-SHA-256"
_PROBE_S = 3.0
_NODE = "1"

# librdkafka logs to standard error unless it is given a logger
quiet = logging.getLogger("headrace.services.kafka")
quiet.addHandler(logging.NullHandler())

# one node, small topics of its own, and no wait for more consumers to join
_FIXED = {
    "process.roles": "broker,controller",
    "node.id": _NODE,
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": "1",
    "offsets.topic.replication.factor": "1",
    "transaction.state.log.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    # everything is on this machine: who is gone is noticed in seconds, not in Kafka's 45
    "group.consumer.heartbeat.interval.ms": "500",
    "group.consumer.min.heartbeat.interval.ms": "500",
    "group.consumer.session.timeout.ms": "4000",
    "group.consumer.min.session.timeout.ms": "4000",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.dedupe.buffer.size": "16777216",
    "listener.security.protocol.map": "CLIENT:SASL_PLAINTEXT,CONTROLLER:SASL_PLAINTEXT",
    "inter.broker.listener.name": "CLIENT",
    "controller.listener.names": "CONTROLLER",
    "sasl.mechanism.inter.broker.protocol": "SCRAM-SHA-256",
    "sasl.mechanism.controller.protocol": "PLAIN",
    "listener.name.client.sasl.enabled.mechanisms": "SCRAM-SHA-256",
    "listener.name.controller.sasl.enabled.mechanisms": "PLAIN",
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "allow.everyone.if.no.acl.found": "false",
    "super.users": f"User:{ADMIN}",
}


class EmbeddedKafka(JavaServer):
    name = "kafka"
    title = "Kafka"
    patience_s = 30.0
    main = "kafka.Kafka"
    heap = "256m"

    def configure(self, port: int) -> None:
        self._write_properties("server.properties", self._data, port)
        shutil.copyfile(str(files("services") / "conf" / "log4j2.xml"), self.home / "log4j2.xml")

    def arguments(self) -> list[str]:
        return [str(self.home / "server.properties")]

    @property
    def jvm(self) -> tuple[str, ...]:  # type: ignore[override]
        return (f"-Dlog4j2.configurationFile={self.home / 'log4j2.xml'}",)

    def initialize(self, jars: list[Path], progress: Progress) -> None:
        """Format beside the log folder's place and then rename, so that one that is there is a whole one."""
        if self._data.exists():
            return
        progress("Kafka: formatting its log folder")
        fresh = self.home / "data.new"
        shutil.rmtree(fresh, ignore_errors=True)
        properties = self._write_properties("format.properties", fresh, port=1)
        scram = f'SCRAM-SHA-256=[name="{ADMIN}",password="{self._password("kafka_admin")}"]'
        arguments = ["format", "-t", _cluster_id(), "-c", str(properties), "--standalone", "--add-scram", scram]
        self.tool(jars, "kafka.tools.StorageTool", arguments)
        properties.unlink()
        fresh.rename(self._data)

    def probe(self, port: int) -> None:
        from confluent_kafka import KafkaException
        from confluent_kafka.admin import AdminClient

        try:
            AdminClient(self.client(port), logger=quiet).list_topics(timeout=_PROBE_S)
        except KafkaException as error:
            raise NotYet from error

    def client(self, port: int) -> dict[str, str | int | float | bool]:
        """librdkafka's properties for the administrator."""
        return {
            "bootstrap.servers": f"127.0.0.1:{port}",
            "security.protocol": PROTOCOL,
            "sasl.mechanism": MECHANISM,
            "sasl.username": ADMIN,
            "sasl.password": self._password("kafka_admin"),
            "reconnect.backoff.ms": 50,
            "reconnect.backoff.max.ms": 200,
        }

    @property
    def _data(self) -> Path:
        return self.home / "data"

    def _password(self, name: str) -> str:
        return self.secrets[name].get_secret_value()

    def _write_properties(self, name: str, logs: Path, port: int) -> Path:
        path = self.home / name
        properties = _FIXED | self._addresses(port) | self._logins() | {"log.dirs": str(logs)}
        write_whole(path, "".join(f"{key}={_escaped(value)}\n" for key, value in properties.items()))
        return path

    def _addresses(self, port: int) -> dict[str, str]:
        """The controller's port is nobody's business but the node's own, so it may be another at each start."""
        controller = f"127.0.0.1:{free_port()}"
        return {
            "listeners": f"CLIENT://127.0.0.1:{port},CONTROLLER://{controller}",
            "advertised.listeners": f"CLIENT://127.0.0.1:{port},CONTROLLER://{controller}",
            "controller.quorum.bootstrap.servers": controller,
        }

    def _logins(self) -> dict[str, str]:
        admin, controller = self._password("kafka_admin"), self._password("kafka_controller")
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule required"
        plain = "org.apache.kafka.common.security.plain.PlainLoginModule required"
        return {
            "listener.name.client.scram-sha-256.sasl.jaas.config": f'{scram} username="{ADMIN}" password="{admin}";',
            "listener.name.controller.plain.sasl.jaas.config": (
                f'{plain} username="{ADMIN}" password="{controller}" user_{ADMIN}="{controller}";'
            ),
        }


def _cluster_id() -> str:
    """22 characters of base64, as Kafka's own `random-uuid` gives."""
    return base64.urlsafe_b64encode(uuid4().bytes).decode().rstrip("=").replace("-", "A")


def _escaped(value: str) -> str:
    """As a Java properties file reads it: a backslash escapes, and what is not ASCII is written by its code unit."""
    units = value.replace("\\", "\\\\").encode("utf-16-be")
    pairs = [int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2)]
    return "".join(chr(unit) if unit < 128 else f"\\u{unit:04x}" for unit in pairs)
