"""Chunks: the token limit, no loss, structure, and stability under edits."""

from __future__ import annotations

import hashlib
import random
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable
from itertools import pairwise
from statistics import mean

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import chunkers
from chunkers import Chunker
from chunkers.allowance import FREE, MOST_CHUNKS, most_chunks
from chunkers.chunker import VERSION
from chunkers.text import halves, sentences, unwrapped
from core import frames, records
from core.errors import ConfigurationError, DocumentError
from core.records import Block, Chunk
from tests.chunkers.material import (
    ANY_BLOCK,
    CountTokens,
    body_of,
    bytes_with_merges,
    documents,
    heading,
    paragraph,
    prose,
    split,
    without_layout,
    wordpiece,
    words,
)

pytestmark = pytest.mark.slow

# ── the limit ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("counter", [wordpiece, bytes_with_merges])
@given(blocks=st.lists(ANY_BLOCK, max_size=12), max_tokens=st.integers(16, 96))
@settings(max_examples=60, deadline=None)
def test_no_chunk_ever_exceeds_the_token_limit(counter: Callable[[], CountTokens], blocks: list[Block], max_tokens: int) -> None:
    chunks = split(blocks, max_tokens, counter())
    assert [chunk.token_count for chunk in chunks] == counter()([chunk.embedded_text for chunk in chunks])
    assert all(chunk.token_count <= max_tokens for chunk in chunks)
    assert all(len(chunk.text) <= 20 * max_tokens for chunk in chunks)


MONSTERS = {
    "one endless word": "x" * 10_000_000,
    "emoji": "👩‍👩‍👧" * 20_000,
    "right to left": "שלום עולם " * 20_000,
    "no spaces": "漢字" * 50_000,
    "NUL": "a\x00" * 100_000,
    "one ligature of 18 letters": "\ufdfa" * 20_000,
    "combining marks": "e" + "\u0301" * 50_000,
    "spaces": "a" + " " * 1_000_000 + "b",
}


@pytest.mark.parametrize("text", MONSTERS.values(), ids=MONSTERS.keys())
@pytest.mark.parametrize("kind", ["paragraph", "heading", "code"])
def test_monsters_stay_within_the_limit(kind: records.BlockKind, text: str) -> None:
    chunks = split([heading("Title"), Block(kind, text, level=2), paragraph("After it.")], 256, wordpiece())
    assert all(chunk.token_count <= 256 and len(chunk.text) <= 20 * 256 for chunk in chunks)
    assert "".join(chunk.text for chunk in chunks).endswith("After it.")


def test_a_character_over_the_limit_is_an_error_of_the_document() -> None:
    with pytest.raises(DocumentError) as error:
        split([paragraph("x")], 8, lambda texts: [9 if text else 2 for text in texts])
    assert error.value.reason == "chunk-over-budget"


def test_an_impossible_limit_is_refused_with_its_value() -> None:
    with pytest.raises(ConfigurationError, match="at least 8, was: 3"):
        Chunker(words, 3, tokenizer="test")


# ── nothing lost, nothing repeated ──────────────────────────────────────────────────────────────────────────────


def without_repeated_headers(chunks: list[Chunk], blocks: list[Block]) -> str:
    text = "\n".join(chunk.text for chunk in chunks)
    for block in blocks:
        if block.kind == "table":
            line = " | ".join(block.rows[0]).rstrip(" |")
            before, found, after = text.partition(line)
            text = before + found + after.replace(f"{line}\n", "")
    return without_layout(text)


@given(documents(), st.integers(12, 80))
@settings(max_examples=150, deadline=None)
def test_every_word_is_in_the_chunks_once_and_in_order(blocks: list[Block], max_tokens: int) -> None:
    text = without_repeated_headers(split(blocks, max_tokens), [block for block in blocks if block.rows])
    assert re.sub(r"[A-Z0-9]", "", text) == re.sub(r"[0-9]", "", "".join(body_of(b) for b in blocks if b.kind != "heading"))


