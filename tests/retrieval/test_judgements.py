"""Files of queries and judgements: BEIR's and TREC's formats are recognised, and a line that is neither is named and not repeated."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import HeadraceError
from retrieval.judgements import grades_of, judged, queries_of

IDS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=6)
TEXTS = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=12)
QUERIES = st.dictionaries(IDS, TEXTS, min_size=1, max_size=5)
GRADES = st.dictionaries(IDS, st.dictionaries(IDS, st.integers(-1, 3), min_size=1, max_size=4), min_size=1, max_size=4)


@given(QUERIES)
def test_the_same_queries_are_the_same_in_every_format(queries: dict[str, str]) -> None:
    beir = "\n".join(json.dumps({"_id": query, "text": text, "metadata": {}}) for query, text in queries.items())
    topics = "\n".join(f"<top>\n<num> Number: {query}\n<title> {text}\n<desc> a description\n</top>" for query, text in queries.items())
    tabbed = "\n".join(f"{query}\t{text}" for query, text in queries.items())
    assert queries_of(beir) == queries_of(topics) == queries_of(tabbed) == queries


@given(GRADES)
def test_the_same_judgements_are_the_same_in_every_format(grades: dict[str, dict[str, int]]) -> None:
    rows = [(query, document, grade) for query, of_one in grades.items() for document, grade in of_one.items()]
    beir = "query-id\tcorpus-id\tscore\n" + "".join(f"{query}\t{document}\t{grade}\n" for query, document, grade in rows)
    trec = "".join(f"{query} 0 {document} {grade}\r\n" for query, document, grade in rows)
    assert grades_of(beir) == grades_of(trec) == grades


def test_ids_of_beir_may_be_numbers_and_have_spaces_and_those_of_documents_too() -> None:
    assert queries_of('{"_id": 7, "text": " why? "}\n\n') == {"7": "why?"}
    assert grades_of("7\tannual report.pdf\t1") == {"7": {"annual report.pdf": 1}}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "secret",
        "{secret",
        '{"_id": "1", "text": " "}',
        '{"text": "secret"}',
        "1\tsecret\n1\tsecret",
        "<top><title>secret</top>",
        "<top><num>1</top>",
    ],
)
def test_queries_that_cannot_be_read_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(HeadraceError) as refused:
        queries_of(text)
    assert (refused.value.reason, "secret" in str(refused.value)) == ("bad-queries", False)


@pytest.mark.parametrize("text", ["", "query-id\tcorpus-id\tscore\n", "1 secret", "1 0 secret high", "1 0 secret 1 more", "1\tsecret\t0.5"])
def test_judgements_that_cannot_be_read_are_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(HeadraceError) as refused:
        grades_of(text)
    assert (refused.value.reason, "secret" in str(refused.value)) == ("bad-judgements", False)


def test_a_line_that_cannot_be_read_is_named_by_its_number() -> None:
    with pytest.raises(HeadraceError, match="line 3"):
        grades_of("1 0 a 1\n\n2 0 b")


def test_what_has_no_relevant_document_or_no_text_is_counted_and_not_measured() -> None:
    found = judged({"1": "why", "2": "how", "3": "who"}, {"1": {"a": 1, "b": 0}, "2": {"a": 0}, "4": {"a": 1}})
    assert (found.queries, found.grades, found.unjudged, found.unasked) == ({"1": "why"}, {"1": {"a": 1, "b": 0}}, 2, 1)
    with pytest.raises(HeadraceError, match="nothing in common"):
        judged({"1": "why"}, {"2": {"a": 1}})
