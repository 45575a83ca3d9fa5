"""AsciiDoc's comments, which docling would read as paragraphs."""

from __future__ import annotations

import re

from parsers.decoding import decode

# delimited blocks, in which `//` is text unless the block is a comment itself; and comment lines
_BLOCK_OR_COMMENT = re.compile(
    r"^(?P<fence>-{4,}|\.{4,}|\+{4,}|/{4,})[ \t]*$.*?^(?P=fence)[ \t]*$|^(?P<ticks>`{3,})[^\n]*$.*?^(?P=ticks)[ \t]*$|^//(?!/)[^\n]*\n?",
    re.MULTILINE | re.DOTALL,
)


def without_comments(content: bytes) -> bytes:
    """The source without comment lines and comment blocks. A comment block without an end is kept as text."""
    return _BLOCK_OR_COMMENT.sub(lambda found: "" if found[0].startswith("//") else found[0], decode(content)).encode()
