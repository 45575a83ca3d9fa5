"""Canaries: unique values that redaction must replace, and the search for them in any bytes.

Each canary encodes its number, and its number the field where it was put. Findings are reported by format and field; a canary's value is
never shown. Documents with canaries are in `tests.canaries.canary_documents`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator

MARK, READER = "qzvkj", "qzvkm"
"""Five letters that every canary contains and no word does. `READER` marks principals, which are stored in clear to enforce access."""
CARD = "4539148803"
_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_CODE = 4


class Canaries:
    """All canaries by number. All spellings of a canary contain its code, so that any piece identifies its field."""

    def __init__(self) -> None:
        self._places: list[str] = []

    def of(self, name: str) -> FieldCanaries:
        """The canaries of the document or event of this name."""
        return FieldCanaries(self, name)

    def number(self, place: str) -> int:
        self._places.append(place)
        return len(self._places) - 1

    def __len__(self) -> int:
        return len(self._places)

    def place(self, code: str) -> str:
        """The field of the canary with this code, as `format: field`."""
        number = int(code, 36)
        return self._places[number] if number < len(self._places) else "of unknown field"

    def found(self, content: str | bytes) -> set[str]:
        """The fields whose canaries are in the content, in any spelling or encoding."""
        whole = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
        return {self.place(code) for code in _codes(whole)}


class FieldCanaries:
    """Creates the canaries of one document or event, each for one field: an e-mail address when called, and other kinds of values."""

    def __init__(self, canaries: Canaries, name: str) -> None:
        self._canaries, self._name = canaries, name

    def _code(self, field: str) -> str:
        return _written(self._canaries.number(f"{self._name}: {field}"))

    def __call__(self, field: str) -> str:
        """An e-mail address, with the code in both halves and in the domain."""
        code = MARK + self._code(field)
        return f"{code}{code}@{code}.example.org"

    def short(self, field: str, length: int) -> str:
        """An address of exactly `length` characters, at least 15: for formats with texts of fixed length."""
        return f"{MARK}{self._code(field)}@{'x' * (length - 13)}.de"

    def iban(self, field: str) -> str:
        """A valid IBAN of Malta, the one country whose account numbers have 18 letters or digits."""
        code = (MARK + self._code(field)).upper()
        bban = f"MALT01100{code}{code}"
        check = 98 - int("".join(str(int(char, 36)) for char in f"{bban}MT00")) % 97
        return f"MT{check:02}{bban}"

    def card(self, field: str) -> str:
        """A card number that passes Luhn's check."""
        digits = f"{CARD}{self._canaries.number(f'{self._name}: {field}'):05}"
        doubled = [int(char) * (2 - at % 2) for at, char in enumerate(digits)]
        return digits + str(-sum(n // 10 + n % 10 for n in doubled) % 10)

    def words(self, field: str) -> str:
        """A sentence with an address, an IBAN and a card number."""
        return f"Write to {self(field)}, pay to {self.iban(field)} or with {self.card(field)} today."

    def halves(self, field: str) -> tuple[str, str]:
        """An address in two parts, to put markup between them."""
        whole = FieldCanaries.__call__(self, field)
        return whole[: len(MARK) + _CODE], whole[len(MARK) + _CODE :]

    def disguised(self, field: str) -> Iterator[str]:
        """Addresses in the disguises that people and programs give them."""

        def address(disguise: str) -> str:
            return FieldCanaries.__call__(self, f"{field}, {disguise}")

        left, right = self.halves(f"{field}, zero-width")
        yield f"{left}\u200b{right}"
        left, right = self.halves(f"{field}, soft hyphen")
        yield f"{left}\u00ad{right}"
        yield _widened(address("full-width"))
        yield address("spelt out").replace("@", " [at] ").replace(".", " [dot] ")
        yield address("percent").replace("@", "%40")
        yield address("line break").replace("@", "@\n")

    def reader(self, field: str) -> str:
        """A principal of an access list."""
        return f"user:{READER}{self._code(field)}"


def _written(number: int) -> str:
    digits = ""
    for _ in range(_CODE):
        number, digit = divmod(number, 36)
        digits = _DIGITS[digit] + digits
    return digits


def _hexed(text: str, after: str, between: str = "") -> tuple[bytes, re.Pattern[bytes]]:
    """The text in hexadecimal, as a database prints bytes: what to search for first, and the expression of the whole code."""
    needle = between.join(text.encode().hex(" ").split()) + between
    return needle.encode(), re.compile(f"{needle}(?:{after}){between}((?:[0-9a-f]{{2}}{between}){{4}})".encode())


# what to search for first, and the expression of the whole code; both in lower case
_PLAIN = (
    (b"qzvk", re.compile(rb"qzvk[jm]([0-9a-z]{4})")),
    (b"q\0z\0v\0k", re.compile(rb"q\0z\0v\0k\0[jm]\0((?:[0-9a-z]\0){3}[0-9a-z])")),
)
_HEXED = (_hexed("qzvk", "6a|6d"), _hexed("QZVK", "4a|4d"), _hexed("qzvk", "6a|6d", "00"), _hexed("QZVK", "4a|4d", "00"))
_CARD = re.compile(CARD.encode() + rb"(\d{5})")


def _anonymous() -> Iterator[tuple[bytes, bool]]:
    """Pieces that show a canary but not its code, and whether their case matters."""
    yield from (
        (encoded, False) for encoded in (CARD.encode("utf-16-le"), CARD.encode().hex().encode(), CARD.encode("utf-16-le").hex().encode())
    )
    for text in (_widened("qzvk"), _widened("QZVK")):
        yield text.encode("ascii", "backslashreplace"), False
        for encoded in (text.encode(), text.encode("utf-16-le")):
            yield encoded, False
            yield encoded.hex().encode(), False
    for text in ("qzvk", "QZVK", CARD, _widened("qzvk"), _widened("QZVK")):
        yield "".join(f"%{byte:02x}" for byte in text.encode()).encode(), False
    for text in (MARK, READER, MARK.upper(), CARD, _widened(MARK), _widened(MARK.upper())):
        yield from ((piece, True) for piece in _base64_of(text))


def _widened(text: str) -> str:
    return "".join(chr(ord(char) + 0xFEE0) for char in text)


def _base64_of(text: str) -> Iterator[bytes]:
    """The characters that are constant in this text's base64, for each of the three positions where it can begin."""
    encoded = text.encode()
    for before in range(3):
        whole = base64.b64encode(b"\0" * before + encoded + b"\0\0")
        yield whole[-(-before * 8 // 6) : (before + len(encoded)) * 8 // 6]


_LOWERED = {needle.lower() for needle, cased in _anonymous() if not cased}
_CASED = {needle for needle, cased in _anonymous() if cased}
_UNKNOWN = "zzzz"


def _codes(whole: bytes) -> Iterator[str]:
    lowered = whole.lower()
    for needle, expression in _PLAIN:
        if needle in lowered:
            yield from (match[1].replace(b"\0", b"").decode() for match in expression.finditer(lowered))
    for needle, expression in _HEXED:
        if needle in lowered:
            codes = (bytes.fromhex(match[1].decode()).replace(b"\0", b"") for match in expression.finditer(lowered))
            yield from (code.decode("latin-1").lower() for code in codes)
    if CARD.encode() in lowered:
        yield from (_written(int(match[1])) for match in _CARD.finditer(lowered))
    if any(needle in lowered for needle in _LOWERED) or any(needle in whole for needle in _CASED):
        yield _UNKNOWN
