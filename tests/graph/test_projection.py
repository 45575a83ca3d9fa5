"""Contributions in a real Neo4j: repeated, reordered, raced, removed. The graph depends on each document's highest version alone."""

from __future__ import annotations

import itertools
import re
import socket
import traceback
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from core.config import Endpoints
from core.errors import ConfigurationError, DocumentError, HeadraceError, Unavailable
from core.records import Contribution, Entity, Mention, Relation, Section
from core.sql import statements
from graph import Projected, Projection
from graph.connection import Connection
from graph.keys import bounded, document_key, reference_key
from graph.rows import batches

A, B, C = ("a" * 32, "b" * 32, "c" * 32)
NAMES = {A: "a.md", B: "b.md", C: "c.md"}
Graph = tuple[list[str], list[str]]


@pytest.fixture(scope="module")
def projection(endpoints: Endpoints) -> Iterator[Projection]:
    with Projection(endpoints) as opened:
        opened.prepare()
        yield opened


@pytest.fixture(scope="module")
def connection(endpoints: Endpoints) -> Iterator[Connection]:
    opened = Connection(endpoints)
    yield opened
    opened.close()


def contribution(document: str, *words: str, refers_to: Sequence[str] = (), number: int = 0) -> Contribution:
    """Two sections, two chunks, every word mentioned in the first; the first of two words owns an entity that no chunk mentions."""
    numbered = (Relation(document_key(NAMES[document]), "NUMBERED", reference_key("rev", str(number))),) if number else ()
    keys = [f"ORG:{word}" for word in words]
    references = (Relation(document_key(NAMES[document]), "REFERS_TO", document_key(name)) for name in refers_to)
    related = (Relation(keys[0], "OWNS", "ORG:subsidiary"),) if len(keys) > 1 else ()
    return Contribution(
        name=NAMES[document],
        title="A title",
        sections=(Section(("Top",), (0,)), Section(("Top", "Sub"), (1,))),
        entities=tuple(Entity(key, "ORG", word.upper()) for key, word in zip(keys, words, strict=True)),
        mentions=tuple(Mention(key, 0, 2) for key in keys),
        relations=(*references, *related, *numbered),
    )


def projected(document: str, version: int, *words: str, refers_to: Sequence[str] = (), number: int = 0) -> Projected:
    found = contribution(document, *words, refers_to=refers_to, number=number)
    return Projected(document, version, found, (f"{version:032x}", "1" * 32))


# a tenant's whole graph, by keys, without Neo4j's own ids
NODES = "MATCH (n) WHERE n.tenant = $tenant AND NOT n:Turn RETURN labels(n) AS labels, properties(n) AS properties"
EDGES = (
    "MATCH (a)-[r]->(b) WHERE a.tenant = $tenant OR b.tenant = $tenant "
    "RETURN labels(a) AS al, a.key AS a, type(r) AS type, properties(r) AS properties, labels(b) AS bl, b.key AS b, b.tenant AS tenant"
)


def graph(connection: Connection, tenant: str) -> Graph:
    nodes = connection.read(tenant, lambda run: run(NODES))
    edges = connection.read(tenant, lambda run: run(EDGES))
    assert {edge["tenant"] for edge in edges} <= {tenant}
    return sorted(_canonical(node, tenant) for node in nodes), sorted(_canonical(edge, tenant) for edge in edges)


def _canonical(found: dict[str, Any], tenant: str) -> str:
    def sort(value: Any) -> Any:
        return {key: sort(value[key]) for key in sorted(value)} if isinstance(value, dict) else value

    return repr(sort(found)).replace(tenant, "TENANT")


def without_tombstones(found: Graph) -> Graph:
    return [node for node in found[0] if "Tombstone" not in node], found[1]


def test_projecting_twice_is_projecting_once(projection: Projection, connection: Connection, tenant: str) -> None:
    rows = [projected(A, 1, "acme", "globex", refers_to=["b.md"]), projected(B, 1, "acme")]
    projection.project(tenant, rows)
    once = graph(connection, tenant)
    projection.project(tenant, rows)
    projection.project(tenant, [*rows, *rows])
    assert graph(connection, tenant) == once
    assert projection.counts(tenant) == {
        "Document": 2,
        "Section": 4,
        "Chunk": 4,
        "Entity": 5,
        "HAS_SECTION": 4,
        "HAS_CHUNK": 4,
        "SUBSECTION_OF": 2,
        "IN_SECTION": 4,
        "MENTIONS": 3,
        "NAMED": 2,
        "REFERS_TO": 1,
        "RELATES": 1,
    }


