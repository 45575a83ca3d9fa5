"""What a document may take: of whatever shape it is, the index stays in proportion to what was published."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial
from itertools import count
from threading import Event, Thread

import numpy as np
import psutil
import psycopg
from hypothesis import given, settings
from hypothesis import strategies as st

from core import artifacts
from index import embeddings
from pipelines.stages import inputs
from pipelines.stages.registry import NAMES
from tests.tenant_fixture import World

TIMES, FREE_BYTES = 20, 64 * 1024
"""Of the event's bytes, and for every document."""

TERM_BYTES = 350
"""For each term that no other document of the tenant has: its row, and its entries in two indexes. It may be shorter than any of them."""

SIZES = """
SELECT c.relname AS name, pg_relation_size(c.oid) + coalesce(pg_relation_size(t.oid) + pg_indexes_size(t.oid), 0) AS bytes
FROM pg_class c LEFT JOIN pg_class t ON t.oid = c.reltoastrelid
WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'i')"""
"""The pages of each table, with its long values, and of each index, without the maps of free space."""

PAGE = 8192
EXAMPLES = 12
NUMBERS = count(1)

Shape = Callable[[random.Random, int], str]


def lines(rng: random.Random, count: int, line: Callable[[random.Random, int], str], joint: str = "\n") -> str:
    return joint.join(line(rng, number) for number in range(count))


def word(rng: random.Random) -> str:
    """Looks like one, or the document would be quarantined."""
    return "".join(rng.choice("bdfgklmnprst") + rng.choice("aeiou") for _ in range(rng.randint(1, 3)))


def table(rng: random.Random, count: int) -> str:
    return "| a | b |\n|---|---|\n" + lines(rng, count, lambda rng, _: f"| {rng.randrange(10)} | {rng.randrange(10)} |")


def under_long_headings(rng: random.Random, count: int) -> str:
    headings = lines(rng, 6, lambda rng, level: f"{'#' * (level + 1)} {' '.join(word(rng) for _ in range(12))}", "\n\n")
    return f"{headings}\n\n" + lines(rng, count, lambda rng, _: f"{word(rng)} {word(rng)}", "\n\n")


SHAPES: Mapping[str, Shape] = {
    "sections of one word": partial(lines, line=lambda rng, _: f"{'#' * rng.randint(1, 6)} {word(rng)}\n\n{word(rng)}", joint="\n\n"),
    "headings": partial(lines, line=lambda rng, _: f"{'#' * rng.randint(1, 6)} {word(rng)}", joint="\n\n"),
    "items": partial(lines, line=lambda rng, _: f"- {rng.randrange(10)}"),
    "nested items": partial(lines, line=lambda rng, number: f"{'  ' * (number % 12)}- {word(rng)}"),
    "paragraphs of one character": partial(lines, line=lambda rng, _: rng.choice("abcdefghij"), joint="\n\n"),
    "punctuation": partial(lines, line=lambda rng, _: "".join(rng.choice("!?.,;:") for _ in range(60)), joint="\n\n"),
    "sections of punctuation": partial(lines, line=lambda rng, number: f"# {number}\n\n{'! ' * rng.randint(20, 99)}", joint="\n\n"),
    "ideographs": partial(lines, line=lambda rng, _: "".join(chr(rng.randrange(0x4E00, 0x4F00)) for _ in range(20)), joint="\n\n"),
    "code": partial(lines, line=lambda rng, number: "```" if not number % 9 else f"x = {rng.randrange(10)}"),
    "alike": partial(
        lines, line=lambda rng, number: f"# Part {number}\n\n{'The wheel turns and the mill grinds. ' * 20}{word(rng)}", joint="\n\n"
    ),
    "words": partial(lines, line=lambda rng, _: " ".join(word(rng) for _ in range(40)), joint="\n\n"),
    "a table": table,
    "under long headings": under_long_headings,
}

LENGTH = {"alike": 100, "words": 150, "ideographs": 600, "punctuation": 600, "sections of punctuation": 400}


FLUSH = """
SELECT gin_clean_pending_list(c.oid) FROM pg_class c JOIN pg_am a ON a.oid = c.relam
WHERE c.relnamespace = %s::regnamespace AND c.relkind = 'i' AND a.amname = 'gin'"""
"""Entries that an index has not sorted in yet are in a list that grows for many documents, and then costs the next one."""


