"""Reads everything that Headrace has written, like an attacker with the disk and every password.

Each function yields (place, bytes): the place is a table's column, a node's kind or a file. Of our own code it uses only the servers'
addresses and passwords.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import neo4j
import psycopg
import zstandard
from confluent_kafka import Consumer, TopicPartition
from psycopg import sql
from psycopg.rows import tuple_row

import services
from core.config import Endpoints, Settings
from services import passwords
from services.files import layout

Piece = tuple[str, bytes]

_TABLES = """SELECT n.nspname, c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm', 'S') ORDER BY 1, 2"""
_BYTES = """SELECT a.attrelid::regclass::text, a.attname FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relkind = 'r' AND a.atttypid = 'bytea'::regtype AND NOT a.attisdropped"""
_STATISTICS = """SELECT c.relname || '.' || a.attname, s::text FROM pg_statistic s JOIN pg_class c ON c.oid = s.starelid
JOIN pg_attribute a ON a.attrelid = s.starelid AND a.attnum = s.staattnum"""
_COMPRESSED = b"\x28\xb5\x2f\xfd"


def superuser(settings: Settings, database: str) -> str:
    """The connection string of the embedded server's superuser, who bypasses row security."""
    secret = passwords.read(layout(settings))["postgres_superuser"].get_secret_value()
    address = next(status.address for status in services.status(settings) if status.name == "postgres")
    return f"postgresql://postgres:{secret}@{address}/{database}"


def postgres(settings: Settings, suspect: Callable[[bytes], object]) -> Iterator[Piece]:
    """Every table of every schema, catalogs included, in every database; split into `table.column` if `suspect` is true for the whole."""
    for database in ("headrace", "dagster", "postgres"):
        with psycopg.connect(superuser(settings, database), row_factory=tuple_row) as connection:
            for schema, table in connection.execute(_TABLES).fetchall():
                whole = sql.SQL("SELECT * FROM {}").format(sql.Identifier(schema, table))
                content = _copied(connection, whole)
                yield from _columns(connection, table, whole) if suspect(content) else [(table, content)]
            for table, column in connection.execute(_BYTES).fetchall():
                yield f"{table}.{column}, unpacked", _unpacked(connection, table, column)


def _copied(connection: psycopg.Connection[Any], query: sql.Composed) -> bytes:
    with connection.cursor().copy(sql.SQL("COPY ({}) TO STDOUT").format(query)) as copy:
        return b"".join(map(bytes, copy))


def _columns(connection: psycopg.Connection[Any], table: str, whole: sql.Composed) -> Iterator[Piece]:
    """The table by column; Postgres' statistics by the column that they describe."""
    if table == "pg_statistic":
        for of, row in connection.execute(_STATISTICS).fetchall():
            yield f"statistics of {of}", row.encode()
        return
    for column in connection.execute(whole).description or ():
        one = sql.SQL("SELECT {} FROM ({}) w").format(sql.Identifier(column.name), whole)
        # without the schema, which differs between tenants
        yield f"{table}.{column.name}", _copied(connection, one)


def _unpacked(connection: psycopg.Connection[Any], table: str, column: str) -> bytes:
    """The values of a column of bytes, decompressed."""
    query = sql.SQL("SELECT {column} FROM {table}").format(column=sql.Identifier(column), table=sql.SQL(table))
    values = [value for (value,) in connection.execute(query, binary=True) if value]
    return b"\n".join(zstandard.ZstdDecompressor().decompress(value) if value.startswith(_COMPRESSED) else value for value in values)


def graph(endpoints: Endpoints) -> Iterator[Piece]:
    """Every property of every node and relationship, with labels and kinds."""
    auth = (endpoints.neo4j_username, endpoints.neo4j_password.get_secret_value())
    with neo4j.GraphDatabase.driver(endpoints.neo4j_url, auth=auth) as driver:
        nodes = driver.execute_query("MATCH (n) RETURN labels(n)[0] AS kind, properties(n) AS properties").records
        edges = driver.execute_query("MATCH ()-[r]->() RETURN type(r) AS kind, properties(r) AS properties").records
    for record in (*nodes, *edges):
        yield f"Neo4j {record['kind']}", json.dumps(record["properties"], default=str, ensure_ascii=False).encode()


def topic(client: Mapping[str, Any], name: str) -> Iterator[Piece]:
    """Every record of a topic, with its key and headers."""
    consumer = Consumer(
        {**client, "group.id": f"publisher.{name.partition('.')[2]}.scan", "enable.auto.commit": False, "fetch.wait.max.ms": 20}
    )
    try:
        for partition in consumer.list_topics(name, timeout=10).topics[name].partitions:
            yield from _records(consumer, TopicPartition(name, partition, 0))
    finally:
        consumer.close()


def _records(consumer: Consumer, place: TopicPartition) -> Iterator[Piece]:
    _, end = consumer.get_watermark_offsets(place, timeout=10)
    consumer.assign([place])
    read = 0
    while read < end:
        if (message := consumer.poll(1.0)) is not None and message.error() is None:
            read = (message.offset() or 0) + 1
            yield place.topic, b"\n".join((message.key() or b"", message.value() or b"", repr(message.headers()).encode()))


def files(folder: Path, without: str) -> Iterator[Piece]:
    """Every file in a folder, with its name, except those in subfolders that match `without`."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not any(parent.match(without) for parent in path.parents):
            name = str(path.relative_to(folder))
            yield name, name.encode() + b"\n" + path.read_bytes()