@given(documents(), st.integers(12, 80))
@settings(max_examples=100, deadline=None)
def test_every_heading_is_in_a_path_or_else_once_in_the_text(blocks: list[Block], max_tokens: int) -> None:
    chunks = split(blocks, max_tokens)
    paths = {title for chunk in chunks for title in chunk.heading_path}
    text = without_layout("".join(chunk.text for chunk in chunks))
    for block in blocks:
        if block.kind == "heading":
            found = len(re.findall(rf"{without_layout(block.text)}(?![0-9X])", text))
            assert found == (0 if block.text in paths else 1)


def test_a_document_of_headings_alone_has_a_chunk() -> None:
    (chunk,) = split([heading("Handbook"), heading("Holidays", 2), heading("Sick leave", 2)])
    assert chunk.embedded_text == "Handbook\nHolidays\n\nSick leave"


@pytest.mark.parametrize("text", ["", " \n\t ", "\x00\x00", "\u200b"])
def test_blocks_without_visible_text_have_no_chunk(text: str) -> None:
    assert split([paragraph(text), Block("code", text), Block("table", rows=((text, text),)), heading(text)]) == []


# ── structure ────────────────────────────────────────────────────────────────────────────────────────────────


LONG = "w " * 30
"""A section that stays by itself."""


def test_small_neighbours_share_a_chunk() -> None:
    blocks = [heading("One"), paragraph("a b"), paragraph("c d"), heading("Two"), paragraph(LONG)]
    assert [(c.heading_path, c.text) for c in split(blocks)] == [(("One",), "a b\n\nc d"), (("Two",), LONG.strip())]


def test_sections_with_equal_titles_stay_apart() -> None:
    texts = [c.text for c in split([heading("Note"), paragraph(f"a {LONG}"), heading("Note"), paragraph(f"b {LONG}")])]
    assert [text[0] for text in texts] == ["a", "b"]


# ── short sections ───────────────────────────────────────────────────────────────────────────────────────────────


def test_short_sections_are_joined_under_the_headings_that_they_have_in_common() -> None:
    blocks = [heading("Mill"), heading("Wheel", 2), paragraph("It turns."), heading("Stone", 2), paragraph("It grinds.")]
    (chunk,) = split(blocks)
    assert (chunk.heading_path, chunk.text) == (("Mill",), "Wheel\n\nIt turns.\n\nStone\n\nIt grinds.")


def test_a_short_section_joins_its_subsections() -> None:
    blocks = [heading("Mill"), paragraph("Grinds."), heading("Wheel", 2), paragraph("Turns."), heading("Other"), paragraph(LONG)]
    first, _ = split(blocks)
    assert (first.heading_path, first.text) == (("Mill",), "Grinds.\n\nWheel\n\nTurns.")


def test_what_is_beside_a_subsection_that_stays_by_itself_is_not_joined_to_the_next_section() -> None:
    wheel, stone = [heading("Wheel", 2), paragraph(LONG)], [heading("Stone", 2), paragraph("Grinds.")]
    blocks = [heading("Mill"), *wheel, *stone, heading("Other"), paragraph("Short.")]
    assert [c.heading_path for c in split(blocks)] == [("Mill", "Wheel"), ("Mill", "Stone"), ("Other",)]


def test_sections_are_joined_up_to_a_quarter_of_a_chunk() -> None:
    blocks = [block for n in range(60) for block in (heading(f"H{n}"), paragraph("a b"))]
    chunks = split(blocks)
    assert all(chunk.token_count <= 2 + 62 / 4 for chunk in chunks)
    assert len(chunks) < 60 / 2.5
    assert re.findall("H[0-9]+", " ".join(c.embedded_text for c in chunks)) == [f"H{n}" for n in range(60)]


def short_sections(rng: random.Random, count: int) -> list[list[Block]]:
    return [[heading(prose(rng, 1), rng.choice([1, 2, 2, 3])), paragraph(prose(rng, rng.randint(1, 6)))] for _ in range(count)]


