"""Shingles, bands and differences: functions of texts alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core import shingles
from core.differences import LONGEST, difference

TEXTS = st.text(max_size=60)
SENTENCE = "The guide bearing of the second turbine is greased every 3 weeks by the operator on duty, who writes the date into the log."


def test_case_and_white_space_do_not_count() -> None:
    assert shingles.similarity("The  Guide\n bearing", " the guide BEARING ") == 1
    assert shingles.normalised("Straße\u00a0 A") == "strasse a"


def test_a_text_shorter_than_a_shingle_is_one() -> None:
    assert shingles.shingles("abc") == {"abc"}
    assert shingles.shingles("") == {""}
    assert shingles.similarity("abc", "abd") == 0


def test_a_changed_number_is_alike_and_shown() -> None:
    changed = SENTENCE.replace("3", "4")
    assert 0.9 < shingles.similarity(SENTENCE, changed) < 1
    assert difference(SENTENCE, changed) == "greased every [-3-] {+4+} weeks by"


@pytest.mark.parametrize(
    ("shown", "other", "expected"),
    [
        ("a b c", "a  b\nc", ""),
        ("a b", "a b c", "a b {+c+}"),
        ("a b c", "b c", "[-a-] b c"),
        ("a b c d e f g h i", "A b c d e f g h I", "[-a-] {+A+} b c … g h [-i-] {+I+}"),
    ],
)
def test_a_difference_is_written_as_wdiff_does(shown: str, other: str, expected: str) -> None:
    assert difference(shown, other) == expected


@given(TEXTS, TEXTS)
def test_a_difference_is_empty_exactly_if_the_words_are_the_same(shown: str, other: str) -> None:
    found = difference(shown, other)
    assert (found == "") == (shown.split() == other.split())
    assert len(found) <= LONGEST


def test_a_long_difference_is_cut_off() -> None:
    assert difference("a " * 300, "b " * 300)[-1] == "…"


@given(TEXTS, TEXTS)
def test_similarity_is_that_of_the_sets_and_symmetric(one: str, other: str) -> None:
    found = shingles.similarity(one, other)
    assert found == shingles.similarity(other, one)
    assert 0 <= found <= 1
    assert (found == 1) == (shingles.shingles(shingles.normalised(one)) == shingles.shingles(shingles.normalised(other)))


@given(TEXTS, TEXTS, TEXTS)
def test_a_text_is_contained_in_every_text_that_has_it(before: str, text: str, after: str) -> None:
    if shingles.normalised(before + text + after).find(shingles.normalised(text)) >= 0 and len(shingles.normalised(text)) >= 9:
        assert shingles.containment(text, before + text + after) == 1


@given(st.lists(TEXTS, max_size=6))
def test_a_texts_bands_do_not_depend_on_the_texts_beside_it(texts: list[str]) -> None:
    together = shingles.bands(texts)
    assert together.shape == (len(texts), shingles.BANDS)
    for text, bands in zip(texts, together, strict=True):
        assert (shingles.bands([text])[0] == bands).all()
        assert len(set(bands.tolist())) == shingles.BANDS


def test_bands_are_those_of_the_scheme_that_is_stored_with_them() -> None:
    """If this fails, stored bands cannot be compared with new ones: change the number at the end of the scheme."""
    assert shingles.scheme() == "rensa-r2-seed1-char5-25x5-1"
    assert shingles.bands([SENTENCE, ""])[:, [0, 24]].tolist() == KNOWN


KNOWN = [[6213829407088555112, 5703635365511518367], [-4695920384344737718, -9125052368239686630]]


def test_texts_beyond_the_threshold_share_a_band() -> None:
    words = [f"word{number}" for number in range(120)]
    text = " ".join(words)
    edited = [" ".join([*words[:at], f"changed{at}", *words[at + 1 :]]) for at in range(0, 120, 3)]
    bands = [set(row.tolist()) for row in shingles.bands([text, *edited])]
    assert all(shingles.similarity(text, other) > 0.9 for other in edited)
    assert all(bands[0] & other for other in bands[1:])