def test_a_newer_version_replaces_everything_the_older_one_contributed(projection: Projection, connection: Connection, tenant: str) -> None:
    projection.project(tenant, [projected(A, 1, "acme", "globex", refers_to=["b.md"])])
    projection.project(tenant, [projected(A, 2, "initech")])
    replaced = graph(connection, tenant)
    projection.drop(tenant)
    projection.project(tenant, [projected(A, 2, "initech")])
    assert graph(connection, tenant) == replaced


def test_an_older_version_after_a_newer_one_changes_nothing(projection: Projection, connection: Connection, tenant: str) -> None:
    projection.project(tenant, [projected(A, 5, "acme")])
    before = graph(connection, tenant)
    projection.project(tenant, [projected(A, 4, "globex", refers_to=["b.md"])])
    projection.remove(tenant, [(A, 4)])
    assert graph(connection, tenant) == before


def test_a_late_update_does_not_resurrect_a_removed_document(projection: Projection, connection: Connection, tenant: str) -> None:
    projection.project(tenant, [projected(A, 1, "acme")])
    projection.remove(tenant, [(A, 3)])
    removed = graph(connection, tenant)
    projection.project(tenant, [projected(A, 2, "acme")])
    projection.project(tenant, [projected(A, 3, "acme")])
    assert graph(connection, tenant) == removed
    assert projection.counts(tenant) == {"Tombstone": 1}
    assert projection.document_counts(tenant, A) == {
        "documents": 0,
        "sections": 0,
        "chunks": 0,
        "mentions": 0,
        "relations": 0,
        "tombstones": 1,
    }


def test_a_removal_that_arrives_first_prevents_the_older_write(projection: Projection, tenant: str) -> None:
    projection.remove(tenant, [(A, 3)])
    projection.project(tenant, [projected(A, 2, "acme")])
    assert projection.documents(tenant) == {}


def test_a_document_published_again_after_its_removal_has_no_tombstone(projection: Projection, tenant: str) -> None:
    projection.remove(tenant, [(A, 3)])
    projection.project(tenant, [projected(A, 4, "acme")])
    assert projection.documents(tenant) == {A: 4}
    assert "Tombstone" not in projection.counts(tenant)


def test_a_removal_subtracts_exactly_what_the_document_added(projection: Projection, connection: Connection, tenant: str) -> None:
    projection.project(tenant, [projected(A, 1, "acme", "globex", refers_to=["b.md"])])
    before = graph(connection, tenant)
    projection.project(tenant, [projected(B, 1, "acme", "globex", "initech", refers_to=["a.md", "c.md"])])
    assert graph(connection, tenant) != before
    projection.remove(tenant, [(B, 2)])
    assert without_tombstones(graph(connection, tenant)) == before


def test_another_extraction_of_the_same_version_replaces_the_first(projection: Projection, connection: Connection, tenant: str) -> None:
    projection.project(tenant, [projected(A, 1, "acme", "globex")])
    projection.project(tenant, [projected(A, 1, "initech")])
    replaced = graph(connection, tenant)
    projection.drop(tenant)
    projection.project(tenant, [projected(A, 1, "initech")])
    assert graph(connection, tenant) == replaced


FOLLOWED = """
MATCH (:Document {tenant: $tenant, key: $source})-[:REFERS_TO]->(:Entity {kind: 'DOCUMENT'})<-[:NAMED]-(target:Document)
RETURN target.key AS target
"""


@pytest.mark.parametrize("order", [(A, B), (B, A)])
def test_a_reference_meets_its_document_whichever_comes_first(
    projection: Projection, connection: Connection, tenant: str, order: tuple[str, str]
) -> None:
    rows = {A: projected(A, 1, refers_to=["b.md"]), B: projected(B, 1)}
    for document in order:
        projection.project(tenant, [rows[document]])
    assert connection.read(tenant, lambda run: run(FOLLOWED, source=A)) == [{"target": B}]
    projection.remove(tenant, [(B, 2)])
    assert connection.read(tenant, lambda run: run(FOLLOWED, source=A)) == []


KNOWN = "MATCH (d:Document {tenant: $tenant})-[r:KNOWN_AS]->(e:Entity) RETURN d.key AS document, e.key AS key, r.document AS owner"


