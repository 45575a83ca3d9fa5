"""What holds for every strategy, and what each is for."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chunkers import Chunker
from chunkers.strategies import STRATEGIES
from core import policy
from core.errors import ConfigurationError
from core.policy import Chunking
from core.records import Block, Chunk
from parsers.formats import Format
from tests.chunkers.material import ANY_BLOCK, CountTokens, bytes_with_merges, documents, heading, paragraph, prose, wordpiece, words

pytestmark = pytest.mark.slow

NAMES = sorted(STRATEGIES)


def encode(texts: Sequence[str]) -> np.ndarray:
    """Each text's direction is that of its first word."""
    seeds = [int.from_bytes(blake2b(text.split(" ")[0].encode(), digest_size=4).digest()) for text in texts]
    vectors = np.array([np.random.default_rng(seed).standard_normal(8) for seed in seeds], dtype=np.float32).reshape(-1, 8)
    normal: np.ndarray = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return normal


def chunker(name: str, max_tokens: int = 64, count: CountTokens = words, **formats: str) -> Chunker:
    return Chunker(count, max_tokens, "test", name, formats, encode, "model")


def split(name: str, blocks: list[Block], max_tokens: int = 64, count: CountTokens = words) -> list[Chunk]:
    return chunker(name, max_tokens, count).split(blocks)


def seen(text: str) -> Counter[str]:
    """The characters of a text, without white space, list marks and table bars, which are layout."""
    return Counter(re.sub(r"[\s|-]", "", text))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("counter", [wordpiece, bytes_with_merges])
@given(blocks=st.lists(ANY_BLOCK, max_size=10), max_tokens=st.integers(16, 96))
@settings(max_examples=25, deadline=None)
def test_no_strategy_exceeds_the_limit(name: str, counter: Callable[[], CountTokens], blocks: list[Block], max_tokens: int) -> None:
    chunks = split(name, blocks, max_tokens, counter())
    assert [chunk.token_count for chunk in chunks] == counter()([chunk.embedded_text for chunk in chunks])
    assert all(chunk.token_count <= max_tokens for chunk in chunks)
    assert [chunk.ordinal for chunk in chunks] == list(range(len(chunks)))


@pytest.mark.parametrize("name", NAMES)
@given(blocks=documents(), max_tokens=st.integers(12, 80))
@settings(max_examples=60, deadline=None)
def test_every_visible_character_is_in_a_chunk(name: str, blocks: list[Block], max_tokens: int) -> None:
    chunks = split(name, blocks, max_tokens)
    written = seen("".join(block.text + "".join(cell for row in block.rows for cell in row) for block in blocks))
    assert not written - seen("".join(chunk.embedded_text for chunk in chunks))
    assert split(name, blocks, max_tokens) == chunks


@pytest.mark.parametrize("name", NAMES)
def test_a_document_without_visible_text_has_no_chunk(name: str) -> None:
    assert split(name, []) == []
    assert split(name, [paragraph(" \n"), Block("table", rows=(("", " "),)), Block("code", "\u200b")]) == []


@pytest.mark.parametrize("name", NAMES)
@given(seed=st.integers(0, 2**32), added=st.integers(1, 9))
@settings(max_examples=20, deadline=None)
def test_what_is_appended_changes_only_chunks_at_the_end(name: str, seed: int, added: int) -> None:
    rng = random.Random(seed)
    blocks = [heading("Log")] + [paragraph(prose(rng, rng.randint(7, 13))) for _ in range(100)]
    more = [paragraph(prose(rng, rng.randint(7, 13))) for _ in range(added)]
    before = [chunk.text_hash for chunk in split(name, blocks)]
    kept = set(before) & {chunk.text_hash for chunk in split(name, [*blocks, *more])}
    assert set(before[:-6]) <= kept


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ["x" * 2_000_000, "a " * 200_000, "漢字" * 20_000, "a. " * 50_000])
def test_monsters_stay_within_the_limit(name: str, text: str) -> None:
    chunks = split(name, [paragraph(text), paragraph("After it.")], 256, wordpiece())
    assert all(chunk.token_count <= 256 and len(chunk.text) <= 20 * 256 for chunk in chunks)
    assert "".join(chunk.text for chunk in chunks).endswith("After it.")


