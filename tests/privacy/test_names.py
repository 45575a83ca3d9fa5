"""The names profile with the packaged spaCy model, with a model of the tests, and without a model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import spacy
from hypothesis import given, settings
from hypothesis import strategies as st

from core import records
from core.errors import ConfigurationError
from core.policy import Privacy
from privacy import Redactor, new_data_key, redact_text, surrogate, tenant_keys
from tests.privacy.test_values import MASTER, SHOWN

pytestmark = pytest.mark.slow

KEYS = tenant_keys(MASTER, "acme", new_data_key(MASTER, "acme"))


def tiny_model(folder: Path, patterns: Sequence[tuple[str, str]]) -> str:
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": label, "pattern": name} for label, name in patterns])
    nlp.to_disk(folder)
    return str(folder)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    patterns = [("PERSON", "Ada Lovelace"), ("PERSON", "ada@example.com"), ("GPE", "Quuxville"), ("ORG", "Foobar Ltd")]
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny", patterns)


@pytest.fixture(scope="module")
def redactor(tiny: str) -> Redactor:
    return Redactor(Privacy(profile="names", names_model=tiny))


@pytest.fixture(scope="module")
def wheel() -> Redactor:
    return Redactor(Privacy(profile="names", names_model="en_core_web_sm"))


def test_people_and_places_are_replaced_and_organisations_are_not(redactor: Redactor) -> None:
    text = redact_text("Ada Lovelace of Foobar Ltd lives in Quuxville.", redactor, KEYS)
    person, place = surrogate("PERSON", "Ada Lovelace", KEYS), surrogate("LOCATION", "Quuxville", KEYS)
    assert text == f"{person} of Foobar Ltd lives in {place}."


def test_a_name_divided_by_a_line_break_has_the_same_surrogate(redactor: Redactor) -> None:
    assert redact_text("Ada\nLovelace's", redactor, KEYS) == f"{surrogate('PERSON', 'Ada Lovelace', KEYS)}'s"


def test_an_address_wins_over_the_models_name(redactor: Redactor) -> None:
    assert redact_text("ada@example.com", redactor, KEYS) == surrogate("EMAIL", "ada@example.com", KEYS)


def test_a_name_inside_a_url_or_an_id_stays(redactor: Redactor) -> None:
    assert redact_text("see https://quux.example/Quuxville/x", redactor, KEYS) == "see https://quux.example/Quuxville/x"
    assert redactor.replace("Quuxville", KEYS, kind="id")[0] == "Quuxville"


def test_values_are_found_next_to_names(redactor: Redactor) -> None:
    text = redact_text(f"Ada Lovelace, {SHOWN['IBAN']}", redactor, KEYS)
    assert text == f"{surrogate('PERSON', 'Ada Lovelace', KEYS)}, {surrogate('IBAN', SHOWN['IBAN'], KEYS)}"


def test_a_text_longer_than_spacys_limit_is_read_to_its_end(redactor: Redactor) -> None:
    text = redact_text("word " * 250_000 + "Ada Lovelace", redactor, KEYS)
    assert text.endswith(surrogate("PERSON", "Ada Lovelace", KEYS))


def test_the_packaged_model_finds_a_person_and_a_place(wheel: Redactor) -> None:
    text, found = wheel.replace("Angela Merkel met John Smith in Berlin.", KEYS)
    assert found == {"PERSON": 2, "LOCATION": 1}
    assert text.startswith(surrogate("PERSON", "Angela Merkel", KEYS))


PIECES = st.sampled_from(
    [
        "John Smith",
        "Angela Merkel",
        "Berlin",
        "met",
        "Dr.",
        "in",
        "ada@example.com",
        "(",
        "'s",
        "\n",
        ",",
        "\ufffc",
        "\ud800",
        "\x00",
        "New York",
        "Mr",
    ]
)


@settings(max_examples=40)
@given(st.lists(PIECES, max_size=12).map(" ".join))
def test_redacting_a_redacted_text_changes_nothing_with_a_real_model(wheel: Redactor, text: str) -> None:
    once = redact_text(text, wheel, KEYS)
    assert redact_text(once, wheel, KEYS) == once


def test_the_fingerprint_depends_on_the_models_files(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    tiny_model(one, [("PERSON", "Ada")])
    first = Redactor(Privacy(profile="names", names_model=str(one))).fingerprint
    assert first == Redactor(Privacy(profile="names", names_model=str(one))).fingerprint
    assert first != Redactor(Privacy()).fingerprint
    one.rename(two)
    tiny_model(one, [("PERSON", "Bob")])
    assert first != Redactor(Privacy(profile="names", names_model=str(one))).fingerprint


@pytest.mark.parametrize("model", ["no_such_model", "/no/such/folder", "os", "../x"])
def test_a_names_profile_without_its_model_refuses_to_start(model: str) -> None:
    with pytest.raises(ConfigurationError, match="names_model"):
        Redactor(Privacy(profile="names", names_model=model))


def test_a_model_without_labels_for_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="neither people nor places"):
        Redactor(Privacy(profile="names", names_model=tiny_model(tmp_path / "m", [("ORG", "Foobar Ltd")])))


def test_a_broken_model_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.cfg").write_text("[nlp]\nlang = 5\n")
    with pytest.raises(ConfigurationError, match="cannot be loaded"):
        Redactor(Privacy(profile="names", names_model=str(tmp_path)))


def test_a_redacted_text_encodes_as_utf8(redactor: Redactor) -> None:
    assert records.encode(redact_text("Ada Lovelace", redactor, KEYS)).decode().startswith('"<PERSON:')
