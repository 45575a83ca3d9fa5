"""Check digits as the standards and issuing authorities define them. Values have no separators, and letters are in upper case."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

# Verhoeff, "Error detecting decimal codes", 1969: multiplication in the dihedral group D5, and the permutation by position
_D5 = (
    "0123456789",
    "1234067895",
    "2340178956",
    "3401289567",
    "4012395678",
    "5987604321",
    "6598710432",
    "7659821043",
    "8765932104",
    "9876543210",
)
_PERMUTED = ("0123456789", "1576283094", "5803796142", "8916043527", "9453126870", "4286573901", "2793806415", "7046913258")
_DNI = "TRWAGMYFPDXBNJZSQVHLCKE"
# Decreto 23 dicembre 1976: the values of characters in odd positions
_ODD = dict(zip("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ", (
    1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 1, 0, 5, 7, 9, 13, 15, 17, 19, 21, 2, 4, 18, 20, 11, 3, 6, 8, 12, 14, 16, 10, 22, 25, 24, 23,
), strict=True))  # fmt: skip


def luhn(value: str) -> bool:
    """ISO/IEC 7812-1, annex B."""
    doubled = (int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(value)))
    return value.isdigit() and sum(number // 10 + number % 10 for number in doubled) % 10 == 0


def mod97(value: str) -> bool:
    """ISO 7064 MOD 97-10 with the first four characters moved to the end, as ISO 13616 defines it for IBANs."""
    return value.isalnum() and value.isascii() and int("".join(str(int(char, 36)) for char in value[4:] + value[:4])) % 97 == 1


def mod11_10(value: str) -> bool:
    """ISO 7064 MOD 11,10: German tax and VAT numbers."""
    product = 10
    for digit in value[:-1]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(value[-1])


def verhoeff(value: str) -> bool:
    """Verhoeff's dihedral check: Aadhaar."""
    check = 0
    for place, digit in enumerate(reversed(value)):
        check = int(_D5[check][int(_PERMUTED[place % 8][int(digit)])])
    return value.isdigit() and check == 0


def weighted(weights: Sequence[int], modulus: int, expected: Callable[[int], int] | None = None) -> Callable[[str], bool]:
    """A check by a weighted sum. `expected` maps the remainder to the digit after the weighted ones; without it the remainder must be 0."""

    def check(value: str) -> bool:
        total = sum(weight * int(digit) for weight, digit in zip(weights, value, strict=False))
        return expected(total % modulus) == int(value[len(weights)]) if expected else total % modulus == 0

    return check


def tax_id_de(value: str) -> bool:
    """Steuer-IdNr., § 139b AO: among the first ten digits one occurs twice or three times and none more often."""
    times = [value[:10].count(digit) for digit in set(value[:10])]
    return 1 < max(times) < 4 and mod11_10(value)


