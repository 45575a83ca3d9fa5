"""Test collections of information retrieval: documents, queries and judgements of scifact, vaswani, cranfield and cisi.

Each is read from the folder of its name. A document's id is the collection's own.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks._harness import need
from retrieval.judgements import Judged, grades_of, judged, queries_of


@dataclass(frozen=True)
class Document:
    """An abstract. `title` is empty where the collection has none."""

    title: str
    text: str

    @property
    def markdown(self) -> str:
        """The title as a heading, and the text with every sign of Markdown escaped."""
        heading = f"# {_escaped(self.title)}\n\n" if self.title else ""
        return heading + _escaped(self.text)


@dataclass(frozen=True)
class Collection:
    name: str
    documents: Mapping[str, Document]
    judged: Judged


def collection(data: Path, name: str) -> Collection:
    """Raises Unmeasured if the data folder does not have it."""
    return _READERS[name](need(data / name))


def _scifact(folder: Path) -> Collection:
    with gzip.open(need(folder / "corpus.jsonl.gz"), "rt", encoding="utf-8") as lines:
        corpus = [json.loads(line) for line in lines]
    documents = {str(one["_id"]): Document(one["title"], one["text"]) for one in corpus}
    found = judged(queries_of(_text(folder / "queries.train.jsonl")), grades_of(_text(folder / "qrels" / "train.tsv")))
    return Collection("scifact", documents, found)


def _vaswani(folder: Path) -> Collection:
    with gzip.open(need(folder / "doc-text.trec.gz"), "rt", encoding="utf-8") as file:
        found = re.findall(r"<DOCNO>(.*?)</DOCNO>(.*?)</DOC>", file.read(), re.DOTALL)
    documents = {number.strip(): Document("", text.strip()) for number, text in found}
    return Collection("vaswani", documents, judged(queries_of(_text(folder / "query-text.trec")), grades_of(_text(folder / "qrels"))))


def _cranfield(folder: Path) -> Collection:
    pattern = r"<docno>(.*?)</docno>\s*<title>(.*?)</title>.*?<text>(.*?)</text>"
    found = re.findall(pattern, _text(folder / "cran.all.1400.xml"), re.DOTALL)
    documents = {number.strip(): Document(_line(title), _without_title(title, text)) for number, title, text in found}
    # the judgements number the queries by their order
    queries = {str(at): text for at, text in enumerate(queries_of(_text(folder / "cran.qry.xml")).values(), 1)}
    return Collection("cranfield", documents, judged(queries, grades_of(_text(folder / "cranqrel.trec.txt"))))


def _cisi(folder: Path) -> Collection:
    with gzip.open(need(folder / "CISI.ALL.gz"), "rt", encoding="utf-8") as file:
        documents = {number: Document(_line(of.get("T", "")), of.get("W", "").strip()) for number, of in _records(file.read())}
    queries = {number: _line(of.get("W", "")) for number, of in _records(_text(folder / "CISI.QRY")) if of.get("W", "").strip()}
    grades: dict[str, dict[str, int]] = {}
    for line in _text(folder / "CISI.REL").splitlines():
        query, document = line.split()[:2]
        grades.setdefault(query, {})[document] = 1
    return Collection("cisi", documents, judged(queries, grades))


_READERS: Mapping[str, Callable[[Path], Collection]] = {
    "scifact": _scifact,
    "vaswani": _vaswani,
    "cranfield": _cranfield,
    "cisi": _cisi,
}
NAMES = tuple(_READERS)


def _text(path: Path) -> str:
    return need(path).read_text(encoding="utf-8", errors="replace")


def _escaped(text: str) -> str:
    return re.sub(r"([\\`*_{}\[\]<>()#+.!|~$&-])", r"\\\1", text)


def _line(text: str) -> str:
    return " ".join(text.split())


def _without_title(title: str, text: str) -> str:
    """Cranfield's abstracts begin with their titles."""
    return _line(text).removeprefix(_line(title)).strip()


def _records(text: str) -> Iterator[tuple[str, dict[str, str]]]:
    """(number, field → text) of SMART's format: `.I 1`, then `.T`, `.W` and others, each followed by its lines."""
    for record in re.split(r"^\.I ", text, flags=re.MULTILINE)[1:]:
        number, *fields = re.split(r"^\.([A-Z])[ ]*\n", record, flags=re.MULTILINE)
        yield number.strip(), dict(zip(fields[::2], fields[1::2], strict=True))