@given(st.integers(0, 2**64))
@settings(max_examples=60, deadline=None)
def test_an_edit_among_short_sections_changes_only_chunks_around_it(seed: int) -> None:
    rng = random.Random(seed)
    sections = [section for part in range(10) for section in ([[heading(f"Part {part}"), paragraph(LONG)]], short_sections(rng, 20))]
    flat = [section for group in sections for section in group]
    at = rng.randrange(len(flat))
    edits = (
        flat[:at] + flat[at + 1 :],
        flat[:at] + short_sections(rng, 1) + flat[at:],
        flat[:at] + short_sections(rng, 1) + flat[at + 1 :],
    )
    before = hashes([block for section in flat for block in section])
    for edit in edits:
        assert len(hashes([block for section in edit for block in section]) - before) <= MAX_CHANGED


def test_a_document_of_too_many_chunks_for_its_text_is_cut_into_larger_ones() -> None:
    blocks = [Block("list_item", "a b c d", level=1) for _ in range(4_000)]
    sections = [block for n in range(4_000) for block in (heading("H"), paragraph("a"))]
    rows = [Block("table", rows=(("Name", "Role"), *(("a", "b") for _ in range(4_000))))]
    for document in (blocks, sections, rows):
        chunks = split(document, 256)
        assert len(chunks) <= most_chunks(document, 256)
        assert mean(chunk.token_count for chunk in chunks) > 0.4 * 256


# ── pieces ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_two_neighbours_of_a_section_never_fit_into_three_quarters_of_a_chunk() -> None:
    rng = random.Random(5)
    chunks = split([paragraph(prose(rng, rng.randint(1, 40))) for _ in range(80)])
    assert all(len(a.text.split()) + len(b.text.split()) > 0.75 * 62 - 1 for a, b in pairwise(chunks))


def test_heading_path_follows_the_levels() -> None:
    x, y, z = (paragraph(LONG) for _ in range(3))
    blocks = [heading("A"), heading("B", 2), x, heading("C", 3), y, heading("D", 2), z]
    assert [c.heading_path for c in split(blocks)] == [("A", "B"), ("A", "B", "C"), ("A", "D")]


def test_a_long_path_loses_its_root_first_and_leaves_half_for_the_text() -> None:
    long = "long " * 12
    chunks = split([heading("Root"), heading(long, 2), heading("Leaf", 3), paragraph("w " * 100)], max_tokens=32)
    assert {c.heading_path for c in chunks if c.text.startswith("w")} == {(long.strip(), "Leaf")}
    assert chunks[0].text == "Root"


def test_an_enormous_heading_is_text_and_no_path() -> None:
    chunks = split([heading("Root"), heading("word " * 500, 2), paragraph("body")], max_tokens=32)
    assert {c.heading_path for c in chunks} == {("Root",), ()}
    assert sum(c.text.count("word") for c in chunks) == 500


def test_the_page_is_that_of_the_first_block() -> None:
    assert [c.page for c in split([paragraph("a", 3), paragraph("b", 4)])] == [3]


def test_list_items_are_kept_together() -> None:
    items = [Block("list_item", f"item {n}", level=1) for n in range(9)]
    chunks = split([paragraph("w " * 40), *items, paragraph("v " * 40)])
    assert [c.text for c in chunks if "item" in c.text] == ["\n".join(f"- item {n}" for n in range(9))]


def test_a_long_table_is_sliced_by_rows_under_its_header() -> None:
    rows = tuple((f"name{n}", f"role {n}", "") for n in range(60))
    chunks = split([Block("table", rows=(("Name", "Role", "Note"), *rows))])
    assert len(chunks) > 3
    assert all(c.text.startswith("Name | Role | Note\nname") for c in chunks)
    assert [line for c in chunks for line in c.text.splitlines()[1:]] == [f"name{n} | role {n}" for n in range(60)]


def test_a_caption_stays_with_its_table() -> None:
    table = Block("table", rows=(("Year", "Rate"), *((f"{n}", "w " * 20) for n in range(9))))
    chunks = split([paragraph("w " * 50), Block("caption", "Table 1 rates"), table, paragraph("v " * 50)])
    assert [c.text.splitlines()[:2] for c in chunks if "Table 1" in c.text] == [["Table 1 rates", "Year | Rate"]]


