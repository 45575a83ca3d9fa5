"""Terms: what a person types from a passage is among the passage's terms, however it is punctuated there."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.terms import LONGEST, terms

ALPHABET = "aZé9ßЯई्ا日本ひカไทย-_./:@#+'’\"(),; \t\n$~ﬁ½"
TEXTS = st.one_of(st.text(ALPHABET, max_size=40), st.text(max_size=40))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Fixed in 5.6.1 (CVE-2024-3094).", "CVE-2024-3094"),
        ("Scored by bm25/okapi, as ever", "bm25/okapi"),
        ("The IL-2 receptor", "IL-2"),
        ("run `wg-quick up wg0`", "wg-quick"),
        ("Error E-1234: pressure", "E-1234"),
        ("see /etc/wireguard/wg0.conf", "/etc/wireguard/wg0.conf"),
        ("see /etc/wireguard/wg0.conf", "wg0.conf"),
        ("ask <EMAIL:7f3a9b2c> first", "EMAIL:7f3a9b2c"),
        ("written in C++ and F#", "C++"),
        ("written in C++ and F#", "F#"),
        ("on .NET 8", ".NET"),
        ("set max_connections=100", "max_connections"),
        ("with --dry-run", "--dry-run"),
        ("python-3.11.2rc1 is out", "python-3.11.2rc1"),
        ("https://example.com/a?b=c", "example.com"),
    ],
)
def test_a_name_is_matched_as_it_stands(text: str, name: str) -> None:
    assert name.lower() in terms(text).names


def test_words_are_letters_and_digits_with_their_marks() -> None:
    assert terms("Don't re-open हिन्दी №5, ﬁne!").words == ("don", "t", "re", "open", "हिन्दी", "no5", "fine")


def test_scripts_without_spaces_are_cut_into_pairs() -> None:
    assert terms("東京都").pairs == ("東京", "京都", "東", "京", "都")
    assert terms("ไทย").pairs == ("ไท", "ทย")
    assert terms("東").pairs == ("東",)
    assert terms("Tokyo東京").words == ("tokyo",)


@given(TEXTS)
def test_every_word_typed_from_a_text_is_a_term_of_it(text: str) -> None:
    whole = terms(text)
    for typed in text.split():
        part = terms(typed)
        assert set(part.words) <= set(whole.words)
        assert set(part.names) <= set(whole.names)
        assert set(part.pairs) <= set(whole.pairs)


@given(TEXTS, TEXTS)
def test_the_terms_of_two_texts_are_those_of_both(one: str, other: str) -> None:
    both = terms(f"{one} {other}")
    assert both.words == terms(one).words + terms(other).words
    assert both.pairs == terms(one).pairs + terms(other).pairs


@given(TEXTS)
def test_nothing_with_a_letter_or_digit_is_without_terms(text: str) -> None:
    found = terms(text)
    assert any(character.isalnum() for character in text) <= bool(found.words or found.pairs)


@given(st.text())
def test_terms_are_bounded(text: str) -> None:
    found = terms(text)
    assert all(0 < len(term) <= LONGEST for term in (*found.words, *found.names, *found.pairs))
