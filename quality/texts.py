"""What texts look like, measured without keeping any: how long they are, how readable, how much of them was lost in decoding.

Measures for the chunk suite (`quality.expectations.chunks`). How well a document was read is in `quality.legibility`, personal data
in `quality.residual.check`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import polars as pl

# more than one character in a hundred lost: a wrong encoding, or a font without a character map
REPLACED = 0.01


def describe_texts(frame: pl.DataFrame, text: str = "text") -> pl.DataFrame:
    """Put measures in the place of a column of texts, so that no text goes further.

    `characters` is the length in code points; `readable` the share of letters, marks and digits among what is not white space, and
    `replaced` the share of U+FFFD among all (both 0 where there is nothing). A null counts as an empty text.
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
