"""Near-duplicates: after any history, edges, hot bands and clusters are those of the passages that remain, made from scratch.

`core.shingles` is tested in tests/core/test_shingles.py, what a search shows of a cluster in tests/index/test_collapse.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core import shingles
from core.policy import NearDuplicates
from core.records import Chunk, EmbeddingModel
from index import embeddings, generations, near_duplicate_bands, near_duplicates, swap
from tests.index.test_index import landed, text_hash
from tests.tenant_fixture import World

pytestmark = pytest.mark.usefixtures("empty_world")

NAMES = ("a.md", "b.md", "c.md")
SENTENCES = (
    "The guide bearing of the second turbine is greased every {} weeks by the operator on duty.",
    "Replace the shaft seal when leakage exceeds {} litres an hour, and note the date in the log.",
)
TEXT = st.one_of(
    st.builds(lambda template, number: template.format(number), st.sampled_from(SENTENCES), st.sampled_from("23456789")),
    st.sampled_from([SENTENCES[0], SENTENCES[0].upper(), "short", "tiny", " ".join(SENTENCES)]),
)
PUTS = st.tuples(st.sampled_from(NAMES), st.lists(TEXT, max_size=5).map(tuple))
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


def apply(world: World, step: tuple[str, tuple[str, ...]] | str) -> None:
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


@pytest.mark.parametrize(("heads", "edges"), [(16, 8), (3, 2), (1, 1), (2, 8)])
@given(steps=st.lists(STEPS, min_size=1, max_size=8))
@settings(max_examples=25)
def test_after_any_history_clusters_are_those_made_from_scratch(
    world: World, heads: int, edges: int, steps: list[tuple[str, tuple[str, ...]] | str]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(near_duplicate_bands, "HEADS", heads)
        patch.setattr(near_duplicates, "EDGES", edges)
        world.clear()
        landed(world, *NAMES)
        for step in steps:
            apply(world, step)
            check(world)