def test_code_is_split_at_lines_and_keeps_its_indentation() -> None:
    code = "\n".join(f"def f{n}(x):\n    return x +  {n}\n" for n in range(40))
    chunks = split([Block("code", code)])
    assert len(chunks) > 2
    assert "\n".join(line for c in chunks for line in c.text.splitlines() if line) == code.replace("\n\n", "\n").rstrip()


def test_a_long_paragraph_is_split_at_sentences() -> None:
    text = " ".join(f"Sentence {n} has quite a few words in it." for n in range(30))
    chunks = split([paragraph(text)])
    assert len(chunks) > 3
    assert all(c.text.startswith("Sentence") and c.text.endswith(".") for c in chunks)


def test_a_long_paragraph_is_split_at_its_authors_line_breaks() -> None:
    speech = "\n".join(f"Miller {n}: it turns. It turns {'well ' * (n % 5)}today." for n in range(30))
    chunks = split([paragraph(speech)])
    assert len(chunks) > 3
    assert "\n".join(chunk.text for chunk in chunks) == speech


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("one two\nthree four", "one two\nthree four"),
        ("short\na line that is longer", "short\na line that is longer"),
        ("x" * 121 + "\n" + "y" * 120, "x" * 121 + "\n" + "y" * 120),
        ("  one \t two\r\n\n\x00three\n\u200b", "one two\nthree"),
        ("", ""),
    ],
)
def test_a_line_break_is_kept(text: str, kept: str) -> None:
    assert unwrapped(text) == kept


@given(st.lists(st.text("abc.", min_size=1, max_size=12), min_size=30, max_size=90), st.integers(60, 120))
def test_what_was_wrapped_is_one_line(words: list[str], width: int) -> None:
    assert unwrapped(textwrap.fill(" ".join(words), width)) == " ".join(words)


@given(st.text("ab \n\t.é中", max_size=300))
def test_unwrapping_changes_nothing_but_white_space(text: str) -> None:
    assert unwrapped(text).split() == text.split()
    assert unwrapped(unwrapped(text)).split() == text.split()


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ("See e.g. Smith et al. Here. J. R. Tolkien vs. Dr. No.", ["See e.g. Smith et al. Here.", "J. R. Tolkien vs. Dr. No."]),
        ('He said "Stop." Then left.', ['He said "Stop."', "Then left."]),
        ("Version 3.11 is out. it is.", ["Version 3.11 is out. it is."]),
        ("一。二！三", ["一。", "二！", "三"]),
        ("", [""]),
    ],
)
def test_sentences(text: str, parts: list[str]) -> None:
    assert [part.text for part in sentences(text)] == parts


@given(st.text("ab.!?。」 \n\")'", max_size=60))
def test_sentences_put_together_are_the_text(text: str) -> None:
    assert "".join(part.joint + part.text for part in sentences(text)) == text


@given(st.text(min_size=2, max_size=60).map(str.rstrip).filter(lambda text: len(text) > 1))
def test_halves_are_smaller_and_lose_nothing_but_indentation(text: str) -> None:
    parts = halves(text)
    assert all(0 < len(part.text) < len(text) for part in parts)
    assert text.endswith("".join(part.joint + part.text for part in parts))


def test_a_family_emoji_is_not_split_if_avoidable() -> None:
    family = "👩‍👩‍👧"
    left, right = halves(family * 7)
    assert left.text == family * 4
    assert right.text == family * 3


# ── stability ────────────────────────────────────────────────────────────────────────────────────────────────

SMALL = (7, 13)
"""Words of a paragraph: several per chunk and of similar length, because otherwise chunking by offset would resynchronise, too."""

MAX_CHANGED = 10
"""Text hashes that editing a block smaller than a chunk may add. Measured over 6,000 edits: 1.7 on average, 6 at most."""


