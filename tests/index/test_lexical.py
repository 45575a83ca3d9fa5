"""The lexical index: its statistics are those of the passages that remain, and its answers those of comparing every passage.

`core.terms` is tested in tests/core/test_terms.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from psycopg import sql

from core.errors import Unavailable
from core.principals import EVERYONE
from core.records import Chunk, EmbeddingModel, embedded_text
from core.sql import statements
from core.terms import terms
from index import embeddings, generations, lexical, swap
from retrieval import lexical as searching
from retrieval.access import Scope, scope
from retrieval.filters import Filters
from retrieval.vector import active_generation
from tests.index.test_index import landed, text_hash
from tests.tenant_fixture import World

pytestmark = pytest.mark.usefixtures("empty_world")

NAMES = ("a.md", "b.md", "c.md")
VOCABULARY = ("pump", "pumps", "seal", "the", "die", "häuser", "wg-quick", "CVE-2024-3094", "E-1234", "bm25/okapi", "日本語", "x")
TEXT = st.lists(st.sampled_from(VOCABULARY), min_size=1, max_size=9).map(" ".join)


@dataclass(frozen=True)
class Put:
    name: str
    texts: tuple[str, ...]
    language: str
    acl: tuple[str, ...]


PUTS = st.builds(
    Put,
    st.sampled_from(NAMES),
    st.lists(TEXT, max_size=4).map(tuple),
    st.sampled_from(["", "en", "de"]),
    st.sampled_from([(EVERYONE,), ("group:a",), ("group:b",), ()]),
)
STEPS = st.one_of(PUTS, PUTS, PUTS, st.sampled_from(NAMES))


def put(world: World, step: Put) -> None:
    chunks = tuple(Chunk(n, text, text_hash(text), 2, page=1) for n, text in enumerate(step.texts))
    hashes = sorted({chunk.text_hash for chunk in chunks})
    with world.session.transaction() as connection:
        generation = generations.open_generation(connection, "f", EmbeddingModel("m", name="m"), 2)
        if hashes:
            embeddings.keep(connection, "m", hashes, np.ones((len(hashes), 2), dtype=np.float32))
        version = swap.Version(step.name, "", "", step.acl, chunks, step.language)
        assert swap.swap(connection, generation, "m", {world.key(step.name): version}) == []


def apply(world: World, step: Put | str) -> None:
    if isinstance(step, Put):
        put(world, step)
    else:
        with world.session.transaction() as connection:
            swap.remove(connection, [world.key(step)])


def passages(world: World) -> dict[str, dict[str, Any]]:
    """Chunk → text, language, principals, and its terms, from the chunks and their sources alone."""
    query = """
    SELECT c.text_hash, c.text, c.heading_path, min(i.language) AS language, array_agg(DISTINCT principal) AS principals
    FROM chunk c JOIN chunk_source s USING (generation, text_hash) JOIN indexed i USING (generation, document)
    JOIN access_list a ON a.number = i.access LEFT JOIN LATERAL unnest(a.principals) AS principal ON true GROUP BY 1, 2, 3"""
    found = {row["text_hash"]: row for row in world.rows(query)}
    for row in found.values():
        cut = terms(embedded_text(tuple(row["heading_path"]), row["text"]))
        stems = {
            r["word"]: r["stem"]
            for r in world.rows("SELECT * FROM headrace.stems(%(l)s, %(w)s)", l=row["language"], w=list(set(cut.words)))
        }
        words = [stems[word] for word in cut.words if word in stems]
        row["frequencies"], row["length"] = Counter([*words, *cut.names, *cut.pairs]), len(words) + len(cut.pairs)
    return found


def best(world: World, query: str, readers: list[str]) -> tuple[dict[str, float], float]:
    """Chunk → score of every readable passage that has a term of the query, by comparing each; and the sum of the words' idf."""
    found = passages(world)
    pivot = (world.rows("SELECT pivot FROM lexicon") or [{"pivot": 1.0}])[0]["pivot"]
    counts = Counter(term for row in found.values() for term in row["frequencies"])
    asked = terms(query)
    languages = Counter(row["language"] for row in found.values())
    stemmed = world.rows(
        "SELECT s.word, s.stem, language FROM unnest(%(l)s::text[]) AS language CROSS JOIN LATERAL headrace.stems(language, %(w)s) AS s",
        l=sorted(languages),
        w=list(set(asked.words)),
    )
    often = {term: (counts[term], term) for term in (*asked.names, *asked.pairs)}
    for word in sorted(set(asked.words)):
        own = [row for row in stemmed if row["word"] == word]
        stopped = sum(languages.values()) - sum(languages[row["language"]] for row in own)
        of_word = stopped + sum(counts[stem] for stem in {row["stem"] for row in own})
        often |= {row["stem"]: (of_word, word) for row in own if of_word > often.get(row["stem"], (-1, ""))[0]}
    wanted = often.keys() & counts.keys()
    weights = {term: searching.idf(min(often[term][0], len(found)), len(found)) for term in wanted}
    alike = Counter(often[term][1] for term in wanted)
    scores = {
        chunk: sum(weights[t] * lexical.impact(row["frequencies"][t], row["length"], pivot) for t in wanted & row["frequencies"].keys())
        for chunk, row in found.items()
        if wanted & row["frequencies"].keys() and {*readers, EVERYONE} & set(row["principals"])
    }
    return scores, sum(weights[term] / alike[often[term][1]] for term in wanted)


