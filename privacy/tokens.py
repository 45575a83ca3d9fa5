"""Formats surrogates `<ENTITY:hex>` and masks `<ENTITY>` in the shape that `core.surrogates` documents."""

from __future__ import annotations

from core.surrogates import HEX_DIGITS, TOKEN

__all__ = ["TOKEN", "mask", "token"]


def token(entity: str, digest: bytes) -> str:
    """The surrogate of an entity for a digest of at least 16 bytes.

    The first digit has 6 values, the others 16: 6 · 16^15 ≈ 6.9e18 surrogates for each entity. Birthday bound: among 10 million values of
    one tenant, two share a surrogate with a probability of 1e14 / (2 · 6.9e18) ≈ 7e-6.
    """
    first = "abcdef"[digest[-1] % 6]
    return f"<{entity}:{first}{digest.hex()[: HEX_DIGITS - 1]}>"


def mask(entity: str) -> str:
    """The mask of an entity. It reveals nothing about the value, not even whether two values are equal."""
    return f"<{entity}>"
