"""Near-duplicates: after any history, edges, hot bands and clusters are those of the passages that remain, made from scratch.

`core.shingles` is tested in tests/core/test_shingles.py, what a search shows of a cluster in tests/index/test_collapse.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import shingles
from core.errors import Unavailable
from core.policy import NearDuplicates
from core.records import Chunk, EmbeddingModel
from core.sql import statements
from core.tenancy import Connection
from index import embeddings, generations, near_duplicate_bands, near_duplicates, swap
from tests.index.test_index import landed, text_hash
from tests.index.test_lexical import nodes
from tests.tenant_fixture import World

pytestmark = pytest.mark.usefixtures("empty_world")

NAMES = ("a.md", "b.md", "c.md")
SENTENCES = (
    "The guide bearing of the second turbine is greased every {} weeks by the operator on duty.",
    "Replace the shaft seal when leakage exceeds {} litres an hour, and note the date in the log.",
)
WORDS = [f"word{number:02}" for number in range(40)]
# each is alike the next ones, and not those further on
CHAIN = tuple(" ".join(WORDS[at : at + 24]) for at in range(0, 16, 2))
TEXT = st.one_of(
    st.sampled_from(CHAIN),
    st.sampled_from(CHAIN),
    st.builds(lambda template, number: template.format(number), st.sampled_from(SENTENCES), st.sampled_from("23456789")),
    st.sampled_from([SENTENCES[0], SENTENCES[0].upper(), "short", "tiny", " ".join(SENTENCES)]),
)
PUTS = st.tuples(st.sampled_from(NAMES), st.lists(TEXT, max_size=8).map(tuple), st.sampled_from(["", "one", "two", "three"]))
STEPS = st.one_of(PUTS, PUTS, PUTS, st.sampled_from(NAMES))
RULES = NearDuplicates()


@dataclass(frozen=True)
class State:
    """What is stored, or should be: similarities by edge, pivots by passage, and by hot band how many passages have it, and its heads."""

    edges: Mapping[tuple[str, str], float]
    pivots: Mapping[str, str]
    hot: Mapping[int, tuple[int, tuple[str, ...]]]


def put(world: World, name: str, texts: Sequence[str], heading: str = "", rules: NearDuplicates = RULES) -> None:
    path = (heading,) if heading else ()
    chunks = tuple(Chunk(n, text, text_hash(heading + text), 2, path, page=1) for n, text in enumerate(texts))
    hashes = sorted({chunk.text_hash for chunk in chunks})
    with world.session.transaction() as connection:
        generation = generations.open_generation(connection, "f", EmbeddingModel("m", name="m"), 2)
        if hashes:
            embeddings.keep(connection, "m", hashes, np.ones((len(hashes), 2), dtype=np.float32))
        version = swap.Version(name, "", "", ("*",), chunks)
        assert swap.swap(connection, generation, "m", {world.key(name): version}, rules) == []


def apply(world: World, step: tuple[str, tuple[str, ...], str] | str) -> None:
    if isinstance(step, str):
        with world.session.transaction() as connection:
            swap.remove(connection, [world.key(step)])
    else:
        put(world, *step)


def from_scratch(world: World, threshold: float = RULES.threshold) -> State:
    """By comparing everything that may be compared, from the chunks alone."""
    texts = {row["text_hash"]: shingles.normalised(row["text"]) for row in world.rows("SELECT text_hash, text FROM chunk")}
    bands = dict(zip(texts, shingles.bands(list(texts.values())).tolist(), strict=True))
    members: dict[int, list[str]] = {}
    for passage in sorted(texts):
        for band in bands[passage]:
            members.setdefault(band, []).append(passage)
    heads = {band: passages[: near_duplicate_bands.HEADS] for band, passages in members.items()}
    edges: dict[tuple[str, str], float] = {}
    pivots: dict[str, str] = {}
    for passage in sorted(texts):
        before = sorted({head for band in bands[passage] for head in heads[band] if head < passage})
        alike = {head: shingles.similarity(texts[passage], texts[head]) for head in before}
        kept = [head for head in before if alike[head] >= threshold][: near_duplicates.EDGES]
        edges.update({(passage, head): alike[head] for head in kept})
        pivots[passage] = next((head for head in kept if pivots[head] == head), passage)
    hot = {band: (len(all_), tuple(heads[band])) for band, all_ in members.items() if len(all_) > near_duplicate_bands.HEADS}
    return State(edges, pivots, hot)


def stored(world: World) -> State:
    edges = world.rows("SELECT text_hash, neighbour, similarity, pivot FROM near_duplicate")
    pivots = {row["text_hash"]: row["text_hash"] for row in world.rows("SELECT text_hash FROM signature")}
    pivots.update((row["text_hash"], row["neighbour"]) for row in edges if row["pivot"])
    return State(
        {(row["text_hash"], row["neighbour"]): row["similarity"] for row in edges},
        pivots,
        {row["band"]: (row["passages"], tuple(row["heads"])) for row in world.rows("SELECT * FROM hot_band")},
    )


def check(world: World, threshold: float = RULES.threshold) -> State:
    expected, found = from_scratch(world, threshold), stored(world)
    assert found.pivots == expected.pivots
    assert found.edges == pytest.approx(expected.edges, rel=1e-6)
    assert found.hot == expected.hot
    return found


@pytest.mark.parametrize(("heads", "edges"), [(16, 8), (3, 2), (1, 8), (2, 1)])
@given(steps=st.lists(STEPS, min_size=1, max_size=8))
@settings(max_examples=40)
def test_after_any_history_clusters_are_those_made_from_scratch(
    world: World, heads: int, edges: int, steps: list[tuple[str, tuple[str, ...], str] | str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicate_bands, "HEADS", heads)
        patch.setattr(near_duplicates, "EDGES", edges)
        world.clear()
        landed(world, *NAMES)
        for step in steps:
            apply(world, step)
            check(world)


@given(
    st.lists(PUTS, min_size=1, max_size=4),
    st.sets(st.integers(0, 6)),
    st.sampled_from([NearDuplicates(), NearDuplicates(threshold=0.95), NearDuplicates(threshold=0.5, boilerplate="leave-out")]),
    st.integers(0, 4),
    st.booleans(),
)
@settings(max_examples=25)
def test_what_has_no_signature_gets_one_and_other_rules_take_effect_however_often_that_is_cut_off(
    world: World, steps: list[tuple[str, tuple[str, ...], str]], without: set[int], rules: NearDuplicates, cut_off: int, other_scheme: bool
) -> None:
    world.clear()
    landed(world, *NAMES)
    for step in steps:
        apply(world, step)
    with world.session.transaction() as connection:
        if other_scheme:
            connection.execute("UPDATE deduplication SET scheme = 'another'")
        else:  # as if an earlier version had indexed some passages
            connection.execute("UPDATE deduplication SET behind = true")
            forget(connection, [chunk for number, chunk in enumerate(sorted(from_scratch(world).pivots)) if number in without])
    with suppress(Unavailable):
        near_duplicates.catch_up(world.cut_off(cut_off), rules)
    put(world, "c.md", [SENTENCES[0].format("7")])
    near_duplicates.catch_up(world.session.transaction, rules)
    with world.session.transaction() as connection:
        assert not near_duplicates.is_behind(connection, rules)
    check(world, rules.threshold)
    assert [row["boilerplate"] for row in world.rows("SELECT boilerplate FROM deduplication")] == [rules.boilerplate]


def forget(connection: Connection, passages: list[str]) -> None:
    """Leave these passages as they are without signatures."""
    rows = connection.execute("SELECT generation FROM chunk WHERE text_hash = ANY (%s)", [passages]).fetchall()
    gone = {
        row["text_hash"]: row["bands"]
        for row in connection.execute("SELECT text_hash, bands FROM signature WHERE text_hash = ANY (%s)", [passages])
    }
    connection.execute("DELETE FROM signature WHERE text_hash = ANY (%s)", [passages])
    for generation in {row["generation"] for row in rows}:
        near_duplicates._changed(connection, generation, RULES.threshold, {}, gone)


def test_a_worker_with_another_scheme_adds_no_signature_and_leaves_the_passage_to_maintenance(world: World) -> None:
    landed(world, "a.md")
    put(world, "a.md", ["one text"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicates, "EDGES", 5)  # part of the scheme
        put(world, "a.md", ["one text", "another text"])
    assert world.rows("SELECT behind FROM deduplication") == [{"behind": True}]
    assert len(world.rows("SELECT FROM signature")) == 1
    near_duplicates.catch_up(world.session.transaction, RULES)
    check(world)


def test_the_same_text_below_many_headings_is_one_cluster_with_few_edges(world: World) -> None:
    landed(world, *NAMES)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicate_bands, "HEADS", 4)
        patch.setattr(near_duplicates, "EDGES", 2)
        for number in range(12):
            put(world, NAMES[number % 3], [SENTENCES[0]] * 3, heading=str(number))
        with world.session.transaction() as connection:
            generation = generations.open_generation(connection, "f", EmbeddingModel("m", name="m"), 2)
            chunks = [Chunk(n, SENTENCES[0], text_hash(f"many {n}"), 2, (str(n),)) for n in range(40)]
            embeddings.keep(connection, "m", [chunk.text_hash for chunk in chunks], np.ones((40, 2), dtype=np.float32))
            counts: Counter[str] = Counter()
            swap.swap(connection, generation, "m", {world.key("a.md"): swap.Version("a.md", "", "", ("*",), tuple(chunks))}, RULES, counts)
        found = check(world)
    assert len(set(found.pivots.values())) == 1
    assert len(found.edges) <= 2 * len(found.pivots)
    assert (counts["signed"], counts["left_out"] > 0, len(found.hot)) == (40, True, shingles.BANDS)


def test_a_generation_that_is_cleared_leaves_nothing(world: World) -> None:
    landed(world, "a.md")
    put(world, "a.md", [SENTENCES[0].format(n) for n in range(3)])
    with world.session.transaction() as connection:
        near_duplicates.clear(connection, [row["generation"] for row in world.rows("SELECT generation FROM generation")])
    for table in ("signature", "hot_band", "near_duplicate", "deduplication"):
        assert world.rows(f"SELECT FROM {table}") == []


def test_looking_for_a_band_reads_no_table_and_no_generation_from_beginning_to_end(world: World) -> None:
    values: Mapping[str, dict[str, Any]] = {
        "sharing": {"wanted": ["{1,2}"]},
        "below": {"heads": ["a"], "wanted": ["{1,2}"]},
        "first": {"wanted": [1, 2], "most": 16},
    }
    with world.session.transaction() as connection:
        connection.execute("SET LOCAL enable_seqscan = off")
        for name, given_values in values.items():
            statement = statements("index", "sql/near_duplicates.sql")[name]
            [row] = connection.execute(f"EXPLAIN (FORMAT JSON) {statement}", {"generation": 1, **given_values})
            used = [node.get("Index Name", node.get("Relation Name", "")) for node in nodes(row["QUERY PLAN"][0]["Plan"])]
            assert [name for name in used if "signature" in name and name != "signature"] == ["signature_bands_idx"]