def edited(blocks: list[Block], rng: random.Random) -> list[Block]:
    at, new = rng.randrange(len(blocks)), paragraph(prose(rng, rng.randint(1, 50)))
    return {
        "change": [*blocks[:at], new, *blocks[at + 1 :]],
        "insert": [*blocks[:at], new, *blocks[at:]],
        "delete": [*blocks[:at], *blocks[at + 1 :]],
    }[rng.choice(["change", "insert", "delete"])]


def hashes(blocks: list[Block]) -> set[str]:
    return {chunk.text_hash for chunk in split(blocks)}


@given(st.integers(0, 2**64), st.sampled_from([2, 3, 10, 1000]))
@settings(max_examples=100, deadline=None)
def test_an_edit_in_a_long_section_changes_only_chunks_around_it(seed: int, vocabulary: int) -> None:
    """Also if blocks repeat: `vocabulary` is the number of distinct paragraphs in the section."""
    rng = random.Random(seed)
    pool = [paragraph(prose(rng, rng.randint(*SMALL))) for _ in range(vocabulary)]
    blocks = [rng.choice(pool) for _ in range(rng.randint(50, 300))]
    assert len(hashes(edited(blocks, rng)) - hashes(blocks)) <= MAX_CHANGED


def test_an_edit_changes_about_two_chunks_on_average() -> None:
    rng = random.Random(7)
    blocks = [paragraph(prose(rng, rng.randint(*SMALL))) for _ in range(400)]
    before = hashes(blocks)
    assert len(before) > 50
    assert mean(len(hashes(edited(blocks, rng)) - before) for _ in range(60)) < 2.5


def lines_of(kind: records.BlockKind, lines: list[str]) -> Block:
    if kind == "table":
        return Block(kind, rows=(("Header",), *((line,) for line in lines)))
    return Block(kind, (" " if kind == "paragraph" else "\n").join(lines))


@pytest.mark.parametrize("kind", ["paragraph", "code", "table"])
def test_an_edit_within_a_long_block_changes_only_chunks_around_it(kind: records.BlockKind) -> None:
    rng = random.Random(11)
    lines = [prose(rng, 6).capitalize() + "." for _ in range(400)]
    before = hashes([lines_of(kind, lines)])
    for at in (0, 1, 200, 399):
        after = hashes([lines_of(kind, [*lines[:at], "Another line.", *lines[at + 1 :]])])
        assert len(after - before) <= MAX_CHANGED < len(before)


def test_another_process_gives_the_same_chunks() -> None:
    script = (
        "from chunkers import Chunker; from core.records import Block\n"
        "chunker = Chunker(lambda texts: [len(text.split()) + 2 for text in texts], 32, 'test')\n"
        "blocks = [Block('paragraph', f'text {n} ' * (n % 7)) for n in range(50)]\n"
        "print([chunker.fingerprint, *(chunk.text_hash for chunk in chunker.split(blocks))])"
    )
    run = [sys.executable, "-c", script]
    outputs = {subprocess.run(run, env={"PYTHONHASHSEED": seed}, capture_output=True, check=True).stdout for seed in ("1", "2")}
    assert len(outputs) == 1


def test_other_chunks_from_the_same_blocks_need_another_version() -> None:
    """If the change is intended, raise `chunkers.chunker.VERSION` and update the digest; stored chunks are then recreated."""
    rng = random.Random(13)
    table = Block("table", rows=(("Name", "Role"), *((prose(rng, 2), prose(rng, 3)) for _ in range(20))))
    items = [Block("list_item", prose(rng, 9), level=1 + n % 3) for n in range(12)]
    code = Block("code", "\n\n".join(f"def {prose(rng, 1)}():\n    pass" for _ in range(20)), page=2)
    parts = [
        heading("One"),
        paragraph(prose(rng, 200)),
        table,
        Block("caption", "About it"),
        heading("Two", 2),
        *items,
        code,
        heading("End"),
    ]
    digest = hashlib.sha256(records.encode(split(parts))).hexdigest()
    assert (VERSION, digest[:16]) == (2, "a171541798fb2911")


