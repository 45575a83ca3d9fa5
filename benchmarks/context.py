"""What a document is called, beside its passages: how it is made part of search, compared on many similar documents.

A passage of an annual report does not say whose report it is. The documents are 120 made reports of 24 companies over five years, each of
ten passages that name neither company nor year, with numbers of their own; a question names both and asks for one passage. A copied passage
stands in the reports of every company of a year. Compared: passages alone; the title before each embedded text, which makes the identity of
a chunk depend on it; and what Headrace does: the title's own vector added to the passage's (`index/sql/swap.sql`).

It cannot show how well titles name real documents. SciFact's abstracts, cut to 85 words, are the check that titles do no harm.

Keys:
  passages, questions
  alone, identity, added   each: `hit_at_1`, `hit_at_5`, `hit_at_10`: share of questions whose passage is among the first;
                           `chunks`: distinct texts to embed and store; `renamed`: texts embedded again when one document's title changes
  scifact                  nDCG@10 on the train queries, by the same three
"""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks._harness import need, note, run

Vectors = NDArray[np.float32]

COMPANIES = """Aldermere Foods, Borealis Marine, Castlegate Retail, Dunmore Energy, Eastwick Chemicals, Fernhill Biotech, Granby Steel,
Harrow Logistics, Inverness Insurance, Juniper Semiconductors, Kelso Airlines, Larkfield Water, Merrow Software, Northam Paper,
Osprey Aerospace, Penrith Mining, Quayside Ports, Rothbury Brewing, Selwyn Motors, Tamar Telecom, Ullswater Textiles, Vale Pharma,
Wensley Dairies, Yarrow Media""".replace("\n", " ").split(", ")
YEARS = range(2019, 2024)
TOPICS = (
    (
        "Net sales were ${a} million, compared with ${b} million in the prior year.",
        "What were the net sales of {n} in {y}?",
    ),
    ("Capital expenditures amounted to ${a} million; we expect to spend about ${b} million next year.", "How much did {n} invest in {y}?"),
    (
        "Total borrowings stood at ${a} million, of which ${b} million fall due within a year.",
        "What was the debt of {n} in {y}?",
    ),
    ("We employed about {a} people at the end of the year, {p} percent of them part time.", "How many employees did {n} have in {y}?"),
    ("The effective tax rate was {p} percent, against {q} percent a year earlier.", "What was the effective tax rate of {n} in {y}?"),
    ("The board declared dividends of ${p} a share and repurchased shares for ${a} million.", "What dividend did {n} pay for {y}?"),
    ("The largest segment contributed {p} percent of operating income.", "What did the largest segment of {n} contribute in {y}?"),
    (
        "Lease liabilities were ${a} million, with a remaining term of {q} years.",
        "What were the lease liabilities of {n} in {y}?",
    ),
    ("Research and development expense came to ${a} million or {p} percent of sales.", "What did {n} spend on research in {y}?"),
)
COPIED = "These statements were prepared under the standards in force on the first of January of the year."
ASKED_SHARE = 0.4


class Reports:
    """Titles, passages with the document of each, and questions with the passage that answers each."""

    def __init__(self) -> None:
        drawn = random.Random(1)
        self.titles = [f"{name} annual report {year}" for name in COMPANIES for year in YEARS]
        self.texts: list[str] = []
        self.of: list[int] = []
        self.questions: list[str] = []
        self.answers: list[int] = []
        for document, title in enumerate(self.titles):
            name, year = title.rsplit(" annual report ", 1)
            for text, question in TOPICS:
                if drawn.random() < ASKED_SHARE:
                    self.questions.append(question.format(n=name, y=year))
                    self.answers.append(len(self.texts))
                numbers = {key: drawn.randint(2, most) for key, most in (("a", 9000), ("b", 9000), ("p", 60), ("q", 40))}
                self._add(document, text.format(**numbers))
            self._add(document, COPIED)

    def _add(self, document: int, text: str) -> None:
        self.texts.append(text)
        self.of.append(document)


def measure(data: Path) -> Mapping[str, Any]:
    from core.config import Embedding
    from embedders.stage import load

    encode = load(Embedding()).encode
    reports = Reports()
    note(f"{len(reports.texts)} passages, {len(reports.questions)} questions")
    asked = encode(reports.questions, "query")
    named = [f"{reports.titles[document]}\n{text}" for document, text in zip(reports.of, reports.texts, strict=True)]
    texts, titles = encode(reports.texts, "passage"), encode(reports.titles, "passage")
    of_one = len(TOPICS) + 1
    results: dict[str, Any] = {"passages": len(reports.texts), "questions": len(reports.questions)}
    for key, vectors, distinct, renamed in (
        ("alone", texts, len(set(reports.texts)), 0),
        ("identity", encode(named, "passage"), len(set(named)), of_one),
        ("added", _added(texts, titles[reports.of]), len(set(reports.texts)) + len(reports.titles), 1),
    ):
        results[key] = _hits(asked @ vectors.T, reports.answers) | {"chunks": distinct, "renamed": renamed}
    return {**results, "scifact": _scifact(data, encode)}


def _added(texts: Vectors, contexts: Vectors) -> Vectors:
    vectors = texts + contexts
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors


def _hits(scores: Vectors, answers: Sequence[int]) -> dict[str, float]:
    ranks = np.array([int((row > row[answer]).sum()) for row, answer in zip(scores, answers, strict=True)])
    return {f"hit_at_{k}": float((ranks < k).mean()) for k in (1, 5, 10)}


def _scifact(data: Path, encode: Any) -> dict[str, float]:
    folder = need(data / "scifact")
    with gzip.open(folder / "corpus.jsonl.gz", "rt", encoding="utf-8") as lines:
        corpus = [json.loads(line) for line in lines]
    judged: dict[str, set[str]] = {}
    for line in (folder / "qrels" / "train.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        if int(grade) > 0:
            judged.setdefault(query, set()).add(document)
    queries = [json.loads(line) for line in (folder / "queries.train.jsonl").read_text(encoding="utf-8").splitlines()]
    queries = [query for query in queries if str(query["_id"]) in judged]
    texts, titles = [" ".join(one["text"].split()[:85])[:480] for one in corpus], [one["title"] for one in corpus]
    note(f"embedding {len(corpus)} abstracts three times")
    asked = encode([query["text"] for query in queries], "query")
    alone = encode(texts, "passage")
    vectors = {
        "alone": alone,
        "identity": encode([f"{title}\n{text}" for title, text in zip(titles, texts, strict=True)], "passage"),
        "added": _added(alone, encode(titles, "passage")),
    }
    ids = [str(one["_id"]) for one in corpus]
    relevant = [judged[str(query["_id"])] for query in queries]
    return {key: _ndcg(asked @ of_key.T, ids, relevant) for key, of_key in vectors.items()}


def _ndcg(scores: Vectors, ids: Sequence[str], relevant: Sequence[set[str]]) -> float:
    """nDCG@10 with grades 0 and 1 (Järvelin and Kekäläinen, 2002), mean over queries."""
    discounts = 1 / np.log2(np.arange(2, 12))
    best = np.argsort(-scores, axis=1)[:, :10]
    gained = [discounts[[ids[at] in wanted for at in row]].sum() for row, wanted in zip(best, relevant, strict=True)]
    ideal = [discounts[: len(wanted)].sum() for wanted in relevant]
    return float(np.mean(np.array(gained) / np.array(ideal)))


if __name__ == "__main__":
    run(measure, __doc__)
