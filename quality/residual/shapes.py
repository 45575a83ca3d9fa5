"""Certain findings: values with an unmistakable shape. E-mail addresses, cards, IBANs, telephone numbers with a country code.

The patterns and check digits share no code with redaction, which they check.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from unicodedata import normalize

from quality.check import Severity
from quality.residual.marks import blanked

# a phone number has no check digit, so a hit may be another number after a plus
KINDS: dict[str, Severity] = {"EMAIL": "error", "CARD": "error", "IBAN": "error", "PHONE": "warn"}
# every repetition is bounded, so that searching is linear in any text
_EMAIL = re.compile(r"[\w.%+-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}")
_CARD = re.compile(r"(?<![\w.+-])(?:\d{13,19}|\d{4}(?:[ -]\d{3,6}){2,4})(?![\w-])")
_IBAN = re.compile(r"(?<![^\W_])(?=([A-Za-z]{2}\d{2}(?:[ -]?[A-Za-z0-9]){11,30}))")
_PHONE = re.compile(r"(?<![\w+])\+[1-9](?:[ ()./-]{0,3}\d){7,14}(?![\d])")
# issuers' first digits (ISO/IEC 7812): 2221–2720, 3, 4, 5, 6; excludes ISBNs and timestamps
_ISSUER = re.compile(r"2[2-7]|[3-6]")
# country and length, from the SWIFT IBAN registry
_IBAN_LENGTHS = {
    country: int(length)
    for country, length in re.findall(
        r"([A-Z]{2})(\d{2})",
        "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 DK18 DO28 EE20 EG29 ES24 FI18 "
        "FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 "
        "LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 "
        "SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30",
    )
}


def certain(text: str) -> Iterator[tuple[str, str]]:
    """The (kind, value) of each certain finding, after NFKC normalisation. Surrogates and masks are skipped."""
    text = normalize("NFKC", blanked(text))
    if "@" in text:
        yield from (("EMAIL", hit[0]) for hit in _EMAIL.finditer(text))
    if "+" in text:
        yield from (("PHONE", hit[0]) for hit in _PHONE.finditer(text))
    yield from (("CARD", hit[0]) for hit in _CARD.finditer(text) if _is_card(hit[0]))
    yield from (("IBAN", hit[1]) for hit in _IBAN.finditer(text) if _is_iban(hit[1]))


def _is_card(written: str) -> bool:
    digits = [int(digit) for digit in written if digit.isdecimal()]
    return 13 <= len(digits) <= 19 and bool(_ISSUER.match(written)) and _luhn(digits)


def _luhn(digits: list[int]) -> bool:
    """ISO/IEC 7812-1, annex B: every second digit from the right is doubled and its digits added up; the sum ends in 0."""
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def _is_iban(written: str) -> bool:
    """ISO 13616: with the first four characters moved to the end and A = 10 … Z = 35, the number leaves 1 modulo 97."""
    compact = re.sub("[ -]", "", written).upper()
    length = _IBAN_LENGTHS.get(compact[:2], 0)
    if not 0 < length <= len(compact):
        return False
    rearranged = compact[4:length] + compact[:4]
    return int("".join(str(int(character, 36)) for character in rearranged)) % 97 == 1
