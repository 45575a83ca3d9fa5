"""Documents, questions and the spans that answer them, for `benchmarks.chunking`: made from real structure, without a language model.

A span is counted in the visible characters of a document's blocks in reading order (`squeezed`): no white space, list marks or table
bars, so that it is the same for every chunker.
"""

from __future__ import annotations

import gzip
import json
import math
import random
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import _texts
from benchmarks._harness import need
from core.config import Parsing
from core.records import Block, Content, decode
from core.terms import terms
from parsers import WorkerPool

SEED = 20
WINDOW = 4_000
"""Characters in which the sentences stand that answer one question."""

EXCERPTS = 4
"""At most, to a question."""

_LAYOUT = re.compile(r"[\s|\-\x00]+")
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z(\"'])")
_STOP_WORDS = (
    "about above after again against also although always among another any are because been before being below between both but can"
    " cannot could did does doing done down during each either else ever every few for from further had has have having her here hers him"
    " his how however into its itself just like made make many may might more most much must neither nor not now off often once one only"
    " other our out over own per rather same shall she should since some still such than that the their them then there these they this"
    " those through thus too under until upon use used using very was way well were what when where whether which while who whom whose"
    " why will with within without would yet you your"
)
_STOP = frozenset(_STOP_WORDS.split())


@dataclass(frozen=True)
class Document:
    """`kind`: which of the materials it is of."""

    kind: str
    name: str
    blocks: tuple[Block, ...]

    @cached_property
    def squeezed(self) -> str:
        return "".join(squeezed(text_of(block)) for block in self.blocks)


Span = tuple[int, int]


class Question(NamedTuple):
    """`spans`: what answers it, in characters of the `squeezed` text of the document with this number, none touching another."""

    kind: str
    text: str
    document: int
    spans: tuple[Span, ...]


def squeezed(text: str) -> str:
    """A text's visible characters without list marks and table bars."""
    return _LAYOUT.sub("", text)


def text_of(block: Block) -> str:
    return "\n".join(" | ".join(row) for row in block.rows) if block.rows else block.text


def documents(data: Path) -> list[Document]:
    """About 170,000 tokens: PEPs, Kubernetes' community pages, speeches, and abstracts, several to a document. Deterministic."""
    with WorkerPool(Parsing()) as pool:
        read = [*_peps(data, pool), *_pages(data, pool)]
    return [*read, *_speeches(data), *_abstracts(data), *_articles(data)]


def _peps(data: Path, pool: WorkerPool) -> Iterator[Document]:
    every = sorted(_texts.peps(data))
    for name, content in every[5::40]:
        yield Document("peps", name, _parsed(pool, content, "text/x-rst", name))


def _pages(data: Path, pool: WorkerPool) -> Iterator[Document]:
    """The longest version of every page, one in seven."""
    longest: dict[str, str] = {}
    with gzip.open(need(data / "changestream_k8s_community" / "events_2017H1.jsonl.gz"), "rt", encoding="utf-8") as lines:
        for event in map(json.loads, lines):
            if event["path"].endswith(".md") and len(event.get("content") or "") > len(longest.get(event["path"], "")):
                longest[event["path"]] = event["content"]
    for name in sorted(name for name, text in longest.items() if len(text) > 2000)[3::7]:
        yield Document("pages", name, _parsed(pool, longest[name].encode(), "text/markdown", name))


def _parsed(pool: WorkerPool, content: bytes, media_type: str, name: str) -> tuple[Block, ...]:
    return decode(pool.parse(content, media_type, name), Content).blocks


def _speeches(data: Path) -> Iterator[Document]:
    with zipfile.ZipFile(need(data / "drift_speeches" / "state_union.zip")) as archive:
        for name in sorted(name for name in archive.namelist() if name.endswith(".txt"))[7::15]:
            paragraphs = re.split(r"\n\s*\n", archive.read(name).decode("latin-1"))
            yield Document("speeches", name, _paragraphs(paragraphs))


ABSTRACTS = 8
"""In one document."""


def _abstracts(data: Path) -> Iterator[Document]:
    """Abstracts that claims are about, in documents without headings, as in a corpus of papers put together."""
    found = list(dict.fromkeys(abstract for _, abstract in _claims(data)))
    texts = dict(_corpus(data))
    for start in range(0, len(found), ABSTRACTS):
        names = found[start : start + ABSTRACTS]
        yield Document("abstracts", " ".join(names), _paragraphs(part for name in names for part in texts[name]))


def _corpus(data: Path) -> Iterator[tuple[str, tuple[str, str]]]:
    with gzip.open(need(data / "scifact" / "corpus.jsonl.gz"), "rt", encoding="utf-8") as lines:
        for abstract in map(json.loads, lines):
            yield abstract["_id"], (abstract["title"], abstract["text"])


