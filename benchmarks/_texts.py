"""Real texts in their real mix of lengths for embedding benchmarks: scifact's abstracts, the Python PEPs, and questions about them."""

from __future__ import annotations

import gzip
import json
import re
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from benchmarks._harness import Unmeasured, need

QUESTIONS = 1_000
PEP_TOKENS = 200
"""Limit for a chunk of a PEP, special tokens included. Abstracts are split only at the model's own limit."""

_PARAGRAPH = re.compile(r"\n\s*\n")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n")
_BEGINNING = 40

Count = Callable[[list[str]], list[int]]
"""Texts → token counts, special tokens included."""


@dataclass(frozen=True)
class Texts:
    """Distinct texts within the model's limit: `timed` are embedded in every round, `before` once, and `questions` once."""

    before: list[str]
    timed: list[str]
    questions: list[str]


def real(data: Path, count: Count, max_tokens: int, *, timed: int, in_all: int) -> Texts:
    """Sample `in_all` texts evenly from all, and `timed` of those evenly again. Deterministic.

    Raises Unmeasured if the data folder contains too few.
    """
    abstracts = list(_abstracts(data))
    paragraphs = [_PARAGRAPH.split(pep.decode("utf-8", errors="replace")) for _, pep in peps(data)]
    cut = [
        *_chunks([_SENTENCE.split(f"{title} {text}") for title, text in abstracts], " ", count, max_tokens),
        *_chunks(paragraphs, "\n\n", count, min(PEP_TOKENS, max_tokens)),
    ]
    chunks = _even(list(dict.fromkeys(cut)), in_all)
    selected = set(_even(chunks, timed))
    return Texts(
        [text for text in chunks if text not in selected],
        [text for text in chunks if text in selected],
        _questions(data, [title for title, _ in abstracts], chunks),
    )


def _abstracts(data: Path) -> Iterator[tuple[str, str]]:
    """(title, text) of every abstract."""
    with gzip.open(need(data / "scifact" / "corpus.jsonl.gz"), "rt", encoding="utf-8") as lines:
        for line in lines:
            abstract = json.loads(line)
            yield abstract["title"], abstract["text"]


def peps(data: Path) -> Iterator[tuple[str, bytes]]:
    """(file name, bytes) of every PEP in the archive."""
    with tarfile.open(need(data / "peps" / "peps_rst.tar.gz")) as archive:
        for member in archive:
            content = archive.extractfile(member) if member.name.endswith(".rst") else None
            if content:
                yield Path(member.name).name, content.read()


def _questions(data: Path, titles: Sequence[str], chunks: Iterable[str]) -> list[str]:
    """scifact's queries, then titles of abstracts that do not begin any chunk, so that no question matches its own copy."""
    lines = need(data / "scifact" / "queries.train.jsonl").read_text(encoding="utf-8").splitlines()
    queries = list(dict.fromkeys(json.loads(line)["text"] for line in lines))[:QUESTIONS]
    beginnings = {chunk[:_BEGINNING] for chunk in chunks}
    absent = [title for title in titles if f"{title} "[:_BEGINNING] not in beginnings]
    return queries + _even(absent, QUESTIONS - len(queries))


def _chunks(documents: Sequence[list[str]], between: str, count: Count, limit: int) -> list[str]:
    """Pack each document's parts into chunks of at most `limit` tokens. Parts that are too long are split at sentences and lines."""
    special = count([""])[0]
    room = limit - special
    tokens = _tokens(chain.from_iterable(documents), count, special)
    fit = [[piece for part in parts for piece in ([part] if tokens[part] <= room else _SENTENCE.split(part))] for parts in documents]
    tokens |= _tokens((piece for pieces in fit for piece in pieces if piece not in tokens), count, special)
    return [between.join(chunk) for pieces in fit for chunk in _packed(pieces, tokens, room)]


def _tokens(texts: Iterable[str], count: Count, special: int) -> dict[str, int]:
    """Token counts of the distinct texts without special tokens, so that they add up for concatenated texts."""
    different = list(dict.fromkeys(texts))
    return {text: tokens - special for text, tokens in zip(different, count(different), strict=True)}


def _packed(pieces: Iterable[str], tokens: Mapping[str, int], room: int) -> Iterator[list[str]]:
    """Pack neighbours while they fit. A piece that is too long by itself is left out."""
    chunk: list[str] = []
    left = room
    for piece in pieces:
        if not 0 < tokens[piece] <= room:
            continue
        if tokens[piece] > left:
            yield chunk
            chunk, left = [], room
        chunk.append(piece)
        left -= tokens[piece]
    if chunk:
        yield chunk


def _even(texts: Sequence[str], size: int) -> list[str]:
    """Sample `size` texts evenly from the first to the last. Raises Unmeasured if there are fewer."""
    if len(texts) < size:
        raise Unmeasured(f"the data folder has {len(texts)} distinct texts of a kind; {size} are needed")
    return [texts[at * len(texts) // size] for at in range(size)]