def pension_de(value: str) -> bool:
    """Versicherungsnummer, § 2 VKVV: digit sums of the weighted digits; the letter counts as its two-digit position in the alphabet."""
    digits = f"{value[:8]}{ord(value[8]) - 64:02}{value[9:11]}"
    products = (weight * int(digit) for weight, digit in zip((2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1), digits, strict=True))
    return sum(product // 10 + product % 10 for product in products) % 10 == int(value[11])


def health_de(value: str) -> bool:
    """Krankenversichertennummer, § 290 SGB V: Luhn's sum from the left; the letter counts as its two-digit position in the alphabet."""
    digits = f"{ord(value[0]) - 64:02}{value[1:9]}"
    products = (int(digit) * (1 + place % 2) for place, digit in enumerate(digits))
    return sum(product // 10 + product % 10 for product in products) % 10 == int(value[9])


def nir_fr(value: str) -> bool:
    """Numéro d'inscription au répertoire, INSEE: 97 minus the remainder; Corsica's 2A and 2B count as 19 and 18."""
    number = int(value[:13].replace("2A", "19").replace("2B", "18"))
    return 97 - number % 97 == int(value[13:])


def codice_fiscale_it(value: str) -> bool:
    """Codice fiscale, Decreto 23 dicembre 1976."""
    total = sum(
        _ODD[char] if place % 2 == 0 else int(char, 36) % 26 if char.isdigit() else ord(char) - 65 for place, char in enumerate(value[:15])
    )
    return chr(65 + total % 26) == value[15]


def dni_es(value: str) -> bool:
    """DNI and NIE, Real Decreto 1553/2005: the remainder modulo 23 determines the letter; X, Y, Z count as 0, 1, 2."""
    number = value[:-1].translate(str.maketrans("XYZ", "012"))
    return _DNI[int(number) % 23] == value[-1]


def national_be(value: str) -> bool:
    """Rijksregisternummer, KB 3 april 1984: 97 minus the remainder, of the number with a leading 2 for births since 2000."""
    return any(97 - int(century + value[:9]) % 97 == int(value[9:]) for century in ("", "2"))


def birth_number_cz(value: str) -> bool:
    """Rodné číslo, zákon 133/2000 Sb.: a multiple of 11 (or the first nine digits leave 10 and the last is 0)."""
    return int(value) % 11 == 0 or (int(value[:9]) % 11 == 10 and value[9] == "0")


def vat_fr(value: str) -> bool:
    """TVA intracommunautaire: (12 + 3 · (SIREN mod 97)) mod 97, and a SIREN that passes Luhn."""
    return (12 + 3 * (int(value[4:]) % 97)) % 97 == int(value[2:4]) and luhn(value[4:])


def vat_gb(value: str) -> bool:
    """HMRC notice 700: weights 8 to 2; the sum plus the last two digits, or 55 more, is a multiple of 97."""
    total = sum(weight * int(digit) for weight, digit in zip(range(8, 1, -1), value[2:9], strict=True)) + int(value[9:11])
    return total % 97 in (0, 42)


def vat_nl(value: str) -> bool:
    """Btw-id: older ones have the check of a BSN, those since 2020 ISO 7064 MOD 97-10 over the whole, with A = 10."""
    return bsn_nl(value[2:11]) or int("".join(str(int(char, 36)) for char in value)) % 97 == 1


def npi_us(value: str) -> bool:
    """45 CFR 162.406: Luhn over the number after the prefix 80840."""
    return luhn(f"80840{value}")


# Besluit burgerservicenummer: modulo 11 with a weight of -1 for the last digit
bsn_nl = weighted((9, 8, 7, 6, 5, 4, 3, 2, -1), 11)
# Rozporządzenie MSWiA z 4.01.2012
pesel_pl = weighted((1, 3, 7, 9, 1, 3, 7, 9, 1, 3), 10, lambda rest: -rest % 10)
nip_pl = weighted((6, 5, 7, 2, 3, 4, 5, 6, 7), 11, lambda rest: rest)
# Legea 105/1996: 10 counts as 1
cnp_ro = weighted((2, 7, 9, 1, 4, 6, 3, 5, 8, 2, 7, 9), 11, lambda rest: 1 if rest == 10 else rest)
# Decreto-Lei 14/2013: remainders of 0 and 1 give 0
nif_pt = weighted((9, 8, 7, 6, 5, 4, 3, 2), 11, lambda rest: 0 if rest < 2 else 11 - rest)
# ATO: TFN algorithm; Services Australia: Medicare card
tfn_au = weighted((1, 4, 3, 7, 5, 8, 6, 9, 10), 11)
medicare_au = weighted((1, 3, 7, 9, 1, 3, 7, 9), 10, lambda rest: rest)
# American Bankers Association, routing number policy
routing_us = weighted((3, 7, 1, 3, 7, 1, 3, 7, 1), 10)

NAMED: Mapping[str, Callable[[str], bool]] = {"luhn": luhn, "mod97": mod97, "mod11_10": mod11_10, "verhoeff": verhoeff}
"""The checks that a tenant's own expression can name."""
