"""National, tax, health and licence numbers, secrets and dates: specimens published by issuers and standards, and look-alikes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.policy import Privacy
from privacy import Redactor
from privacy.finders import checksums
from tests.privacy.test_values import patterns

EVERYTHING = Privacy(actions=dict.fromkeys(("HEALTH_ID", "CARD_CODE", "DATE", "AGE", "ADDRESS"), "surrogate"))


@pytest.fixture(scope="module")
def everything() -> Redactor:
    return Redactor(EVERYTHING)


def found(redactor: Redactor, text: str, **kwargs: Any) -> list[tuple[str, str]]:
    return [(one.entity, text[one.start : one.end]) for one in redactor.detect(text, **kwargs)]


SPECIMENS = [
    ("TAX_ID", "Steuer-IdNr. {}", "86095742719"),
    ("NATIONAL_ID", "{}", "15070649C103"),
    ("HEALTH_ID", "KVNR {}", "A123456780"),
    ("NATIONAL_ID", "NIR {}", "2 55 08 14 168 025 38"),
    ("NATIONAL_ID", "codice fiscale {}", "RSSMRA80A01H501U"),
    ("NATIONAL_ID", "DNI {}", "12345678Z"),
    ("NATIONAL_ID", "DNI {}", "12345678-Z"),
    ("NATIONAL_ID", "NIE {}", "X1234567L"),
    ("NATIONAL_ID", "PESEL {}", "44051401359"),
    ("NATIONAL_ID", "CNP {}", "1800101221144"),
    ("NATIONAL_ID", "BSN: {}", "111222333"),
    ("NATIONAL_ID", "rijksregisternummer {}", "85.07.30-033.28"),
    ("NATIONAL_ID", "rodné číslo {}", "710319/2745"),
    ("TAX_ID", "NIF {}", "123456789"),
    ("NATIONAL_ID", "personnummer {}", "811228-9874"),
    ("NATIONAL_ID", "{}", "AB 12 34 56 C"),
    ("NATIONAL_ID", "SIN {}", "046 454 286"),
    ("TAX_ID", "TFN {}", "123 456 782"),
    ("HEALTH_ID", "Medicare {}", "2123 45670 1"),
    ("NATIONAL_ID", "Aadhaar {}", "2341 2341 2346"),
    ("TAX_ID", "PAN {}", "ABCPE1234F"),
    ("HEALTH_ID", "{}", "1EG4-TE5-MK73"),
    ("HEALTH_ID", "NPI {}", "1234567893"),
    ("BANK", "ABA routing {}", "021000021"),
    ("DRIVER_LICENSE", "driver's license {}", "A5631-9335"),
    ("TAX_ID", "{}", "DE136695976"),
    ("TAX_ID", "{}", "FR40303265045"),
    ("TAX_ID", "{}", "IT00743110157"),
    ("TAX_ID", "{}", "PL8567346215"),
    ("TAX_ID", "{}", "BE0428759497"),
    ("TAX_ID", "{}", "GB980780684"),
    ("TAX_ID", "{}", "PT501964843"),
    ("CARD_CODE", "CVV {}", "123"),
    ("AGE", "a {} year old man", "57"),
    ("DATE", "born {}", "23 March 1940"),
    ("DATE", "on {}", "1993-01-04 14:56:41"),
]


@pytest.mark.parametrize(("entity", "sentence", "value"), SPECIMENS)
def test_each_kind_of_number_is_found_whole(everything: Redactor, entity: str, sentence: str, value: str) -> None:
    assert (entity, value) in found(everything, sentence.format(value))


@pytest.mark.parametrize(
    "value", ["86095742710", "15070649C104", "RSSMRA80A01H501V", "12345678A", "X1234567A", "DE136695977", "GB980780685", "255081416802539"]
)
def test_a_number_with_a_wrong_check_digit_is_not_found(value: str) -> None:
    assert not {entity for entity, _ in found(patterns(), f"DNI, NIR, tax: {value}")} & {"NATIONAL_ID", "TAX_ID"}


@pytest.mark.parametrize("value", ["44051401359", "111222333", "046454286", "021000021"])
def test_a_number_with_a_weak_check_needs_a_word(value: str) -> None:
    assert "NATIONAL_ID" not in {entity for entity, _ in found(patterns(), f"order {value} shipped")}


def test_a_column_or_heading_counts_as_a_word(everything: Redactor) -> None:
    assert found(everything, "111222333", label="BSN") == [("NATIONAL_ID", "111222333")]
    assert found(everything, "219099999", label="SSN") == [("SSN", "219099999")]
    assert found(everything, "hunter2!", label="Password") == [("SECRET", "hunter2!")]


def test_only_numbers_of_the_configured_languages_are_found() -> None:
    only = Redactor(Privacy(languages=("pl",)))
    assert found(only, "PESEL 44051401359, BSN 111222333") == [("NATIONAL_ID", "44051401359")]


@given(st.text("0123456789", min_size=9, max_size=9), st.integers(0, 8), st.integers(1, 9))
def test_luhn_detects_every_single_wrong_digit(digits: str, place: int, change: int) -> None:
    valid = next(f"{digits}{check}" for check in range(10) if checksums.luhn(f"{digits}{check}"))
    wrong = f"{valid[:place]}{(int(valid[place]) + change) % 10}{valid[place + 1 :]}"
    assert not checksums.luhn(wrong)


@given(st.text("0123456789", min_size=11, max_size=11), st.integers(0, 9))
def test_verhoeff_detects_every_swap_of_adjacent_digits(digits: str, place: int) -> None:
    valid = next(f"{digits}{check}" for check in range(10) if checksums.verhoeff(f"{digits}{check}"))
    swapped = f"{valid[:place]}{valid[place + 1]}{valid[place]}{valid[place + 2 :]}"
    assert swapped == valid or not checksums.verhoeff(swapped)


KEY = "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEAx+3Q/9v\nq1w2e3r4t5y6==\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    "secret",
    [
        KEY,
        "AKIA" + "IOSFODNN7EXAMPLE",
        "ghp_" + "a1B2" * 9,
        "xoxb-" + "123456789012-abcdefGHIJ",
        "AIza" + "Sy0123456789abcdefghijklmnopqrstuvw",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w",
    ],
)
def test_a_key_is_found_inside_a_sentence(secret: str) -> None:
    assert found(patterns(), f"see {secret} there") == [("SECRET", secret)]


@pytest.mark.parametrize("sentence", ["password: {}", "DB_PASSWORD={}", "api_key = '{}'", "the password is {}", 'token: "{}",'])
def test_a_value_after_a_secrets_name_is_found(sentence: str) -> None:
    value = "tR7!kQ2x9Lm4Zp8v" if "assword" in sentence.lower() else "tR7kQ2x9Lm4Zp8vB"
    assert found(patterns(), sentence.format(value)) == [("SECRET", value)]


@pytest.mark.parametrize(
    "text",
    [
        "token = tokenize.generate_tokens(readline)",
        "The secret is in the details of implementation.",
        "password: required",
        "key = dictionary.get(name)",
        "access_token: string, optional",
        "the password is stored hashed",
        "display driver 535.54 under the GPL license",
        "doi 1145/2480360.2384582 under a permissive license",
    ],
)
def test_code_and_prose_about_secrets_and_licences_contain_none(text: str) -> None:
    assert found(patterns(), text) == []
