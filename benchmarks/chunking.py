"""Chunking strategies: how much of an answer five chunks hold, how little else, and how many chunks survive an edit.

The protocol is that of Smith and Troynikov, *Evaluating Chunking Strategies for Retrieval* (Chroma, 2024): all chunks of all documents are
in one collection, and the five nearest to a question (all-MiniLM-L6-v2, exact cosine) are compared with the spans that answer it. Spans
are counted in visible characters where the paper counts tokens. Of a question, recall is the share of its spans that the five cover;
precision is what they cover as a share of the five's own spans; IoU is that of the spans' and the five's union. Figures are means over the
questions. Where a parent answers for the five (`hierarchical`), its spans count once.

The documents (`_answers`): PEPs, Kubernetes' community pages, State of the Union addresses; abstracts, and openings of encyclopedia
articles, eight to a document without headings. No language model made the questions:
  abstracts   a claim that people wrote about one abstract; its answer is the sentence with most of its words, weighted by rarity
  articles    a thing and a relation that people labelled in the article; its answer is the sentences that they labelled as evidence
  tables      the first cell of a row and the name of a column; its answer is the row
  peps, pages, speeches  a sentence at a random place and up to three sentences near it that share its rarest words; the question has the
              words that they share and a quarter of the first one's others; its answer is these sentences
No question has a heading's words as such and no answer is a heading. So this cannot show what a heading path is for: questions that name a
document's or a section's subject. Questions made of an answer's own words favour small chunks; `by_kind` has each kind apart, and the
first two are by people. A path counts as context and not as retrieved text. Tables are few and small.

Edits: in each document a sentence is inserted in the middle of a paragraph, or a paragraph is deleted, or a heading is reworded, in turn;
stability is the share of the chunks before whose `text_hash` is there afterwards.

Keys:
  documents, questions   how many
  results.STRATEGY.SIZE  SIZE is the bound in tokens, special tokens and heading path included. STRATEGY+overlap: each chunk repeats up to a
                         quarter of the bound of the one before
    recall, precision, iou   means over all questions, 0 to 1
    stability            mean over the documents, 0 to 1
    chunks               of all documents
    tokens               of all chunks, as they are embedded
    tokens_per_chunk     tokens / chunks
    by_kind.KIND         recall and iou of one kind of question
  margin.SIZE            recall and iou of `structure` less those of `recursive`, same bound (goal: both above 0)
  same_tokens            of `structure` at 256: recall and iou less those of the `recursive` whose chunks are nearest to it in mean size
"""

from __future__ import annotations

import argparse
import random
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks import _answers
from benchmarks._answers import Document, Question, Span, squeezed
from benchmarks._harness import note, run
from chunkers import Chunker
from chunkers.strategies import STRATEGIES
from core.records import Block, Chunk
from embedders import Embedder, EmbedderOptions, load

SIZES = (128, 256)
OVERLAP = "+overlap"
OVERLAP_SHARE = 0.25
STRATEGIES_MEASURED = [*STRATEGIES, *(f"{name}{OVERLAP}" for name, strategy in STRATEGIES.items() if strategy.overlaps)]
DRAWN = 420
NEAREST = 5


class Placed(NamedTuple):
    """A chunk, the number of its document, and the spans there of what answers: its own, or all of its parent's chunks.

    `answer`: equal for chunks with one parent.
    """

    chunk: Chunk
    document: int
    spans: tuple[Span, ...]
    answer: tuple[int, int]


class Score(NamedTuple):
    recall: float
    precision: float
    iou: float


def measure(data: Path, sizes: Sequence[int], strategies: Sequence[str]) -> dict[str, Any]:
    documents = _answers.documents(data)
    questions = _answers.questions(data, documents, DRAWN)
    note(f"{len(documents)} documents, {len(questions)} questions")
    with closing(load(EmbedderOptions())) as embedder:
        bench = _Bench(documents, questions, embedder)
        results = {name: {str(size): bench.measured(name, size) for size in sizes} for name in strategies}
    return {"documents": len(documents), "questions": len(questions), "results": results} | _compared(results)


