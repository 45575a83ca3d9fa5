"""The shape of what redaction puts in a value's place: `<ENTITY:hex>` for a surrogate, `<ENTITY>` for a mask.

privacy writes these tokens; quality and graph recognise them. How the digits come from a value and a key is in `privacy.surrogates`.
"""

from __future__ import annotations

import re

from core.entities import ENTITIES

HEX_DIGITS = 16

_ENTITY = "|".join(ENTITIES)
# the first digit is a letter, so that no token contains a number such as a card's, and no such number passes for a token
_HEX = rf"[a-f][0-9a-f]{{{HEX_DIGITS - 1}}}"

SURROGATE = re.compile(rf"<({_ENTITY}):({_HEX})>")
"""A surrogate. Groups: 1 the entity, 2 the hexadecimal digits."""

TOKEN = re.compile(rf"<({_ENTITY})(?::({_HEX}))?>")
"""A surrogate or a mask. Groups: 1 the entity, 2 the hexadecimal digits, None for a mask."""