def known(connection: Connection, tenant: str) -> dict[str, str]:
    """The document that each number stands for."""
    rows = connection.read(tenant, lambda run: run(KNOWN))
    assert all(row["owner"] == row["document"] for row in rows)
    assert len({row["key"] for row in rows}) == len(rows)
    return {row["key"]: row["document"] for row in rows}


def test_a_number_stands_for_its_document_while_no_other_has_it(projection: Projection, connection: Connection, tenant: str) -> None:
    projection.project(tenant, [projected(A, 1, number=7)])
    assert known(connection, tenant) == {"REFERENCE:rev 7": A}
    projection.project(tenant, [projected(B, 1, number=7), projected(C, 1, number=8)])
    assert known(connection, tenant) == {"REFERENCE:rev 8": C}
    projection.remove(tenant, [(A, 2)])
    assert known(connection, tenant) == {"REFERENCE:rev 7": B, "REFERENCE:rev 8": C}
    projection.project(tenant, [projected(B, 2, number=8)])
    assert known(connection, tenant) == {}
    projection.project(tenant, [projected(C, 2)])
    assert known(connection, tenant) == {"REFERENCE:rev 8": B}
    projection.remove(tenant, [(B, 3)])
    assert projection.counts(tenant)["Entity"] == 1  # the name of C


def test_documents_that_arrive_together_with_one_number_do_not_have_it_as_a_name(
    projection: Projection, connection: Connection, tenant: str
) -> None:
    projection.project(tenant, [projected(A, 1, number=7), projected(B, 1, number=7)])
    assert known(connection, tenant) == {}


def test_a_number_known_from_before_documents_were_numbered_is_settled(projection: Projection, connection: Connection, tenant: str) -> None:
    before = Contribution("a.md", relations=(Relation("document:a.md", "KNOWN_AS", "REFERENCE:rev 7"),))
    projection.project(tenant, [Projected(A, 1, before, ())])
    projection.project(tenant, [projected(A, 2, number=7), projected(B, 1, number=7)])
    assert known(connection, tenant) == {}


def test_a_documents_relations_start_from_the_key_of_its_name(projection: Projection, connection: Connection, tenant: str) -> None:
    found = Contribution("/a%20b.md", key="document:a b.md", relations=(Relation("document:a b.md", "REFERS_TO", "document:b.md"),))
    projection.project(tenant, [Projected(A, 1, found, ()), projected(B, 1, refers_to=["a b.md"])])
    assert connection.read(tenant, lambda run: run(FOLLOWED, source=A)) == [{"target": B}]
    assert connection.read(tenant, lambda run: run(FOLLOWED, source=B)) == [{"target": A}]


def test_tenants_do_not_touch_each_other(projection: Projection, connection: Connection, tenant: str) -> None:
    other = f"{tenant}-other"
    rows = [projected(A, 1, "acme", "globex", refers_to=["b.md"]), projected(B, 1, "acme")]
    for name in (tenant, other):
        projection.project(name, rows)
    before = graph(connection, other)
    projection.project(tenant, [projected(A, 2, "initech")])
    projection.remove(tenant, [(B, 2)])
    projection.drop(tenant)
    assert graph(connection, other) == before
    assert graph(connection, tenant) == ([], [])
    assert projection.documents(tenant) == {}
    assert projection.documents(other) == {A: 1, B: 1}


def test_dropping_a_tenant_leaves_no_tombstone_and_it_can_be_rebuilt(projection: Projection, connection: Connection, tenant: str) -> None:
    rows = [projected(A, 3, "acme", refers_to=["b.md"]), projected(B, 1, "acme")]
    projection.project(tenant, rows)
    built = graph(connection, tenant)
    projection.remove(tenant, [(A, 9), (C, 9)])
    projection.drop(tenant)
    assert projection.counts(tenant) == {}
    projection.project(tenant, rows)
    assert graph(connection, tenant) == built


# a document's content at a version never changes: removed (None), or these words, references and number
Content = tuple[tuple[str, ...], tuple[str, ...], int] | None
contents = st.none() | st.tuples(
    st.lists(st.sampled_from(["acme", "globex", "initech"]), unique=True, max_size=3).map(tuple),
    st.lists(st.sampled_from(sorted(NAMES.values())), unique=True, max_size=2).map(tuple),
    st.integers(0, 2),
)
histories = st.fixed_dictionaries({(document, version): contents for document in NAMES for version in (1, 2, 3)})
arrivals = st.lists(st.lists(st.tuples(st.sampled_from(sorted(NAMES)), st.integers(1, 3)), min_size=1, max_size=3), max_size=6)
_examples = itertools.count()