@given(st.lists(STEPS, min_size=1, max_size=7), st.lists(TEXT, min_size=1, max_size=3), st.integers(1, 5))
@settings(max_examples=40)
def test_statistics_and_answers_are_those_of_what_remains(world: World, steps: list[Put | str], queries: list[str], top: int) -> None:
    world.clear()
    landed(world, *NAMES)
    for step in steps:
        apply(world, step)
    found = passages(world)
    stored = {
        row["text_hash"]: (row["language"], row["length"], set(row["terms"]))
        for row in world.rows("SELECT text_hash, language, length, tsvector_to_array(terms) AS terms FROM lexical")
    }
    assert stored == {chunk: (row["language"], row["length"], set(row["frequencies"])) for chunk, row in found.items()}
    counts = Counter(term for row in found.values() for term in row["frequencies"])
    assert {row["term"]: row["passages"] for row in world.rows("SELECT * FROM term")} == counts
    for row in world.rows("SELECT passages, words FROM lexicon"):
        assert row == {
            "passages": Counter(row["language"] for row in found.values()),
            "words": sum(row["length"] for row in found.values()),
        }
    for query in queries:
        for readers in ([], ["group:a"], ["group:a", "group:b"]):
            _as_by_hand(world, query, readers, top)


def _as_by_hand(world: World, query: str, readers: list[str], top: int) -> None:
    expected, total = best(world, query, readers)
    answer = search(world, query, readers, top)
    assert len(answer) == min(top, len(expected))
    by_hand = [expected[chunk] for chunk in answer]
    assert [share * total for share in answer.values()] == pytest.approx(by_hand, rel=1e-5)
    assert by_hand == pytest.approx(sorted(expected.values(), reverse=True)[:top], rel=1e-5)


def search(world: World, query: str, readers: Sequence[str], top: int) -> Mapping[str, float]:
    """Chunk → share of a lexical search, best first."""
    with world.app.readers.snapshot(world.tenant) as connection:
        generation = active_generation(connection)
        if generation is None:
            return {}
        within = scope(connection, generation.generation, sorted({*readers, EVERYONE}), Filters())
        return searching.best(connection, searching.query_terms(connection, generation.generation, query), within, top).scores


@given(st.lists(PUTS, min_size=1, max_size=4), st.sets(st.integers(0, 3)), st.booleans(), st.integers(0, 3))
@settings(max_examples=20)
def test_what_has_no_terms_gets_them_and_what_has_impacts_for_another_length_gets_new_ones(
    world: World, steps: list[Put], without: set[int], far: bool, cut_off: int
) -> None:
    world.clear()
    landed(world, *NAMES)
    for step in steps:
        apply(world, step)
    # as before there was lexical search, in part; or as of a time when passages were much longer
    some = [chunk for number, chunk in enumerate(sorted(passages(world))) if number in without]
    with world.session.transaction() as connection:
        connection.execute("DELETE FROM lexical WHERE text_hash = ANY (%s)", [some])
        remain = Counter(row["term"] for row in connection.execute("SELECT unnest(tsvector_to_array(terms)) AS term FROM lexical"))
        connection.execute("UPDATE term SET passages = 0, bound = 0")
        connection.execute("DELETE FROM term WHERE term <> ALL (%s)", [list(remain)])
        for term, count in remain.items():
            connection.execute("UPDATE term SET passages = %s, bound = 1 WHERE term = %s", [count, term])
        connection.execute(
            "UPDATE lexicon SET words = (SELECT coalesce(sum(length), 0) FROM lexical), behind = true, passages = (SELECT"
            " coalesce(jsonb_object_agg(language, n), '{}') FROM (SELECT language, count(*) AS n FROM lexical GROUP BY 1) AS x)"
        )
        if far:
            connection.execute("UPDATE lexicon SET pivot = 10000")
            connection.execute("UPDATE lexical SET pivot = 10000")
    with suppress(Unavailable):
        lexical.catch_up(world.cut_off(cut_off))
    for _ in range(2):  # the mean length is known once every passage is counted
        lexical.catch_up(world.session.transaction)
    with world.session.transaction() as connection:
        assert not lexical.is_behind(connection)
    found = passages(world)
    assert {row["text_hash"] for row in world.rows("SELECT text_hash FROM lexical")} == found.keys()
    assert {row["pivot"] for row in world.rows("SELECT pivot FROM lexical")} <= {
        row["pivot"] for row in world.rows("SELECT pivot FROM lexicon")
    }
    counts = Counter(term for row in found.values() for term in row["frequencies"])
    assert {row["term"]: row["passages"] for row in world.rows("SELECT * FROM term")} == counts
    for query in VOCABULARY:
        _as_by_hand(world, query, ["group:a"], 3)


