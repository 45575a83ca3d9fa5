"""The kinds of personal data, by the names that configuration, surrogates and counts use. How each is found is in `privacy.finders`."""

from __future__ import annotations

ENTITIES = (
    "CREDENTIAL",
    "EMAIL",
    "IBAN",
    "CARD",
    "PHONE",
    "NHS",
    "ITIN",
    "SSN",
    "PASSPORT",
    "BANK",
    "IP",
    "MAC",
    "CRYPTO",
    "PERSON",
    "LOCATION",
    "SECRET",
    "NATIONAL_ID",
    "TAX_ID",
    "DRIVER_LICENSE",
    "HEALTH_ID",
    "CARD_CODE",
    "ADDRESS",
    "ORGANIZATION",
    "DATE",
    "AGE",
    "URL",
    "CUSTOM",
)
"""A name is never removed or reused: it is part of the surrogates of texts redacted earlier."""
