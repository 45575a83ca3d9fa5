"""What is printed: no control character of a title, an id or a text reaches the terminal; JSON says what was given."""

from __future__ import annotations

import io
import json
import unicodedata
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pipelines.cli import output, publish, search
from retrieval.citations import Citation, Passage

HOSTILE = "\x1b[2J\x1b]0;owned\x07\x9b31m\x7f\r\b\u202eevil\u2066\u2028\udce9"
TEXT = st.text(st.characters(exclude_categories=())) | st.text("ab[/]\\:" + HOSTILE)
VALUES = st.recursive(
    st.none() | st.integers() | st.floats() | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
RECORDS = st.dictionaries(TEXT, VALUES, min_size=1, max_size=3)
CHANGES_OF_DIRECTION = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def controls(text: str, allowed: str = "\n") -> set[str]:
    """What a terminal would obey, or could not be sent."""
    return {
        sign
        for sign in text
        if sign not in allowed
        and (unicodedata.category(sign) in {"Cc", "Cs", "Zl", "Zp"} or unicodedata.bidirectional(sign) in CHANGES_OF_DIRECTION)
    }


def printed(print_it: Callable[[], object]) -> str:
    to = io.StringIO()
    with redirect_stdout(to), redirect_stderr(to):
        print_it()
    return to.getvalue()


@given(RECORDS, TEXT)
@example({"name": {"[/": {"]": None}}}, "")  # no part of the cell is markup, and the whole is
@example({"[/]": "value"}, "[/]")
def test_no_table_has_a_control_character_whatever_its_cells_contain(record: dict[str, Any], title: str) -> None:
    for print_it in (output.print_rows, output.print_record):
        given: Any = [record] if print_it is output.print_rows else record
        assert controls(printed(lambda: print_it(given, as_json=False, title=title))) == set()  # noqa: B023 - called at once
    assert controls(printed(lambda: output.print_rows([], as_json=False, empty=title.replace("[", "")))) <= {"\t"}


@given(TEXT, st.lists(TEXT, max_size=3), TEXT, TEXT)
def test_no_passage_has_a_control_character_but_its_lines(text: str, headings: list[str], title: str, name: str) -> None:
    cited = (Citation(name, "key", title, "", 1, 0, 1), Citation(name, "key", "", "", None, 0, 1))
    passage = Passage("chunk", text, tuple(headings), 0.5, cited)
    assert controls(printed(lambda: search._print_passage(1, msgspec.to_builtins(passage)))) <= {"\t"}


@given(TEXT, TEXT)
def test_what_is_published_has_one_line_for_each_id(name: str, detail: str) -> None:
    rows = [
        {"document": name, "published": True, "event": "e", "reason": None, "detail": None},
        {"document": name, "published": False, "event": None, "reason": "contract-violation", "detail": detail},
    ]
    shown = printed(lambda: publish._print_published(rows))
    assert (controls(shown), shown.count("\n")) == (set(), 2)


@given(VALUES | RECORDS)
def test_json_has_no_control_character_and_means_what_was_given(value: Any) -> None:
    shown = printed(lambda: output.print_json(value))
    assert (controls(shown), shown.count("\n")) == (set(), 1)
    assert json.dumps(json.loads(shown)) == json.dumps(value)


@pytest.mark.parametrize("text", ["Grüße 🌍", "שלום", "a:warning:b", "C:\\new", "[bold]x[/nonsense]", "e\u0301", "\u200f"])
def test_any_other_text_is_printed_as_it_is(text: str) -> None:
    assert output.visible(text) == text
    assert text in printed(lambda: output.print_rows([{"title": text}], as_json=False))
    assert text in printed(lambda: output.line(text))
    assert text in printed(lambda: output.out().print(text, markup=False))


def test_a_control_character_is_shown_as_its_escape() -> None:
    assert output.visible(f"a\n\tb{HOSTILE}") == ("a\\n\\tb\\x1b[2J\\x1b]0;owned\\x07\\x9b31m\\x7f\\r\\x08\\u202eevil\\u2066\\u2028\\udce9")
    assert output.visible_lines("a\n\tb\x1b") == "a\n\tb\\x1b"
