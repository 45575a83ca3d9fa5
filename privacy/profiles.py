"""The shipped profiles: which entities each looks for and the action on each, with a tenant's changes applied.

How an entity is found is in `privacy.finders`. docs/privacy.md has each profile's measured precision and recall.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import scrypt

from pydantic import SecretStr

from core.policy import Action, Privacy

THRESHOLD = 0.4
"""Presidio's default: a pattern with a lower score needs one of its words nearby."""

_STRUCTURED: Mapping[str, Action] = dict.fromkeys(
    (
        "CREDENTIAL", "SECRET", "EMAIL", "IBAN", "CARD", "PHONE", "NHS", "ITIN", "SSN", "NATIONAL_ID", "TAX_ID", "PASSPORT",
        "DRIVER_LICENSE", "BANK", "IP", "MAC", "CRYPTO", "CUSTOM",
    ),
    "surrogate",
)  # fmt: skip
# links are found so that an action can be configured for them; by default they are kept, because they are rarely personal themselves
_LINKS: Mapping[str, Action] = {"URL": "keep"}
_NAMES: Mapping[str, Action] = dict.fromkeys(("PERSON", "LOCATION", "ADDRESS"), "surrogate")

SHIPPED: Mapping[str, Mapping[str, Action]] = {
    "patterns": {**_STRUCTURED, **_LINKS},
    "names": {**_STRUCTURED, **_LINKS, **_NAMES},
    # everything that can be found, links and dates too
    "strict": dict.fromkeys((*_STRUCTURED, *_NAMES, "URL", "HEALTH_ID", "CARD_CODE", "ORGANIZATION", "DATE", "AGE"), "surrogate"),
    # 45 CFR 164.514(b)(2), HIPAA's safe harbour, as far as text goes: names, places, dates, ages, numbers, links
    "health": {**_STRUCTURED, **_NAMES, **dict.fromkeys(("HEALTH_ID", "DATE", "AGE", "URL"), "surrogate")},
    # PCI DSS 4.0: 3.3 forbids storing a card's code in any form; 3.5.1 a hash next to a truncated number, so cards are masked
    "payments": {**_STRUCTURED, **_LINKS, "CARD": "mask", "CARD_CODE": "drop", "SECRET": "mask", "CREDENTIAL": "mask"},
}


@dataclass(frozen=True)
class Profile:
    """`actions`: the action on each entity that is looked for. `fingerprint` identifies the profile without revealing listed values."""

    actions: Mapping[str, Action]
    thresholds: Mapping[str, float]
    fingerprint: str

    def threshold(self, entity: str) -> float:
        return self.thresholds.get(entity, THRESHOLD)


def profile(privacy: Privacy) -> Profile:
    """The shipped profile with the tenant's changes. Every entity with an action is looked for."""
    own: dict[str, Action] = {expression.entity: "surrogate" for expression in privacy.expressions}
    actions = own | dict(SHIPPED[privacy.profile]) | privacy.actions
    return Profile(actions, privacy.thresholds, _fingerprint(privacy, actions))


def _fingerprint(privacy: Privacy, actions: Mapping[str, Action]) -> str:
    """The same for equal configurations. The lists of values are hashed with scrypt (RFC 7914, 16 MB), so guessing is expensive."""
    open_part = {
        "actions": dict(actions),
        "thresholds": privacy.thresholds,
        "expressions": [expression.model_dump() for expression in privacy.expressions],
        "languages": sorted(privacy.languages),
    }
    lists = [_plain(privacy.allow), _plain(privacy.deny)]
    cost = 2**14 if any(lists) else 2
    body = json.dumps([open_part, lists], sort_keys=True).encode("utf-8", "surrogatepass")
    return f"{privacy.profile}-{scrypt(body, salt=b'headrace/profile', n=cost, r=8, p=1, dklen=8).hex()}"


def _plain(values: tuple[SecretStr, ...]) -> list[str]:
    return sorted(value.get_secret_value() for value in values)