# ── each one ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_recursive_cuts_at_the_coarsest_separator_that_fits() -> None:
    long = " ".join(f"Sentence {n} of it." for n in range(6))
    chunks = split("recursive", [heading("Title"), paragraph("a b c"), paragraph(long), paragraph("d e")], max_tokens=14)
    assert [chunk.text for chunk in chunks] == [
        "Title\n\na b c",
        "Sentence 0 of it. Sentence 1 of it. Sentence 2 of it.",
        "Sentence 3 of it. Sentence 4 of it. Sentence 5 of it.",
        "d e",
    ]
    assert {chunk.heading_path for chunk in chunks} == {()}


def test_fixed_fills_every_window() -> None:
    chunks = split("fixed", [paragraph("a b c. d"), paragraph("e f g")], max_tokens=8)
    assert [chunk.text for chunk in chunks] == ["a b c. d\n\ne f", "g"]


@pytest.mark.parametrize("name", ["recursive", "fixed"])
def test_a_window_has_the_page_that_it_starts_on(name: str) -> None:
    blocks = [paragraph("a b c d e", page=1), paragraph("f g h i j", page=2), paragraph("k l m n o", page=3)]
    assert [chunk.page for chunk in split(name, blocks, max_tokens=8)] == [1, 2, 3]


TABLE = Block("table", rows=(("Name", "Role"), *((f"name{n}", f"role {n}") for n in range(20))))


def test_table_gives_each_row_a_chunk_under_the_header() -> None:
    chunks = split("table", [paragraph("Before it."), TABLE, paragraph("After it.")])
    assert [chunk.text for chunk in chunks] == [
        "Before it.",
        *(f"Name | Role\nname{n} | role {n}" for n in range(20)),
        "After it.",
    ]


def test_structure_groups_a_tables_rows_into_a_quarter_of_a_chunk() -> None:
    sizes = [len(chunk.text.split()) for chunk in split("structure", [TABLE])]
    assert max(sizes) <= (64 - 2) / 4
    assert len(sizes) < 20


def test_a_wide_header_is_a_quarter_of_its_group_at_most() -> None:
    table = Block("table", rows=(tuple(f"column{n}" for n in range(5)), *(("cell",) for _ in range(90))))
    whole = [len(chunk.text.split()) for chunk in split("structure", [table])]
    assert max(whole) <= 4 * 9
    assert sum(size > 3 * 9 for size in whole) > len(whole) / 2


CODE = """import os


class Mill:
    wheel = 1

    def turn(self):
        if self.wheel:
            return "a b c"
        else:
            return "g h i"

    @property
    def flow(self):
        return 2


def main():
    return Mill().turn("a b c d e f g h i")
"""


def test_code_starts_chunks_at_definitions() -> None:
    starts = [chunk.text.splitlines()[0].strip() for chunk in split("code", [Block("code", CODE)], max_tokens=24)]
    assert starts == ["import os", "def turn(self):", "@property", "def main():"]


def test_semantic_cuts_where_sentences_differ_most() -> None:
    text = " ".join([*(f"Wheel turns {n} times a day." for n in range(7)), *(f"Flour costs {n} coins a sack." for n in range(7))])
    chunks = split("semantic", [paragraph(text)])
    assert [chunk.text.split()[0] for chunk in chunks] == ["Wheel", "Flour"]


# ── choice ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_format_has_its_own_strategy() -> None:
    mixed = chunker("structure", csv="table")
    assert mixed.split([TABLE], "csv") == split("table", [TABLE])
    assert mixed.split([TABLE], "html") == mixed.split([TABLE]) == split("structure", [TABLE])


