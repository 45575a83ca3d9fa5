"""The embedded Kafka: one KRaft node, broker and controller, with SCRAM and Kafka's own authorizer. Topics are created elsewhere."""

from __future__ import annotations

import base64
import logging
import shutil
from importlib.resources import files
from pathlib import Path
from uuid import uuid4

from services.files import write_atomic
from services.jvm import JavaServer
from services.processes import free_port
from services.server import NotReady, Progress

ADMIN = "headrace"
PROTOCOL = "SASL_PLAINTEXT"
MECHANISM = "SCRAM-SHA-256"
_PROBE_S = 3.0
_NODE = "1"

# librdkafka logs to standard error unless it is given a logger
silent_logger = logging.getLogger("headrace.services.kafka")
silent_logger.addHandler(logging.NullHandler())

# one node, small internal topics, and no delay for more consumers to join
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
    # all members are on this machine: detect a lost one in 4 seconds instead of Kafka's default 45
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
    stop_timeout_s = 30.0
    main = "kafka.Kafka"
    heap = "256m"

    def configure(self, port: int) -> None:
        self._write_properties("server.properties", self._data, port)
        shutil.copyfile(str(files("services") / "conf" / "log4j2.xml"), self.home / "log4j2.xml")

    def arguments(self) -> list[str]:
        return [str(self.home / "server.properties")]

    @property
    def jvm_options(self) -> tuple[str, ...]:
        return (f"-Dlog4j2.configurationFile={self.home / 'log4j2.xml'}",)

    def initialize(self, jars: list[Path], progress: Progress) -> None:
        """Format a temporary log folder and then rename it, so that an existing log folder is always complete."""
        if self._data.exists():
            return
        progress("Kafka: formatting the log folder")
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
            AdminClient(self.client(port), logger=silent_logger).list_topics(timeout=_PROBE_S)
        except KafkaException as error:
            raise NotReady from error

    def client(self, port: int) -> dict[str, str | int | float | bool]:
        """Return the librdkafka properties of an administrator's client."""
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
        write_atomic(path, "".join(f"{key}={_escaped(value)}\n" for key, value in properties.items()))
        return path

    def _addresses(self, port: int) -> dict[str, str]:
        """Return the listener properties. Only the node itself uses the controller's port, so it may change at each start."""
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
    """A random cluster id in the format of `kafka-storage random-uuid`: 22 characters of base64."""
    return base64.urlsafe_b64encode(uuid4().bytes).decode().rstrip("=").replace("-", "A")


def _escaped(value: str) -> str:
    """Escape a value for a Java properties file: double each backslash, and write non-ASCII characters as UTF-16 code units."""
    units = value.replace("\\", "\\\\").encode("utf-16-be")
    pairs = [int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2)]
    return "".join(chr(unit) if unit < 128 else f"\\u{unit:04x}" for unit in pairs)