def _claims(data: Path) -> Iterator[tuple[str, str]]:
    """(claim, abstract), a quarter of the claims about one abstract."""
    texts = {q["_id"]: q["text"] for q in map(json.loads, need(data / "scifact" / "queries.train.jsonl").read_text("utf-8").splitlines())}
    judged: dict[str, list[str]] = defaultdict(list)
    for line in need(data / "scifact" / "qrels" / "train.tsv").read_text("utf-8").splitlines()[1:]:
        query, abstract, relevant = line.split("\t")
        if int(relevant):
            judged[query].append(abstract)
    for query in [query for query, found in judged.items() if len(found) == 1][::4]:
        yield texts[query], judged[query][0]


ARTICLES = 160
TOGETHER = 8
"""Articles in one document."""


def _articles(data: Path) -> Iterator[Document]:
    """Openings of encyclopedia articles, each one paragraph, in documents without headings."""
    read = [(article["title"], " ".join(map(_sentence, article["sents"]))) for article in _labelled(data)]
    for start in range(0, len(read), TOGETHER):
        parts = read[start : start + TOGETHER]
        yield Document("articles", str(start), _paragraphs(text for part in parts for text in part))


def _sentence(tokens: Sequence[str]) -> str:
    return re.sub(r" (?=[,.;:!?)'])|(?<=\() ", "", " ".join(tokens))


def _labelled(data: Path) -> list[dict[str, Any]]:
    with gzip.open(need(data / "re_docred" / "dev_revised.json.gz"), "rt", encoding="utf-8") as file:
        found: list[dict[str, Any]] = json.load(file)
    return found[:ARTICLES]


def _paragraphs(texts: Iterable[str]) -> tuple[Block, ...]:
    return tuple(Block("paragraph", " ".join(text.split())) for text in texts if text.strip())


def questions(data: Path, corpus: Sequence[Document], drawn: int) -> list[Question]:
    """Claims, facts, rows of tables, and `drawn` subjects of the other documents. Deterministic."""
    rng = random.Random(SEED)
    rarity = _rarity(corpus)
    found = [*_about_abstracts(data, corpus, rarity), *_about_articles(data, corpus, rng), *_about_rows(rng, corpus)]
    return [*found, *_about_subjects(rng, corpus, rarity, drawn)]


class _Passage(NamedTuple):
    document: int
    start: int
    text: str

    @property
    def span(self) -> Span:
        return self.start, self.start + len(squeezed(self.text))


def _placed(document: int, at: int, parts: Sequence[str]) -> Iterator[_Passage]:
    for part in parts:
        yield _Passage(document, at, part)
        at += len(squeezed(part))


# ── questions that people wrote, and facts that people labelled ────────────────────────────────────────────────────


def _about_abstracts(data: Path, corpus: Sequence[Document], rarity: Mapping[str, float]) -> Iterator[Question]:
    """A claim, and the sentence of its abstract that shares most of its words, each word counted by its rarity: at least a third."""
    texts = dict(_corpus(data))
    places = {name: number for number, document in enumerate(corpus) if document.kind == "abstracts" for name in document.name.split()}
    for claim, name in _claims(data):
        start = corpus[places[name]].squeezed.index(squeezed(texts[name][1]))
        asked = set(_content(claim))
        parts = [*_placed(places[name], start, _SENTENCE.split(" ".join(texts[name][1].split())))]
        shared = [_weight(asked & set(words(part.text)), rarity) for part in parts]
        if max(shared) >= _weight(asked, rarity) / 3:
            yield Question("abstracts", claim, places[name], (parts[shared.index(max(shared))].span,))


def _about_articles(data: Path, corpus: Sequence[Document], rng: random.Random) -> Iterator[Question]:
    """Two facts of each article: the name of a thing and of its relation; the sentences that people labelled as evidence answer it."""
    names = _relations(data)
    first = next(number for number, document in enumerate(corpus) if document.kind == "articles")
    for index, article in enumerate(_labelled(data)):
        number = first + index // TOGETHER
        sentences = [_sentence(tokens) for tokens in article["sents"]]
        at = corpus[number].squeezed.index(squeezed(" ".join(sentences)))
        spans = [passage.span for passage in _placed(number, at, sentences)]
        evidence: dict[tuple[str, str], set[int]] = defaultdict(set)
        for label in article["labels"]:
            if label["r"] in names:
                evidence[article["vertexSet"][label["h"]][0]["name"], names[label["r"]]].update(label["evidence"])
        facts = [(fact, found) for fact, found in evidence.items() if found]
        for (thing, relation), found in rng.sample(facts, min(2, len(facts))):
            yield Question("articles", f"{thing}: {relation}", number, _joined(spans[at] for at in found))


def _relations(data: Path) -> dict[str, str]:
    """The names of Wikidata's properties, by id, as far as Text2KGBench's ontologies have them."""
    found: dict[str, str] = {}
    for path in sorted(need(data / "text2kgbench" / "wikidata_tekgen" / "ontologies").glob("*.json")):
        found |= {relation["pid"]: relation["label"] for relation in json.loads(path.read_text("utf-8"))["relations"]}
    return found


