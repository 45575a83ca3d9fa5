"""How many chunks a document may have for its text: each costs several KB in the index, however short it is."""

from __future__ import annotations

from collections.abc import Sequence

from core.records import Block

MOST_CHUNKS = 20_000
"""Of a document: about 20 MB of text."""

FREE = 16
"""Chunks that every document may have."""

LEAST_BYTES = 300
"""Of a document's text for each further chunk, so that the index takes at most twenty times as much (tests/pipelines/test_bounds.py)."""

_USUAL_TOKENS = 256
"""Who chooses smaller chunks chooses a larger index: `LEAST_BYTES` is less in proportion."""


def most_chunks(blocks: Sequence[Block], max_tokens: int) -> int:
    """How many chunks of so many tokens a document with these blocks may have."""
    least = LEAST_BYTES * min(1.0, max_tokens / _USUAL_TOKENS)
    return min(MOST_CHUNKS, FREE + int(text_bytes(blocks) / least))


def text_bytes(blocks: Sequence[Block]) -> int:
    """The document's text in UTF-8, with a separator for each block and cell."""
    texts = (text for block in blocks for text in (block.text, *(cell for row in block.rows for cell in row)))
    return sum(len(text.encode("utf-8", "surrogatepass")) + 1 for text in texts)
