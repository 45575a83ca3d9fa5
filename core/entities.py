"""What can be personal in a text, by the names that configuration, surrogates and counts have for it. How it is found is not said here."""

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
"""A name is never taken away or given to something else: it is in the surrogates of what was redacted under it."""
