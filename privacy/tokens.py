"""The shape of what stands in a value's place: `<ENTITY:hex>` for a surrogate, `<ENTITY>` for a mask.

How a surrogate's hexadecimal comes from a value and a key is in `privacy.surrogates`.
"""

from __future__ import annotations

import re

from core.entities import ENTITIES

LABELS = ENTITIES

# The first character is always a letter, so that no token ever reads as a number: 6 · 16^15 ≈ 6.9e18 tokens.
# Birthday bound: among 10 million values of one tenant, two share a token with a probability of 1e14 / (2 · 6.9e18) ≈ 7e-6.
_HEX = 16

TOKEN = re.compile(rf"<(?:{'|'.join(LABELS)})(?::[a-f][0-9a-f]{{{_HEX - 1}}})?>")


def token(entity: str, digest: bytes) -> str:
    """The token of an entity for a digest of at least 16 bytes."""
    first = "abcdef"[digest[-1] % 6]
    return f"<{entity}:{first}{digest.hex()[: _HEX - 1]}>"


def mask(entity: str) -> str:
    """The token of an entity that tells nothing of the value, not even whether two are the same."""
    return f"<{entity}>"