def arrive(projection: Projection, tenant: str, history: dict[tuple[str, int], Content], batch: list[tuple[str, int]]) -> None:
    arrived = [(document, version, history[document, version]) for document, version in batch]
    projection.remove(tenant, [(document, version) for document, version, content in arrived if content is None])
    rows = [(document, version, content) for document, version, content in arrived if content is not None]
    projection.project(tenant, [projected(d, version, *words, refers_to=names, number=n) for d, version, (words, names, n) in rows])


@settings(max_examples=25)
@given(history=histories, batches_=arrivals)
def test_any_order_and_repetition_gives_the_graph_of_the_highest_versions(
    projection: Projection, connection: Connection, history: dict[tuple[str, int], Content], batches_: list[list[tuple[str, int]]]
) -> None:
    shuffled, straight = (f"order-{next(_examples)}-{which}" for which in ("shuffled", "straight"))
    highest: dict[str, int] = {}
    for batch in batches_:
        arrive(projection, shuffled, history, batch)
        for document, version in batch:
            highest[document] = max(version, highest.get(document, version))
    arrive(projection, straight, history, sorted(highest.items()))
    found = [graph(connection, name) for name in (shuffled, straight)]
    names = known(connection, shuffled)
    for name in (shuffled, straight):
        projection.drop(name)
    assert found[0] == found[1]
    live = [content[2] for arrived in highest.items() if (content := history[arrived])]
    assert sorted(names) == [reference_key("rev", str(number)) for number in (1, 2) if live.count(number) == 1]


def test_writers_that_race_leave_the_graph_that_one_writer_leaves(projection: Projection, connection: Connection, tenant: str) -> None:
    writes = [
        [
            projected(document, version, "acme", "globex", f"w{version}", number=version % number)
            for document, number in ((A, 2), (B, 3), (C, 5))
        ]
        for version in range(1, 13)
    ]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda rows: projection.project(tenant, rows), writes))
    raced = graph(connection, tenant)
    projection.drop(tenant)
    projection.project(tenant, writes[-1])
    assert graph(connection, tenant) == raced


def test_names_of_any_length_are_written_and_stay_distinct(projection: Projection, tenant: str) -> None:
    long = ["é" * 20_000 + end for end in ("x", "y")]
    found = Contribution(
        name="/".join(long),
        title=long[0],
        sections=(Section((long[0], long[1]), (0,)),),
        entities=tuple(Entity(f"ORG:{name}", "ORG", name) for name in long),
        mentions=tuple(Mention(f"ORG:{name}", 0) for name in long),
        relations=(Relation(document_key(long[0]), "REFERS_TO", f"document:{long[1]}"),),
    )
    projection.project(tenant, [Projected(A, 1, found, ("0" * 32,))])
    # two organisations, the document's own name, and both ends of a relation between other documents
    assert projection.counts(tenant)["Entity"] == 5
    assert bounded(f"ORG:{long[0]}") != bounded(f"ORG:{long[1]}")


def test_a_documents_nodes_and_relationships_are_counted(projection: Projection, tenant: str) -> None:
    projection.project(tenant, [projected(A, 1, "acme", "globex", refers_to=["b.md"]), projected(B, 1, "acme")])
    assert projection.document_counts(tenant, A) == {
        "documents": 1,
        "sections": 2,
        "chunks": 2,
        "mentions": 2,
        "relations": 3,
        "tombstones": 0,
    }
    assert set(projection.document_counts(tenant, C).values()) == {0}


@pytest.mark.parametrize(
    "parts",
    [
        {"mentions": (Mention("ORG:acme", 2),)},
        {"mentions": (Mention("ORG:acme", -1),)},
        {"sections": (Section(("Top",), (2,)),)},
        {"sections": (Section((), (0,)),)},
        {"relations": (Relation("document:a.md", "REFERS_TO`]->() //", "document:b.md"),)},
    ],
)
def test_a_contribution_that_does_not_fit_its_chunks_is_refused(parts: dict[str, Any]) -> None:
    with pytest.raises(DocumentError, match="bad-contribution"):
        Projected(A, 1, Contribution("a.md", **parts), ("0" * 32, "1" * 32))


