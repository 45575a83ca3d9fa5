"""The lexical index: BM25 inside Postgres, written in the swap's transaction, so that its statistics are exact at any instant.

A passage's impact of a term is tf / (tf + k1 (1 - b + b length / pivot)), between 0 and 1; its score for a query is the sum of
idf × impact over the query's terms, a product of two sparse vectors (Robertson and Zaragoza, The Probabilistic Relevance Framework: BM25
and Beyond, 2009; without their constant factor k1 + 1, and with `pivot` for the mean length). The pivot is within a factor of √2 of the
mean, where rankings are as good as with the mean itself, so that the stored impacts hold for long: `catch_up` makes them anew.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from psycopg.types.json import Jsonb

from core.records import convert, embedded_text
from core.sql import array, statements
from core.swap_lock import lock_swaps
from core.tenancy import Connection
from core.terms import terms
from index.pages import Transaction, each_page

K1, B = 1.2, 0.75
DIMENSION = 1_000_000_000
"""Of the impacts, pgvector's most: a term's number is its place."""
PIVOT = 128.0
"""Of a generation without passages, in words."""
_FAR = 0.5  # √2, as a logarithm to base 2
_STEMS: dict[str, dict[str, str | None]] = {}
_MOST_STEMS = 200_000


class Passage(msgspec.Struct, frozen=True):
    """What a passage's terms are cut from: its text below its headings, what names its documents, and the language of its words."""

    text_hash: str
    language: str
    heading_path: tuple[str, ...]
    text: str
    contexts: tuple[str, ...] = ()


class Counted(msgspec.Struct, frozen=True):
    """A passage's terms with their frequencies, and its length in words that are no stop words."""

    passage: Passage
    frequencies: Mapping[str, int]
    length: int


def refresh(connection: Connection, text_hashes: Sequence[str]) -> None:
    """Bring the terms of these texts up to date, in every generation.

    Those of chunks that are gone leave the statistics, and those of chunks whose sources have another smallest language or other contexts
    now, or whose generation has another pivot; those of chunks without any enter them. The caller holds the tenant's swap lock.
    """
    values = {"text_hashes": list(text_hashes)}
    unused = [row["term"] for row in connection.execute(_SQL["remove"], values) if not row["passages"]]
    if unused:
        connection.execute(_SQL["drop_terms"], {"terms": unused})
    missing: dict[int, list[Passage]] = {}
    for row in connection.execute(_SQL["missing"], values):
        missing.setdefault(row.pop("generation"), []).append(convert(row, Passage))
    for generation, passages in missing.items():
        _add(connection, generation, _counted(connection, passages))


def is_behind(connection: Connection) -> bool:
    """Whether a generation has passages without terms, from before lexical search, or a pivot that is far from its mean length."""
    return bool(_behind(connection))


def catch_up(transaction: Transaction) -> int:
    """Give every passage its terms, for a pivot near the mean length. Returns the number of passages that were looked at.

    Safe to cut off anywhere, and to repeat.
    """
    passages = 0
    with transaction() as connection:
        lock_swaps(connection)
        behind = _behind(connection)
        for generation, pivot in behind.items():
            connection.execute(_SQL["begin"], {"generation": generation, "pivot": pivot})
    for generation, pivot in behind.items():
        passages += sum(looked_at for looked_at, _ in each_page(transaction, generation, refresh))
        with transaction() as connection:
            lock_swaps(connection)
            connection.execute(_SQL["end"], {"generation": generation, "pivot": pivot})
    return passages


def _behind(connection: Connection) -> dict[int, float]:
    """Generation → the pivot it should have, of those that are behind."""
    found = {}
    for row in connection.execute(_SQL["behind"]):
        pivot = _pivot(row["words"], row["passages"], row["pivot"])
        if row["behind"] or pivot != row["pivot"]:
            found[row["generation"]] = pivot
    return found


def _pivot(words: int, passages: int, pivot: float) -> float:
    """The pivot, or a better one if it is far from the mean length."""
    if not words or not passages or abs(math.log2(words / passages / pivot)) <= _FAR:
        return pivot
    return pivot_of(words, passages)


def clear(connection: Connection, generations: Sequence[int]) -> None:
    """Everything of these generations."""
    for statement in ("clear_lexical", "clear_terms", "clear_lexicon"):
        connection.execute(_SQL[statement], {"generations": list(generations)})