def stored(world: World) -> dict[str, int]:
    with psycopg.connect(world.app.endpoints.postgres_owner.get_secret_value()) as owner:
        owner.execute(FLUSH, [f'"tenant_{world.tenant}"'])
    return {row["name"]: row["bytes"] for row in world.rows(SIZES)}


def known_terms(world: World) -> int:
    return int(world.rows("SELECT count(*) AS terms FROM term")[0]["terms"])


@given(st.sampled_from(sorted(SHAPES)), st.integers(0, 2**32), st.sampled_from([0.05, 0.3, 1]), st.sampled_from([0, 1, 2000]))
@settings(max_examples=EXAMPLES)
def test_the_index_takes_at_most_twenty_times_what_was_published(
    world: World, shape: str, seed: int, share: float, principals: int
) -> None:
    # what other documents have that is nearly alike would cost edges of its own, on both sides
    world.clear()
    number = next(NUMBERS)
    # texts that the tenant has already would cost nothing
    inlet, rng, before, terms = world.inlet(), random.Random(f"{seed} {number}"), stored(world), known_terms(world)
    text = SHAPES[shape](rng, int(share * LENGTH.get(shape, 2000)))
    event = inlet.upsert(f"{number}.md", text, acl=[f"u{rng.getrandbits(24):x}" for _ in range(principals)])
    inlet.land(event)
    for stage in NAMES[: NAMES.index("project")]:
        world.app.run(world.tenant, stage)
    grown = [size - before[name] for name, size in stored(world).items() if size > before[name]]
    # the last page of each relation was begun and not filled
    most = TIMES * len(event.value or b"") + FREE_BYTES + TERM_BYTES * (known_terms(world) - terms) + PAGE * len(grown)
    assert sum(grown) <= most


PRINCIPALS, CHUNKS = 10_000, 5_000
MOST_MB = 500


class Memory(Thread):
    """The most resident memory of this process, in MB above what it was at first."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self._ended, self._process = Event(), psutil.Process()
        self._before = self._peak = self._process.memory_info().rss

    def run(self) -> None:
        while not self._ended.wait(0.01):
            self._peak = max(self._peak, self._process.memory_info().rss)

    def grown_mb(self) -> float:
        self._ended.set()
        self.join()
        return (self._peak - self._before) / 1e6


def embed_at_random(world: World) -> None:
    """A vector for each text of the documents that were chunked: the model's take minutes, and the same space."""
    with world.session.transaction() as connection:
        keys = [row["document"] for row in connection.execute("SELECT document FROM document").fetchall()]
        found = inputs.chunks(artifacts.get(connection, world.session.keys, "chunk", keys))
        texts = sorted({chunk.text_hash for chunks in found.values() for chunk in chunks})
        vectors = np.random.default_rng(0).standard_normal((len(texts), world.app.models.embedder.dimension), np.float32)
        embeddings.keep(connection, world.app.models.embedder.identity, texts, vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def run(world: World) -> None:
    for stage in NAMES[: NAMES.index("project")]:
        if stage == "embed":
            embed_at_random(world)
        world.app.run(world.tenant, stage)


def test_five_thousand_chunks_for_ten_thousand_principals_take_at_most_500_mb(world: World) -> None:
    inlet, rng = world.inlet(), random.Random(0)
    inlet.land(inlet.upsert("warm.md", "The models are loaded for this one."))
    run(world)
    sections = (f"# {word(rng)}\n\n{' '.join(word(rng) for _ in range(70))}" for _ in range(CHUNKS))
    principals = [f"user:{rng.getrandbits(48):x}@example.com" for _ in range(PRINCIPALS)]
    event = inlet.upsert("large.md", "\n\n".join(sections), acl=principals)
    before, memory = sum(stored(world).values()), Memory()
    memory.start()
    inlet.land(event)
    run(world)
    grown_mb = memory.grown_mb()
    indexed = "SELECT count(*) AS chunks FROM chunk_source WHERE document = %(document)s"
    assert world.rows(indexed, document=world.key("large.md"))[0]["chunks"] >= CHUNKS
    assert (sum(stored(world).values()) - before) / 1e6 <= MOST_MB
    assert grown_mb <= MOST_MB
