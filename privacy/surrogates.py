"""Surrogates: a keyed hash of a value's normal form, so that equal values can be joined within their tenant and nowhere else.

Finding values is in `privacy.finders`; the surrogate's written shape is in `core.surrogates`.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Callable
from hashlib import sha256

from core.keys import TenantKeys
from privacy.finders.phones import e164
from privacy.tokens import token


def surrogate(entity: str, value: str, keys: TenantKeys) -> str:
    """The surrogate of `value` as an `entity` (one of LABELS): equal for all spellings of the value, unlinkable across tenants."""
    message = f"{entity}\0{normal_form(entity, value)}".encode("utf-8", "surrogatepass")
    return token(entity, hmac.digest(keys.surrogate_key, message, sha256))


def normal_form(entity: str, value: str) -> str:
    """One spelling for all ways to write a value. Expects folded text, accepts any."""
    return _NORMAL_FORMS.get(entity, _words)(value)


def _words(value: str) -> str:
    return " ".join(value.split()).casefold()


def _alphanumerics(value: str) -> str:
    return "".join(filter(str.isalnum, value)).upper()


_AT = re.compile(r"\s*[\[({]\s*at\s*[\])}]\s*|\s+at\s+", re.IGNORECASE)
_DOT = re.compile(r"\s*[\[({]\s*dot\s*[\])}]\s*|\s+dot\s+", re.IGNORECASE)


def _email(value: str) -> str:
    return _DOT.sub(".", _AT.sub("@", value)).strip().casefold()


def _phone(value: str) -> str:
    return e164(value) or "".join(filter(str.isdigit, value))


def _ip(value: str) -> str:
    try:
        return str(ipaddress.ip_interface(value).ip)
    except ValueError:
        return value.lower()


def _wallet(value: str) -> str:
    # base58 (1…, 3…) is case-sensitive; bech32 and hexadecimal are not
    return value if value[:1] in {"1", "3"} else value.lower()


_NORMAL_FORMS: dict[str, Callable[[str], str]] = {
    "EMAIL": _email,
    "PHONE": _phone,
    "IP": _ip,
    "CRYPTO": _wallet,
    "CREDENTIAL": str,
    **dict.fromkeys(("IBAN", "CARD", "NHS", "ITIN", "SSN", "PASSPORT", "BANK", "MAC"), _alphanumerics),
}
