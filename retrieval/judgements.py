"""Queries and judgements as files have them: BEIR's and TREC's formats, recognised by content. Which documents are relevant is a person's
judgement; nothing here makes one.

| | queries | judgements |
|---|---|---|
| BEIR | JSON lines with `_id` and `text` | `query-id`, `corpus-id`, `score`, with tabs; the first line names them |
| TREC | topics: `<top>` with `<num>` and `<title>` | query, iteration, document, grade, with white space |
| others | id, tab, text | |
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from html import unescape

import msgspec

from core.errors import HeadraceError


class Judged(msgspec.Struct, frozen=True):
    """Queries by id, and the grades of documents by id: above 0 is relevant, and higher is better.

    `queries` are those with a relevant document alone: with none, nothing can be found. `unjudged`: how many others the file had;
    `unasked`: how many queries had judgements and no text.
    """

    queries: dict[str, str]
    grades: dict[str, dict[str, int]]
    unjudged: int = 0
    unasked: int = 0


def judged(queries: Mapping[str, str], grades: Mapping[str, Mapping[str, int]]) -> Judged:
    """The queries that can be measured. Raises HeadraceError `bad-judgements` if there are none."""
    relevant = {query for query, of_one in grades.items() if any(grade > 0 for grade in of_one.values())}
    asked = {query: text for query, text in queries.items() if query in relevant}
    if not asked:
        raise _bad_judgements("no query has a relevant document: the ids of the two files have nothing in common")
    own = {query: dict(grades[query]) for query in asked}
    return Judged(asked, own, len(queries) - len(asked), len(relevant - queries.keys()))


def queries_of(text: str) -> dict[str, str]:
    """Id → text, in the file's order. Raises HeadraceError `bad-queries`, with the line, if there are none or one cannot be read."""
    if "<top>" in text.lower():
        pairs: Iterable[tuple[str, str]] = _topics(text)
    else:
        pairs = (_query(number, line) for number, line in _lines(text))
    found: dict[str, str] = {}
    for query, asked in pairs:
        if not query or not asked.strip():
            raise _bad_queries(f"query {len(found) + 1} has no id or no text")
        if query in found:
            raise _bad_queries(f"query {len(found) + 1} has the id of an earlier one")
        found[query] = asked.strip()
    if not found:
        raise _bad_queries("there are no queries")
    return found


def grades_of(text: str) -> dict[str, dict[str, int]]:
    """Query id → document id → grade. Raises HeadraceError `bad-judgements`, with the line, if there are none or one cannot be read."""
    found: dict[str, dict[str, int]] = {}
    for number, line in _lines(text):
        if not found and _HEADER.match(line):
            continue
        query, document, grade = _judgement(number, line)
        found.setdefault(query, {})[document] = grade
    if not found:
        raise _bad_judgements("there are no judgements")
    return found


_HEADER = re.compile(r"query-?_?id\t", re.IGNORECASE)
_TOPIC = re.compile(r"<top>(.*?)(?=</top>|<top>|\Z)", re.DOTALL | re.IGNORECASE)
_NUMBER = re.compile(r"<num>\s*(?:number:)?\s*([^<\s]+)", re.IGNORECASE)
_TITLE = re.compile(r"<title>\s*(?:topic:)?([^<]*)", re.IGNORECASE)


class _Query(msgspec.Struct):
    id: str | int = msgspec.field(name="_id")
    text: str = ""


def _lines(text: str) -> Iterator[tuple[int, str]]:
    return ((number, line) for number, line in enumerate(text.split("\n"), 1) if line.strip())


def _query(number: int, line: str) -> tuple[str, str]:
    if not line.lstrip().startswith("{"):
        query, tab, asked = line.partition("\t")
        if not tab:
            raise _bad_queries(f"line {number} is neither a JSON object nor an id, a tab and a text")
        return query.strip(), asked
    try:
        found = msgspec.json.decode(line, type=_Query)
    except (msgspec.DecodeError, UnicodeError):
        # the message of the decoder may repeat the line, which may be personal
        raise _bad_queries(f"line {number} is no JSON object with `_id` and `text`") from None
    return str(found.id), found.text


def _topics(text: str) -> Iterator[tuple[str, str]]:
    for topic in _TOPIC.findall(text):
        number, title = _NUMBER.search(topic), _TITLE.search(topic)
        yield number[1] if number else "", " ".join(unescape(title[1]).split()) if title else ""


def _judgement(number: int, line: str) -> tuple[str, str, int]:
    tabbed = line.split("\t")
    fields = tabbed if len(tabbed) == 3 else line.split()
    try:
        query, document, grade = (fields[0], fields[-2], int(fields[-1]))
    except (IndexError, ValueError):
        fields = []
    if len(fields) not in (3, 4):
        raise _bad_judgements(f"line {number} is neither query, document and grade nor query, iteration, document and grade")
    return query.strip(), document.strip(), grade


def _bad_queries(detail: str) -> HeadraceError:
    return HeadraceError(detail, reason="bad-queries", remedy="See docs/evaluation.md for the formats.")


def _bad_judgements(detail: str) -> HeadraceError:
    return HeadraceError(detail, reason="bad-judgements", remedy="See docs/evaluation.md for the formats.")