def _compared(results: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    if not {"structure", "recursive"} <= results.keys():
        return {}
    ours, theirs = results["structure"], results["recursive"]
    out: dict[str, Any] = {"margin": {size: _less(ours[size], theirs[size]) for size in ours}}
    if "256" in ours:
        nearest = min(theirs.values(), key=lambda found: abs(found["tokens_per_chunk"] - ours["256"]["tokens_per_chunk"]))
        out["same_tokens"] = _less(ours["256"], nearest)
    return out


def _less(one: Mapping[str, float], other: Mapping[str, float]) -> dict[str, float]:
    return {key: one[key] - other[key] for key in ("recall", "iou")}


class _Bench:
    """The material, and vectors of the texts that were embedded so far."""

    def __init__(self, documents: Sequence[Document], questions: Sequence[Question], embedder: Embedder) -> None:
        self._documents, self._questions, self._embedder = documents, questions, embedder
        self._known: dict[str, npt.NDArray[np.float32]] = {}
        self._asked = embedder.embed([question.text for question in questions], "query").vectors

    def measured(self, name: str, size: int) -> dict[str, Any]:
        strategy, overlap = name.removesuffix(OVERLAP), int(OVERLAP_SHARE * size) if name.endswith(OVERLAP) else 0
        chunker = Chunker(self._embedder.count_tokens, size, "benchmark", strategy, encode=self._encode, overlap=overlap)
        split = [chunker.split(document.blocks) for document in self._documents]
        placed = [place for number, chunks in enumerate(split) for place in self._placed(number, chunks)]
        scores = self._scores(placed)
        tokens = sum(place.chunk.token_count for place in placed)
        found = _means(scores["all"]) | {"stability": self._stability(chunker, split), "chunks": len(placed), "tokens": tokens}
        note(f"{name} {size}: recall {found['recall']:.3f}, IoU {found['iou']:.3f}, {len(placed)} chunks")
        kinds = {kind: _means(own) for kind, own in sorted(scores.items()) if kind != "all"}
        by_kind = {kind: {"recall": own["recall"], "iou": own["iou"]} for kind, own in kinds.items()}
        return found | {"tokens_per_chunk": tokens / len(placed), "by_kind": by_kind}

    def _placed(self, number: int, chunks: Sequence[Chunk]) -> Iterator[Placed]:
        spans, at = [], 0
        for chunk in chunks:
            own, at = located(self._documents[number].squeezed, chunk.text, at)
            spans.append(own)
        for chunk in chunks:
            first, last = chunk.parent or (chunk.ordinal, chunk.ordinal)
            yield Placed(chunk, number, tuple(span for own in spans[first : last + 1] for span in own), (number, first))

    def _scores(self, placed: Sequence[Placed]) -> dict[str, list[Score]]:
        vectors = self._encode([place.chunk.embedded_text for place in placed])
        nearest = np.argsort(-(self._asked @ vectors.T), axis=1, kind="stable")[:, :NEAREST]
        out: dict[str, list[Score]] = defaultdict(list)
        for question, row in zip(self._questions, nearest, strict=True):
            found = score(question, list({placed[at].answer: placed[at] for at in row}.values()))
            out["all"].append(found)
            out[question.kind].append(found)
        return out

    def _encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        new = list({text: None for text in texts if text not in self._known})
        self._known |= dict(zip(new, self._embedder.embed(new, "passage").vectors, strict=True)) if new else {}
        return np.stack([self._known[text] for text in texts])

    def _stability(self, chunker: Chunker, split: Sequence[Sequence[Chunk]]) -> float:
        rng = random.Random(_answers.SEED)
        shares = []
        for number, (document, chunks) in enumerate(zip(self._documents, split, strict=True)):
            after = {chunk.text_hash for chunk in chunker.split(edited(document.blocks, number, rng))}
            shares.append(sum(chunk.text_hash in after for chunk in chunks) / len(chunks))
        return statistics.mean(shares)


def _means(scores: Sequence[Score]) -> dict[str, float]:
    return {name: statistics.mean(getattr(score, name) for score in scores) for name in Score._fields}


def score(question: Question, found: Sequence[Placed]) -> Score:
    """Overlapping chunks count twice in what was retrieved, as in the paper."""
    covered: set[int] = set()
    for place in found:
        if place.document == question.document:
            covered.update(at for start, end in place.spans for s, e in question.spans for at in range(max(start, s), min(end, e)))
    wanted = sum(end - start for start, end in question.spans)
    retrieved = sum(end - start for place in found for start, end in place.spans)
    return Score(len(covered) / wanted, len(covered) / max(1, retrieved), len(covered) / (retrieved + wanted - len(covered)))


FAR = 4_000
"""A text this many characters further on is more likely a repetition."""


def located(document: str, text: str, after: int) -> tuple[tuple[Span, ...], int]:
    """The spans of a chunk's text in the document's squeezed text, and where the next chunk is looked for.

    A repeated table header is not where the rows are: if the text as a whole is nowhere, its lines are looked for one by one.
    """
    whole = _found(document, squeezed(text), after)
    spans = [whole] if whole else []
    for line in [] if whole else text.splitlines():
        if span := _found(document, squeezed(line), after):
            spans.append(span)
            after = max(after, span[1])
    return tuple(spans), max([after, *(end for _, end in spans)]) if not whole else whole[1]


def _found(document: str, part: str, after: int) -> Span | None:
    at = document.find(part, after) if part else -1
    if part and (at < 0 or at - after > FAR):
        before = document.rfind(part, 0, after + len(part) - 1)
        at = before if at < 0 or (before >= 0 and after - before < at - after) else at
    return (at, at + len(part)) if at >= 0 else None


def edited(blocks: Sequence[Block], turn: int, rng: random.Random) -> list[Block]:
    """The document after one edit: a sentence inserted, a paragraph deleted, or, where there is one, a heading reworded."""
    kind = "heading" if turn % 3 == 2 and any(block.kind == "heading" for block in blocks) else "paragraph"
    at = rng.choice([index for index, block in enumerate(blocks) if block.kind == kind])
    if turn % 3 == 1:
        return [*blocks[:at], *blocks[at + 1 :]]
    block = blocks[at]
    text = f"{block.text} (revised)" if kind == "heading" else _with_a_sentence(block.text)
    return [*blocks[:at], _reworded(block, text), *blocks[at + 1 :]]


def _with_a_sentence(text: str) -> str:
    parts = _answers.sentences(text)
    middle = (len(parts) + 1) // 2
    return " ".join([*parts[:middle], "The committee added this sentence in a later revision.", *parts[middle:]])


def _reworded(block: Block, text: str) -> Block:
    return Block(block.kind, text, block.level, block.page)


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, metavar="TOKENS", help="bounds of a chunk (%(default)s)")
    parser.add_argument("--strategies", nargs="+", choices=STRATEGIES_MEASURED, default=STRATEGIES_MEASURED, help="(all)")


if __name__ == "__main__":
    run(measure, __doc__, options)