@pytest.mark.parametrize(("document", "version"), [("a.md", 1), (A.upper(), 1), (A, -1), (A, 2**63)])
def test_an_invalid_key_or_version_is_refused(document: str, version: int) -> None:
    with pytest.raises(DocumentError, match="bad-contribution"):
        Projected(document, version, Contribution("a.md"), ())


def test_batches_keep_documents_whole_and_transactions_small() -> None:
    rows = [projected(document, 1, "acme", "globex") for document in (A, B, C)]
    weight = rows[0].weight
    assert [len(batch) for batch in batches(rows, 2 * weight)] == [2, 1]
    assert [len(batch) for batch in batches(rows, 1)] == [1, 1, 1]
    assert list(batches([], 1)) == []


def test_an_unreachable_server_is_reported_within_seconds(endpoints: Endpoints) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and does not listen
        unreachable = endpoints.model_copy(update={"neo4j_url": f"bolt://127.0.0.1:{unused.getsockname()[1]}"})
        started = perf_counter()
        with Projection(unreachable) as projection, pytest.raises(Unavailable, match="unavailable") as raised:
            projection.remove("anyone", [(A, 1)])
    assert perf_counter() - started < 10
    assert raised.value.__cause__ is not None


def test_an_address_that_is_not_neo4js_is_a_configuration_error(endpoints: Endpoints) -> None:
    web = endpoints.model_copy(update={"neo4j_url": "http://localhost:7474"})
    with Projection(web) as projection, pytest.raises(ConfigurationError, match=r"neo4j\.url"):
        projection.documents("anyone")


def test_a_refused_login_makes_neo4j_unavailable_and_fails_no_document(endpoints: Endpoints) -> None:
    stranger = endpoints.model_copy(update={"neo4j_username": "nobody", "neo4j_password": SecretStr("not-the-password")})
    with Projection(stranger) as projection, pytest.raises(Unavailable, match="graph-refused") as raised:
        projection.documents("anyone")
    assert "not-the-password" not in str(raised.value)


def test_a_refused_statements_error_names_its_code_and_no_value(connection: Connection, tenant: str) -> None:
    secret = "-".join(("a", "passage", "of", "a", "document"))
    with pytest.raises(HeadraceError, match=r"graph-write-failed.*Neo\.ClientError") as raised:
        connection.read(tenant, lambda run: run("RETURN date($value) AS day", value=secret))
    assert not isinstance(raised.value, Unavailable)
    assert secret not in "".join(traceback.format_exception(raised.value))


def _statements(*names: str) -> list[tuple[str, str]]:
    return [(f"{file}.{name}", text) for file in names for name, text in statements("graph", f"cypher/{file}.cypher").items()]


@pytest.mark.parametrize(("name", "text"), _statements("write", "read", "drop"))
def test_every_statement_names_the_tenant_for_every_node_it_looks_up(name: str, text: str) -> None:
    looked_up = re.findall(r"\((\w*):(?:Document|Tombstone|Section|Chunk|Entity|Turn)\b(?! \{tenant: \$tenant)", text)
    unfiltered = [node for node in looked_up if f"{node}.tenant = $tenant" not in text and not _reached(node, text)]
    assert unfiltered == [], name
    assert "$tenant" in text


def _reached(node: str, text: str) -> bool:
    """Whether the node is reached by a relationship from a node of the tenant: no relationship crosses tenants."""
    return re.search(rf"(?:->|\]-|-->)\({node}:\w+\)|\({node}:\w+\)-\[r:RELATES\]", text) is not None


@pytest.mark.parametrize(("name", "text"), _statements("write", "read", "drop"))
def test_every_statement_is_answered_by_an_index(projection: Projection, connection: Connection, name: str, text: str) -> None:
    """The planner may seek or scan the index, depending on the data of other tests; it must not scan all nodes."""
    plan = _plan(connection, text)
    assert not [operator for operator in plan if "Scan" in operator and "Index" not in operator], name


def _plan(connection: Connection, text: str) -> list[str]:
    with connection._open().session() as session:
        plan = session.run(f"EXPLAIN {text}").consume().plan
    return list(_operators(plan))


def _operators(plan: Any) -> Iterator[str]:
    yield plan["operatorType"]
    for child in plan.get("children", []):
        yield from _operators(child)