# ── questions made of the documents' own words ────────────────────────────────────────────────────────────────────


def _about_rows(rng: random.Random, corpus: Sequence[Document]) -> Iterator[Question]:
    """The first cell of a row and the name of a column whose cell is filled; the answer is the row. At most six a table."""
    for number, document in enumerate(corpus):
        at = 0
        for block in document.blocks:
            spans = [passage.span for passage in _placed(number, at, ["".join(row) for row in block.rows])]
            rows = [row for row in range(1, len(spans)) if spans[row][1] - spans[row][0] > SHORTEST_ROW and block.rows[row][0].strip()]
            for row in sorted(rng.sample(rows, min(6, len(rows)))):
                columns = [c for c, cell in enumerate(block.rows[row]) if 0 < c < len(block.rows[0]) and cell.strip()]
                if columns:
                    yield Question("tables", f"{block.rows[0][rng.choice(columns)]} {block.rows[row][0]}", number, (spans[row],))
            at += len(squeezed(text_of(block)))


SHORTEST_ROW = 15
"""In characters."""


def _about_subjects(rng: random.Random, corpus: Sequence[Document], rarity: Mapping[str, float], drawn: int) -> Iterator[Question]:
    """A sentence at a random character of each kind of document in turn, and the sentences around it that share its rarest words."""
    prose = {kind: [*_sentences(corpus, kind)] for kind in ("peps", "pages", "speeches")}
    lengths = {kind: [*accumulate(len(sentence.text) for sentence in sentences)] for kind, sentences in prose.items()}
    for turn in range(drawn):
        kind = ("peps", "pages", "speeches")[turn % 3]
        (at,) = rng.choices(range(len(prose[kind])), cum_weights=lengths[kind])
        if question := _subject(rng, kind, prose[kind], at, rarity):
            yield question


def _sentences(corpus: Sequence[Document], kind: str) -> Iterator[_Passage]:
    """The sentences of paragraphs and list items."""
    for number, document in enumerate(corpus):
        at = 0
        for block in document.blocks if document.kind == kind else ():
            if block.kind in ("paragraph", "list_item"):
                yield from (part for part in _placed(number, at, sentences(block.text)) if part.text.strip())
            at += len(squeezed(text_of(block)))


def _subject(rng: random.Random, kind: str, prose: Sequence[_Passage], at: int, rarity: Mapping[str, float]) -> Question | None:
    """The words that the sentences share, and a quarter of the first one's others; None if the first has under five content words."""
    anchor = prose[at]
    content = list(dict.fromkeys(_content(anchor.text)))
    if len(content) < 5:
        return None
    near = [other for other in prose[max(0, at - 40) : at + 40] if other != anchor and _is_near(anchor, other)]
    shared = {other: set(content) & set(_content(other.text)) for other in near}
    best = sorted(near, key=lambda other: (-_weight(shared[other], rarity), other.start))[: EXCERPTS - 1]
    related = [other for other in best if len(shared[other]) > 1 and _weight(shared[other], rarity) >= _weight(content, rarity) / 4]
    common = set().union(*(shared[other] for other in related))
    rest = [word for word in content if word not in common]
    kept = common | set(rng.sample(rest, min(len(rest), max(4 - len(common), round(len(rest) / 4)))))
    spans = _joined_spans([anchor, *related])
    return Question(kind, " ".join(word for word in content if word in kept), anchor.document, spans)


def _is_near(one: _Passage, other: _Passage) -> bool:
    return one.document == other.document and abs(one.start - other.start) < WINDOW / 2


def _joined_spans(passages: Iterable[_Passage]) -> tuple[Span, ...]:
    return _joined(passage.span for passage in passages)


def _joined(spans: Iterable[Span]) -> tuple[Span, ...]:
    """The union of the spans."""
    out: list[Span] = []
    for start, end in sorted(spans):
        if out and start <= out[-1][1]:
            out[-1] = out[-1][0], max(end, out[-1][1])
        else:
            out.append((start, end))
    return tuple(out)


# ── words ─────────────────────────────────────────────────────────────────────────────────────────────────────────

_UNKNOWN = 8.0
"""The rarity of a word that is in no document."""


def sentences(text: str) -> list[str]:
    return _SENTENCE.split(text)


def words(text: str) -> tuple[str, ...]:
    return terms(text).words


def _content(text: str) -> list[str]:
    return [word for word in words(text) if word not in _STOP and len(word) > 2]


def _weight(of: Iterable[str], rarity: Mapping[str, float]) -> float:
    return sum(rarity.get(word, _UNKNOWN) for word in of)


def _rarity(corpus: Sequence[Document]) -> dict[str, float]:
    """ln(blocks / blocks with the word)."""
    blocks = [set(words(text_of(block))) for document in corpus for block in document.blocks]
    counted = Counter(word for block in blocks for word in block)
    return {word: math.log(len(blocks) / count) for word, count in counted.items()}