def test_no_statement_that_a_search_runs_reads_a_whole_table(world: World) -> None:
    """An operator that is not leakproof, as `@@` and `&&`, would be refused an index by a policy with a condition on the row."""
    landed(world, "a.md")
    put(world, Put("a.md", ("pump 97", "seal 1234"), "en", (EVERYONE,)))
    values: dict[tuple[str, str], dict[str, Any]] = {
        ("lexical", "lexicon"): {},
        ("lexical", "terms"): {"words": ["pump", "1234"], "others": ["e-1234"], "languages": ["en"], "counts": [2]},
        ("lexical", "best"): {"query": "{1:1}/1000000000", "wanted": "'97' | '1234'", "look": 5},
        ("lexical", "best_of_few"): {"query": "{1:1}/1000000000", "wanted": "'97' | '1234'", "lists": [1], "look": 5},
        ("lexical", "best_of_documents"): {"query": "{1:1}/1000000000", "wanted": "'97' | '1234'", "documents": ["a"], "look": 5},
        ("lexical", "impacts"): {"query": "{1:1}/1000000000", "chunks": ["a", "b"]},
        ("vector", "cosines"): {"vector": "[1,1]", "chunks": ["a", "b"]},
        ("access", "lists"): {"most": 9},
        ("access", "count"): {"lists": [1], "most": 9},
        ("citations", "cite"): {"chunks": ["a", "b"], "top": 5},
    }
    with world.app.readers.tenant(world.tenant) as connection:
        connection.execute("SET LOCAL enable_seqscan = off")  # however small the tables are: only what cannot be avoided remains
        for (name, statement), given_values in values.items():
            query = Scope(1, [EVERYONE]).statement(statements("retrieval", f"sql/{name}.sql")[statement])
            given = {"generation": 1, "readers": [EVERYONE], **given_values}
            [row] = connection.execute(sql.SQL("EXPLAIN (FORMAT JSON) ") + query, given)
            scanned = {node["Relation Name"] for node in nodes(row["QUERY PLAN"][0]["Plan"]) if node["Node Type"] == "Seq Scan"}
            assert not scanned, statement


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def test_stop_words_alone_find_nothing_and_do_not_fail(world: World) -> None:
    landed(world, "a.md")
    put(world, Put("a.md", ("the pump and the seal",), "en", (EVERYONE,)))
    assert search(world, "the and", [EVERYONE], 5) == {}


def test_a_few_passages_of_an_unknown_language_do_not_make_stop_words_rare(world: World) -> None:
    landed(world, *NAMES)
    put(world, Put("a.md", ("the pump of the seal", "the gate", "the weir of the mill"), "en", (EVERYONE,)))
    put(world, Put("b.md", ("of the of the of the", "seals 97"), "", (EVERYONE,)))
    found = search(world, "the seals of the weir", [EVERYONE], 3)
    texts = {chunk: row["text"] for chunk, row in passages(world).items()}
    assert [texts[chunk] for chunk in found] == ["the weir of the mill", "seals 97", "the pump of the seal"]


WEIGHTS = st.lists(st.floats(0.01, 5), min_size=1, max_size=9)


@given(WEIGHTS, st.floats(0.01, 30))
def test_a_pruned_query_takes_every_set_of_terms_that_reaches_the_threshold(bounds: list[float], threshold: float) -> None:
    weighted = [searching.Weighted(f"t{n}", n, 1, 1.0, bound) for n, bound in enumerate(bounds)]
    clauses = [
        set(clause.strip("() ").replace("'", "").split(" & ")) for clause in searching.pruned(weighted, threshold).split(" | ") if clause
    ]
    for subset in range(1, 2 ** len(bounds)):
        there = {f"t{n}" for n in range(len(bounds)) if subset >> n & 1}
        if sum(bounds[int(name[1:])] for name in there) >= threshold:
            assert any(clause <= there for clause in clauses)
