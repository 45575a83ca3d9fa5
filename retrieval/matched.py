"""Why a passage has the query's words: which terms it has, and where they stand in its text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import regex
from msgspec.structs import replace

from core.sql import statements
from core.tenancy import Connection
from core.terms import RUN, terms
from retrieval.citations import Matched, Passage
from retrieval.lexical import Terms

_WORD = regex.compile(r"[\p{L}\p{N}][\p{L}\p{N}\p{M}]*")


def matched(connection: Connection, generation: int, passages: Sequence[Passage], found: Terms) -> list[Passage]:
    """The passages with the query's terms that they have, and the places in their texts."""
    asked = sorted(one.term for one in found.weighted)
    values = {"generation": generation, "chunks": [one.chunk for one in passages], "terms": asked}
    rows = {row["chunk"]: row for row in connection.execute(_SQL["matched"], values)}
    stems = _stems(connection, passages, {chunk: row["language"] for chunk, row in rows.items()})
    return [_explained(one, rows.get(one.chunk), stems, frozenset(asked)) for one in passages]


def _stems(connection: Connection, passages: Sequence[Passage], languages: Mapping[str, str]) -> dict[str, dict[str, str]]:
    """Language → word → stem, of the words of these passages."""
    words: dict[str, set[str]] = {}
    for one in passages:
        words.setdefault(languages.get(one.chunk, ""), set()).update(terms(one.text).words)
    found = {}
    for language, of_language in words.items():
        rows = connection.execute(_SQL["stems"], {"language": language, "words": sorted(of_language)})
        found[language] = {row["word"]: row["stem"] for row in rows}
    return found


def _explained(
    passage: Passage, row: Mapping[str, object] | None, stems: Mapping[str, Mapping[str, str]], asked: frozenset[str]
) -> Passage:
    if row is None:
        return replace(passage, matched=Matched())
    spans = highlights(passage.text, stems.get(str(row["language"]), {}), asked)
    return replace(passage, matched=Matched(tuple(row["terms"]), tuple(spans)))  # type: ignore[arg-type]


def highlights(text: str, stems: Mapping[str, str], asked: frozenset[str]) -> list[tuple[int, int]]:
    """Where these terms stand in a text: spans of characters, in order, that neither overlap nor touch. `stems`: of the text's words."""
    spans: list[tuple[int, int]] = []
    for start, end in sorted(span for run in RUN.finditer(text) for span in _of_run(run.group(), run.start(), stems, asked)):
        if spans and start <= spans[-1][1]:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
        else:
            spans.append((start, end))
    return spans


def _of_run(run: str, at: int, stems: Mapping[str, str], asked: frozenset[str]) -> Iterator[tuple[int, int]]:
    """Of characters without a space between them, that begin at this place."""
    found = terms(run)
    for name in asked if not asked.isdisjoint(found.names) else ():
        start = run.lower().find(name) if name in found.names else -1
        if start >= 0:
            yield at + start, at + start + len(name)
    for word in _WORD.finditer(run):
        if any(stems.get(one) in asked for one in terms(word.group()).words):
            yield at + word.start(), at + word.end()
    if not asked.isdisjoint(found.pairs):
        for start in range(len(run)):
            for length in (1, 2):
                if run[start : start + length] in asked:
                    yield at + start, at + min(start + length, len(run))


_SQL = statements("retrieval", "sql/matched.sql")
