"""Names, places and addresses that are found by lists and context, without a model's help; and look-alikes."""

from __future__ import annotations

from typing import Any

import pytest
import spacy

from core.policy import Privacy
from privacy import Redactor, new_data_key, tenant_keys
from privacy.finders import gazetteer
from tests.privacy.test_values import MASTER

KEYS = tenant_keys(MASTER, "acme", new_data_key(MASTER, "acme"))


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> Redactor:
    folder = tmp_path_factory.mktemp("models") / "blank"
    nlp = spacy.blank("en")
    nlp.add_pipe("entity_ruler").add_patterns([{"label": "PERSON", "pattern": "Donald van"}, {"label": "GPE", "pattern": "Nowhere"}])
    nlp.to_disk(folder)
    return Redactor(Privacy(profile="names", names_model=str(folder)))


def found(redactor: Redactor, text: str, **kwargs: Any) -> list[tuple[str, str]]:
    return [(one.entity, text[one.start : one.end]) for one in redactor.detect(text, **kwargs)]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Yesterday Georgina left.", "Georgina"),
        ("We asked Margaret O'Neill about it.", "Margaret O'Neill"),
        ("It was written by Xqar Blorb.", "Xqar Blorb"),
        ("Please see Dr. Xqar for this.", "Xqar"),
        ("My name is Xqar", "Xqar"),
        ("Customer: Xqar Blorb", "Xqar Blorb"),
        ("my name is marie", "marie"),
        ("Will it reach Donald van der Voet?", "Donald van der Voet"),
        ("signed by Philip J. Fry PhD", "Philip J. Fry PhD"),
    ],
)
def test_a_person_is_found_by_list_title_label_or_phrase(names: Redactor, text: str, name: str) -> None:
    assert ("PERSON", name) in found(names, text)


def test_a_column_labelled_as_names_is_found_whatever_the_names(names: Redactor) -> None:
    assert found(names, "Xqar Blorb", label="Patient") == [("PERSON", "Xqar Blorb")]
    assert found(names, "Xqar Blorb", label="Product") == []


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("She flew from Reykjavík to Japan.", "Japan"),
        ("He lives in Xqarville now", "Xqarville"),
        ("the town of Saint Xqar", "Saint Xqar"),
        ("a bank in new zealand", "new zealand"),
    ],
)
def test_a_place_is_found_by_list_or_phrase(names: Redactor, text: str, place: str) -> None:
    assert ("LOCATION", place) in found(names, text)


@pytest.mark.parametrize(
    "address",
    [
        "221B Baker Street, London",
        "1600 Pennsylvania Avenue, Suite 12, Washington 20500",
        "Kurfürstendamm 26, 10719 Berlin",
        "12 Rue de la Paix\n75002 Paris",
        "Via Garibaldi 5, 10122 Turin",
        "PSC 1139 Box 7638\nAPO AP 94917",
        "P.O. Box 255",
    ],
)
def test_an_address_is_found_whole(names: Redactor, address: str) -> None:
    assert ("ADDRESS", address) in found(names, f"Please send it to {address}. Thanks")


@pytest.mark.parametrize(
    "text",
    [
        "The function returns 12 items in order and closes the file.",
        "May I mark this as done? Will you grant me a bill of sale, or reading rights?",
        "Python 3.12 was released; see section 4 of the documentation.",
        "Chapter 5 Getting Started with Containers",
        "a list of lists, a dict of sets, and 42 other things",
    ],
)
def test_prose_without_names_has_no_findings(names: Redactor, text: str) -> None:
    assert found(names, text) == []


def test_the_lists_contain_names_by_their_look_up_keys() -> None:
    for names in (gazetteer.given_names(), gazetteer.surnames(), gazetteer.places()):
        assert len(names.names) > 5_000
        assert names.sure < names.names
        assert not [name for name in names.names if name != gazetteer.key(name)]
