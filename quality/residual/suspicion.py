"""Suspected identifiers, network addresses, secrets and dates, by shape and by the word before them: half of the second detector.

Unlike redaction, which knows formats, numbering plans and check digits, it judges a number by the shape of its groups. It deliberately has
false hits, which `quality.residual.check` corrects for. Every repetition is bounded, so the time is linear in the text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from quality.residual.marks import Suspect

_NUMBER = re.compile(r"(?<![\w.+-])[+(]{0,2}\d(?:[ ()./–-]{0,3}\d){6,21}(?![\d_])(?![A-WYZa-wyz])")
_GROUP = re.compile(r"\d+")
_CUED = re.compile(
    r"\b(?:(?P<PHONE>tel|telephone|phone|mobile|cell|fax|whatsapp|call|text|dial|reach)|(?P<SSN>ssn|social security)|(?P<PASSPORT>passport)"
    r"|(?P<DRIVER_LICENSE>driv\w{0,6} licen[cs]e|licen[cs]e n\w{0,5})|(?P<IBAN>iban)|(?P<BANK>account|acct|a/c|routing|sort code|swift|bic)"
    r"|(?P<CARD>card|cc|visa|mastercard|amex|maestro)|(?P<NHS>nhs)|(?P<TAX_ID>vat|tin|ein|tax id|tax n\w{0,5})|(?P<ITIN>itin)"
    r"|(?P<NATIONAL_ID>national id|identity card|id card|id n\w{0,5}|insurance n\w{0,5})"
    r"|(?P<HEALTH_ID>mrn|medical record|patient id|member id))"
    r"\b[^\d\n]{0,20}?(?P<value>\b[A-Za-z]{0,3}\d(?:[ ./-]?[A-Za-z\d]){3,24})",
    re.IGNORECASE,
)
# dates, ages and links count only if the tenant's profile replaces them
_SHAPES = {
    "EMAIL": r"[\w.+-]{1,64}@(?:[\w-]{1,63}\.){1,6}[^\W\d_]\w{0,62}|[\w.+-]{1,64} ?[(\[{] ?at ?[)\]}] ?[\w-]{1,63}"
    r"|[<(][\w.+-]{1,64} at [\w-]{1,63}(?:(?:\.| dot )[\w-]{1,63}){1,6}[>)]",
    "CREDENTIAL": r"://[^\s/:@]{1,64}:[^\s/@]{1,64}@",
    "SECRET": r"(?i:pass(?:word|phrase|wd)?|pwd|secret|token|api[ _-]?key)\b[\"']?(?: is)?[ :=]{1,4}[\"']?(?=[^\s\"']{0,40}\d)"
    r"(?=[^\s\"']{0,40}[A-Za-z])[^\s\"'()<>]{8,128}|-----BEGIN [A-Z ]{0,20}PRIVATE KEY",
    "IP": r"(?<![\w.])(?!127\.|255\.)\d{2,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\w.]{1,2}\d)"
    r"|(?<![\w:])(?:[0-9A-Fa-f]{1,4}:){4,7}[0-9A-Fa-f]{1,4}(?![\w:])",
    "MAC": r"(?<![\w:-])[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}(?![\w:-])",
    "CRYPTO": r"(?<!\w)(?:[13][1-9A-HJ-NP-Za-km-z]{25,34}|bc1[a-z0-9]{11,71}|0x[0-9A-Fa-f]{40})(?!\w)",
    "IBAN": r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)",
    "URL": r"\b(?:https?://|www\.)[^\s<>\"']{3,200}",
    "DATE": r"(?<![\w./-])(?:(?:19|20)\d\d([./-])\d{1,2}\1\d{1,2}|\d{1,2}([./-])\d{1,2}\2(?:19|20)\d\d|\d{1,2}/\d{1,2}/\d\d)(?![\w/-])"
    r"|\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}\.? \d{1,2}\b|\b\d{1,2}(?:st|nd|rd|th)? (?:of )?"
    r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]{0,6}\b",
    "ADDRESS": r"(?i:\b(?:apt|apartment|suite|flat|unit|p\.? ?o\.? ?box)\b\.? ?#?\d{1,5})\b|\b[A-Z]{2},? \d{5}(?!\w)"
    r"|\b[A-Z]{1,2}\d[A-Z\d]? \d[A-Z]{2}\b"
    r"|\b\d{1,5},? (?:(?!Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[A-Z][^\W\d_]{2,30},? ){1,3}\d{1,6}\b",
    "AGE": r"\b\d{1,3}[ -]years?[ -]old\b|\baged? \d{1,3}\b",
}
_SHAPED = {kind: re.compile(shape) for kind, shape in _SHAPES.items()}

_DECIMAL = re.compile(r"(?<!\d)\d{1,2}\.\d{1,4}(?![.\d])")
_YEAR = re.compile(r"(?:19|20)\d\d$")
_DATED = re.compile(r"[12]\d{3}(?:[ ./–-]{1,3}[12]\d{3}){1,4}|\d{4}([./-])\d\d\1\d\d.{0,12}|\d{1,2}([./-])\d{1,2}\2(?:19|20)\d\d.{0,12}")
_FEWEST_DIGITS = {"PHONE": 6}


def identifiers(text: str) -> Iterator[Suspect]:
    """Suspected identifiers, secrets, addresses and dates in a blanked text. They may overlap."""
    for kind, shape in _SHAPED.items():
        yield from (Suspect(*hit.span(), kind) for hit in shape.finditer(text))
    for hit in _NUMBER.finditer(text):
        if kind := _number(hit[0]):
            yield Suspect(*hit.span(), kind)
    for hit in _CUED.finditer(text):
        kind, value = next(name for name, word in hit.groupdict().items() if word), hit["value"]
        if sum(map(str.isdecimal, value)) >= _FEWEST_DIGITS.get(kind, 5) and not _DATED.fullmatch(value):
            yield Suspect(*hit.span("value"), kind)


def _number(written: str) -> str:
    """The kind of number by the shape of its groups; empty if none."""
    groups = [len(group) for group in _GROUP.findall(written)]
    digits = sum(groups)
    if _DATED.fullmatch(written.lstrip("(")):
        return ""
    if groups == [3, 2, 4]:
        return "SSN"
    if (digits in (15, 16) and groups[0] in (4, digits) and written[0] in "23456") or (len(groups) == 4 == groups[0] and digits > 12):
        return "CARD"
    return "PHONE" if digits <= 15 and _dialled(written, groups) else ""


def _dialled(written: str, groups: list[int]) -> bool:
    """Whether groups of digits look like a telephone number, not like decimals, a fraction or a reference."""
    if _DECIMAL.search(written) or ("/" in written and written[0] not in "0+(") or ("(" in written[1:] and ")" not in written):
        return False
    if written[0] in "+(" or (groups == [3, 4] and not _YEAR.search(written)):
        return True
    return 2 <= len(groups) <= 6 and sum(groups) >= 8 and max(groups) <= 8 and groups[-1] >= 2
