"""Kafka's own Java producer, in a process of its own: `python -m tests.events.kafka.java_producer`, on the embedded servers' JRE.

A JVM cannot be stopped and started again within a process, and has signal handlers of its own. `JavaProducer` controls it by lines: what to
produce, and then how many records the broker has taken.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

_TIMEOUT_S = 60


class Record(msgspec.Struct, frozen=True):
    """`header_names` are Java's strings: sequences of UTF-16 code units, of which a surrogate may stand alone."""

    key: bytes | None
    value: bytes | None
    header_names: tuple[tuple[int, ...], ...] = ()
    header_values: tuple[bytes | None, ...] = ()
    timestamp_ms: int | None = None


class Task(msgspec.Struct, frozen=True):
    """Records to produce in one go."""

    topic: str
    codec: str
    records: tuple[Record, ...]
    partition: int | None = None


class _Setup(msgspec.Struct, frozen=True):
    java: str
    jars: tuple[str, ...]
    properties: dict[str, str]


class JavaProducer:
    """Use it as a context manager. `properties` are librdkafka's, as in `Endpoints.kafka_client`."""

    def __init__(self, jars: Sequence[Path], properties: Mapping[str, Any]) -> None:
        from services.jvm import java

        self._setup = _Setup(str(java()), tuple(map(str, jars)), _of_java(properties))

    def __enter__(self) -> JavaProducer:
        command = [sys.executable, "-m", "tests.events.kafka.java_producer"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._write(self._setup)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(_TIMEOUT_S)
        self._process.stdout.close()

    def produce(self, topic: str, codec: str, records: Iterable[Record], partition: int | None = None) -> int:
        """Returns how many of the records the broker has taken."""
        self._write(Task(topic, codec, tuple(records), partition))
        assert self._process.stdout
        return int(self._process.stdout.readline())

    def _write(self, message: msgspec.Struct) -> None:
        assert self._process.stdin
        self._process.stdin.write(msgspec.json.encode(message) + b"\n")
        self._process.stdin.flush()


def _of_java(properties: Mapping[str, Any]) -> dict[str, str]:
    login = "org.apache.kafka.common.security.scram.ScramLoginModule required"
    return {
        "bootstrap.servers": properties["bootstrap.servers"],
        "security.protocol": properties["security.protocol"],
        "sasl.mechanism": properties["sasl.mechanism"],
        "sasl.jaas.config": f'{login} username="{properties["sasl.username"]}" password="{properties["sasl.password"]}";',
    }


def main() -> None:
    """Until standard input ends."""
    import jpype

    lines = sys.stdin.buffer
    setup = msgspec.json.decode(lines.readline(), type=_Setup)
    library = next(Path(setup.java).parents[1].glob("lib/**/libjvm.*"))
    jpype.startJVM(str(library), "-Xmx128m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xlog:disable", classpath=list(setup.jars))
    producers: dict[str, Any] = {}
    for line in lines:
        task = msgspec.json.decode(line, type=Task)
        if task.codec not in producers:
            producers[task.codec] = _producer(setup.properties | {"compression.type": task.codec})
        print(_produced(producers[task.codec], task), flush=True)  # noqa: T201 - the answer
    for producer in producers.values():
        producer.close()


def _producer(properties: Mapping[str, str]) -> Any:
    from jpype import JClass

    serializer = JClass("org.apache.kafka.common.serialization.ByteArraySerializer")
    configured = JClass("java.util.Properties")()
    for name, value in {**properties, "linger.ms": "50", "delivery.timeout.ms": "60000"}.items():
        configured.put(name, value)
    return JClass("org.apache.kafka.clients.producer.KafkaProducer")(configured, serializer(), serializer())


def _produced(producer: Any, task: Task) -> int:
    sent = [producer.send(_record(task, record)) for record in task.records]
    producer.flush()
    return sum(_taken(future) for future in sent)


def _taken(future: Any) -> bool:
    from jpype import JException

    try:
        return bool(future.get().hasOffset())
    except JException:
        return False


def _record(task: Task, record: Record) -> Any:
    from jpype import JArray, JByte, JChar, JClass, JInt, JLong, JString

    def of_bytes(value: bytes | None) -> Any:
        return None if value is None else JArray(JByte)(value)

    partition = None if task.partition is None else JClass("java.lang.Integer").valueOf(JInt(task.partition))
    timestamp = None if record.timestamp_ms is None else JClass("java.lang.Long").valueOf(JLong(record.timestamp_ms))
    made = JClass("org.apache.kafka.clients.producer.ProducerRecord")(
        task.topic, partition, timestamp, of_bytes(record.key), of_bytes(record.value), None
    )
    for units, value in zip(record.header_names, record.header_values, strict=True):
        made.headers().add(JString(JArray(JChar)([chr(unit) for unit in units])), of_bytes(value))
    return made


if __name__ == "__main__":
    main()