def pivot_of(words: int, passages: int) -> float:
    """The pivot for passages with so many words together: the power of √2 that is nearest to their mean length."""
    return 2.0 ** (round(2 * math.log2(words / passages)) / 2) if words and passages else PIVOT


def impact(frequency: int, length: int, pivot: float) -> float:
    return frequency / (frequency + K1 * (1 - B + B * length / pivot))


def _counted(connection: Connection, passages: Iterable[Passage]) -> list[Counted]:
    cut = [(passage, terms("\n".join((*passage.contexts, embedded_text(passage.heading_path, passage.text))))) for passage in passages]
    words: dict[str, set[str]] = {}
    for passage, found in cut:
        words.setdefault(passage.language, set()).update(found.words)
    stems = {language: _stems(connection, language, distinct) for language, distinct in words.items()}
    counted = []
    for passage, found in cut:
        of_words = [stem for word in found.words if (stem := stems[passage.language].get(word))]
        frequencies = Counter((*of_words, *found.pairs, *found.names))
        counted.append(Counted(passage, frequencies, len(of_words) + len(found.pairs)))
    return counted


def _stems(connection: Connection, language: str, words: Collection[str]) -> dict[str, str | None]:
    """Word → stem, None for a stop word. Kept for the process: the same few words make most of any text."""
    known = _STEMS.setdefault(language, {})
    new = sorted(word for word in words if word not in known)
    if new:
        if len(known) + len(new) > _MOST_STEMS:
            known = _STEMS[language] = {}
            new = sorted(words)
        found = {row["word"]: row["stem"] for row in connection.execute(_SQL["stems"], {"language": language, "words": new})}
        known.update((word, found.get(word)) for word in new)
    return known


def _add(connection: Connection, generation: int, counted: Sequence[Counted]) -> None:
    languages, words = Counter(one.passage.language for one in counted), sum(one.length for one in counted)
    first = pivot_of(words, len(counted))
    values = {"generation": generation, "passages": Jsonb(languages), "words": words, "pivot": first}
    pivot = connection.execute(_SQL["count"], values).fetchall()[0]["pivot"]
    impacts = [{n: impact(n, one.length, pivot) for n in set(one.frequencies.values())} for one in counted]
    numbers = _numbers(connection, generation, counted, impacts)
    rows = [_row(one, of_frequency, numbers) for one, of_frequency in zip(counted, impacts, strict=True)]
    connection.execute(_SQL["add"], {"generation": generation, "pivot": pivot, "rows": Jsonb(rows)})


def _numbers(connection: Connection, generation: int, counted: Sequence[Counted], impacts: Sequence[Mapping[int, float]]) -> dict[str, str]:
    """Count the terms, and raise their bounds. `impacts`: of each passage, by frequency. Term → number, in digits."""
    passages, bounds = Counter[str](), dict[str, float]()
    for one, of_frequency in zip(counted, impacts, strict=True):
        passages.update(one.frequencies.keys())
        for term, frequency in one.frequencies.items():
            if of_frequency[frequency] > bounds.get(term, 0.0):
                bounds[term] = of_frequency[frequency]
    numbers: dict[str, str] = {}
    for statement in ("raise", "number"):  # the terms that are known, then the new ones
        left = sorted(passages.keys() - numbers.keys())
        if left:
            counts = {"passages": array(passages[term] for term in left), "bounds": array(bounds[term] for term in left)}
            values = {"generation": generation, "terms": " ".join(left), **counts}
            [row] = connection.execute(_SQL[statement], values).fetchall()
            numbers.update(zip(row["terms"].split(" "), row["numbers"].split(" "), strict=True) if row["terms"] else ())
    return numbers


def _row(one: Counted, impacts: Mapping[int, float], numbers: Mapping[str, str]) -> dict[str, Any]:
    written = {frequency: f":{value:.9g}" for frequency, value in impacts.items()}
    entries = ",".join([numbers[term] + written[frequency] for term, frequency in one.frequencies.items()])
    return {
        "text_hash": one.passage.text_hash,
        "language": one.passage.language,
        "length": one.length,
        "terms": " ".join(one.frequencies),
        "impacts": f"{{{entries}}}/{DIMENSION}",
    }


_SQL = statements("index", "sql/lexical.sql")