def test_the_fingerprint_covers_the_strategies() -> None:
    formats: tuple[dict[str, str], ...] = ({}, {"csv": "table"}, {"xlsx": "table"}, {"csv": "code"})
    prints = {Chunker(words, 64, "test", name, own, encode).fingerprint for name in NAMES for own in formats}
    assert len(prints) == len(formats) * len(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_the_fingerprint_covers_the_embedding_model_only_where_it_decides(name: str) -> None:
    other = Chunker(words, 64, "test", name, {}, encode, "another model")
    assert (other.fingerprint != chunker(name).fingerprint) == STRATEGIES[name].embeds


def test_an_unknown_strategy_is_refused_with_its_name() -> None:
    with pytest.raises(ConfigurationError, match="was: 'magic'"):
        chunker("magic")
    with pytest.raises(ConfigurationError, match="was: 'magic'"):
        chunker("structure", csv="magic")
    with pytest.raises(ConfigurationError, match="'semantic' needs an embedding model"):
        Chunker(words, 64, "test", "semantic")


def test_the_settings_name_every_strategy_and_every_format() -> None:
    assert set(get_args(policy.Strategy)) == set(STRATEGIES)
    assert set(get_args(policy.FormatName)) == {form.value for form in Format}
    assert Chunking().strategy == "structure"


# ── parents ───────────────────────────────────────────────────────────────────────────────────────────────────────


@given(blocks=documents(), max_tokens=st.integers(24, 80))
@settings(max_examples=60, deadline=None)
def test_every_child_lies_in_its_parent_and_parents_follow_each_other(blocks: list[Block], max_tokens: int) -> None:
    chunks = split("hierarchical", blocks, max_tokens)
    parents = list(dict.fromkeys(chunk.parent for chunk in chunks))
    assert [ordinal for first, last in filter(None, parents) for ordinal in range(first, last + 1)] == list(range(len(chunks)))
    for chunk in chunks:
        assert chunk.parent
        assert chunk.parent[0] <= chunk.ordinal <= chunk.parent[1]
        assert chunk.heading_path == chunks[chunk.parent[0]].heading_path or not chunk.heading_path


def test_children_are_a_quarter_of_their_parents() -> None:
    rng = random.Random(3)
    chunks = split("hierarchical", [paragraph(prose(rng, 5)) for _ in range(100)], max_tokens=82)
    assert {len(chunk.text.split()) for chunk in chunks} <= {5, 10, 15}
    counted = Counter(chunk.parent for chunk in chunks)
    assert 3 < sum(counted.values()) / len(counted) <= 80 / 5


@pytest.mark.parametrize("name", sorted({*NAMES} - {"hierarchical"}))
def test_other_chunks_answer_for_themselves(name: str) -> None:
    assert {chunk.parent for chunk in split(name, [paragraph("a b c"), TABLE])} == {None}


# ── overlap ───────────────────────────────────────────────────────────────────────────────────────────────────────


def overlapping(name: str, overlap: int, max_tokens: int = 64, count: CountTokens = words) -> Chunker:
    return Chunker(count, max_tokens, "test", name, overlap=overlap)


def test_a_window_begins_with_the_end_of_the_one_before() -> None:
    chunks = overlapping("fixed", 2, max_tokens=8).split([paragraph("a b c d e f g h i j k")])
    assert [chunk.text for chunk in chunks] == ["a b c d", "c d e f g h", "g h i j k"]


@pytest.mark.parametrize("name", ["fixed", "recursive"])
@given(seed=st.integers(0, 2**32), max_tokens=st.integers(16, 80), share=st.floats(0, 0.49))
@settings(max_examples=60, deadline=None)
def test_overlap_repeats_only_the_end_of_what_is_before_and_loses_nothing(name: str, seed: int, max_tokens: int, share: float) -> None:
    rng, overlap = random.Random(seed), int(share * max_tokens)
    blocks = [paragraph(prose(rng, rng.randint(1, 40))) for _ in range(20)]
    written = " ".join(block.text for block in blocks).split()
    chunks = overlapping(name, overlap, max_tokens).split(blocks)
    end = 0
    for chunk in chunks:
        found = chunk.text.split()
        start = written.index(found[0])
        assert written[start : start + len(found)] == found
        assert chunk.token_count <= max_tokens
        assert end - overlap <= start <= end < start + len(found)
        assert start == end - overlap or overlap > end
        end = start + len(found)
    assert end == len(written)


def test_the_fingerprint_covers_the_overlap_only_where_a_strategy_overlaps() -> None:
    for name in NAMES:
        prints = {Chunker(words, 64, "test", name, {}, encode, overlap=overlap).fingerprint for overlap in (0, 8, 9)}
        assert len(prints) == (3 if STRATEGIES[name].overlaps else 1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"overlap": 128, "strategy": "fixed"}, "less than half of max_tokens, 256, was: 128"),
        ({"overlap": 8}, "for the strategies fixed and recursive, was: 8 for structure"),
        ({"overlap": -1, "strategy": "fixed"}, "greater than or equal to 0"),
    ],
)
def test_an_overlap_that_cannot_be_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Chunking.model_validate(settings)


def test_a_chunker_refuses_an_overlap_of_half_a_chunk() -> None:
    with pytest.raises(ConfigurationError, match="less than half of max_tokens, 64, was: 32"):
        overlapping("fixed", 32)
