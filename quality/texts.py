"""Measures of texts for the chunk suite (`quality.expectations.chunks`): length, readability, and characters lost in decoding.

How well a document was read is in `quality.legibility`, personal data in `quality.residual`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

# more than one character in a hundred lost: a wrong encoding, or a font without a character map
REPLACED = 0.01


def describe_texts(frame: pl.DataFrame, text: str = "text") -> pl.DataFrame:
    """Replace a column of texts by measures.

    `characters`: the length in code points; `readable`: the share of letters, marks and digits among the non-space characters; `replaced`:
    the share of U+FFFD among all characters. Shares are 0 for an empty text, and null counts as empty.
    """
    import polars as pl

    content = pl.col(text).fill_null("")
    length, visible = content.str.len_chars(), content.str.count_matches(r"\S")
    readable, replaced = content.str.count_matches(r"[\p{L}\p{M}\p{N}]"), content.str.count_matches("\ufffd", literal=True)
    return frame.with_columns(
        characters=length.cast(pl.Int64),
        readable=pl.when(visible > 0).then(readable / visible).otherwise(0.0),
        replaced=pl.when(length > 0).then(replaced / length).otherwise(0.0),
    ).drop(text)