# ── identity and the stage ───────────────────────────────────────────────────────────────────────────────────


def test_the_same_embedded_text_has_the_same_hash_everywhere() -> None:
    first, *_ = split([heading("A"), paragraph(LONG, 1)])
    *_, last = split([heading("Z"), paragraph("other"), heading("A"), paragraph(LONG, 9)])
    elsewhere, *_ = split([heading("B"), paragraph(LONG)])
    assert first.text_hash == last.text_hash != elsewhere.text_hash
    assert re.fullmatch("[0-9a-f]{32}", first.text_hash)


def test_the_fingerprint_covers_the_limit_and_the_tokenizer() -> None:
    prints = {Chunker(words, limit, name).fingerprint for limit in (64, 65) for name in ("one", "two")}
    assert len(prints) == 4
    assert all(re.fullmatch("[0-9a-f]{32}", fingerprint) for fingerprint in prints)
    assert Chunker(words, 64, "one").fingerprint == Chunker(len, 64, "one").fingerprint  # type: ignore[arg-type]


def test_the_stage_returns_each_documents_chunks() -> None:
    documents = [records.Redacted("a", (heading("T"), paragraph("x y"))), records.Redacted("b", ())]
    rows = [("d" * 32, "k1", records.encode(documents[0])), ("e" * 32, "k2", records.encode(documents[1]))]
    frame = pl.DataFrame(rows, schema=dict(frames.REDACTED), orient="row")
    out = chunkers.chunk(frame, Chunker(words, 64, "test"))
    assert out.schema == frames.RESULT
    assert out["input_key"].to_list() == ["k1", "k2"]
    first, second = (records.decode(payload, list[Chunk]) for payload in out["payload"])
    assert [(c.heading_path, c.text, c.token_count, c.ordinal) for c in first] == [(("T",), "x y", 5, 0)]
    assert second == []


def test_a_document_of_more_chunks_than_its_text_is_allowed_fails_alone() -> None:
    payloads = [records.encode(records.Redacted("a", (paragraph(text),))) for text in ("!" * 40_000, "word " * 8_000)]
    frame = pl.DataFrame({"document": ["d", "e"], "input_key": ["k", "l"], "redacted": payloads}, schema=dict(frames.REDACTED))
    out = chunkers.chunk(frame, Chunker(wordpiece(), 256, "test"))
    assert out["reason"].to_list() == ["too-many-chunks", None]
    assert re.fullmatch("[0-9]+ chunks, more than 149", out["detail"][0])


@pytest.mark.parametrize("name", ["table", "hierarchical"])
def test_strategies_of_small_chunks_may_have_as_many_as_an_index_takes(name: str) -> None:
    blocks = [paragraph("!" * 40_000)]
    assert Chunker(words, 256, "test", name).most(blocks) == MOST_CHUNKS > Chunker(words, 256, "test").most(blocks)


@given(st.lists(ANY_BLOCK, max_size=12), st.integers(32, 8192))
def test_a_document_may_have_more_chunks_the_longer_it_is_and_the_smaller_they_are(blocks: list[Block], max_tokens: int) -> None:
    most = most_chunks(blocks, max_tokens)
    assert FREE <= most <= most_chunks([*blocks, paragraph("more " * 100)], max_tokens)
    assert most_chunks(blocks, 2 * max_tokens) <= most


def test_a_document_that_cannot_be_split_fails_alone() -> None:
    def count(texts: list[str]) -> list[int]:
        return [99 if "ﷺ" in text else len(text.split()) + 2 for text in texts]

    payloads = [records.encode(records.Redacted("a", (paragraph(text),))) for text in ("ﷺ", "fine")]
    frame = pl.DataFrame({"document": ["d", "e"], "input_key": ["k", "l"], "redacted": payloads}, schema=dict(frames.REDACTED))
    out = chunkers.chunk(frame, Chunker(count, 64, "test"))
    assert out["reason"].to_list() == ["chunk-over-budget", None]
    assert "ﷺ" not in out["detail"][0]
