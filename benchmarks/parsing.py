"""Parsing: documents of every format in the confined workers, compared with docling's own Markdown; and the speed of reading PDFs.

The documents are those of `docling_tests`, read at the grade `layout`, one at a time. Their Markdown is docling's own output with its
models: a regression pin, not an independent score. Both texts are compared without markup (comments, tags, images, heading and list
marks, emphasis, escapes, table rules, link targets) and folded (NFKC, case); words are runs of letters and digits. Similarity is the F1
of the words as a multiset; order similarity is one minus the Levenshtein distance of the word sequences over the length of the longer.

Keys:
  documents          documents tried, parsed or not
  formats            by format: `documents`, `parsed`, `failed` (by reason), `similarity` (mean, if there is Markdown), `mb_per_s`
                     (of the files, in one worker, median of three)
  similarity         mean over the formats that docling reads without model weights (goal: at least .97)
  pdf_similarity     mean over the PDFs
  pdf_order          mean order similarity over the PDFs
  pages              pages of the PDFs
  pages_per_s        PDF pages at the grade `layout`, in one process, median of three
  bare_pages_per_s   the same pages in the same run, extracting only pdfium's text
  pdf_share          pages_per_s / bare_pages_per_s (goal: at least .015)
"""

from __future__ import annotations

import html
import re
import statistics
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pypdfium2
from rapidfuzz.distance import Levenshtein

from benchmarks._harness import Unmeasured, median, need, note, run, seconds
from core.config import Parsing
from core.errors import DocumentError
from core.records import Block, Content, decode
from parsers import WorkerPool

RUNS = 3
_WEIGHTS = frozenset({"pdf"})
"""Formats that docling reads only with models."""
_OFFICE = frozenset({"doc", "ppt"})
"""Formats that docling converts with another program first."""
_PICTURES = frozenset({".png", ".jpg", ".tif"})
_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_IMAGE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
_LINK = re.compile(r"\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?:[^()\s]|\([^()]*\))*\)")
_TAG = re.compile(r"</?[a-zA-Z][^<>]*>")
_CHECKBOX = re.compile(r"^(\s*[-*]\s+)\[[ xX]\]", re.MULTILINE)
_WORD = re.compile(r"[^\W_]+")


class Document(NamedTuple):
    """A file, its format, and docling's Markdown of it, if any."""

    path: Path
    kind: str
    markdown: str | None


class Outcome(NamedTuple):
    """The result of parsing a document: its content, or a reason."""

    document: Document
    content: Content | None
    reason: str


def measure(data: Path) -> dict[str, Any]:
    documents = list(_documents(need(data / "docling_tests")))
    with WorkerPool(Parsing(workers=1)) as pool:
        outcomes = [_outcome(pool, document) for document in documents]
        note(f"{len(outcomes)} documents read")
        formats = {kind: _format(pool, of_kind) for kind, of_kind in _by_kind(outcomes).items()}
    plain = [result["similarity"] for kind, result in formats.items() if kind not in _WEIGHTS | _OFFICE and "similarity" in result]
    pages = _speed([document.path.read_bytes() for document in documents if document.kind == "pdf"])
    return {"documents": len(documents), "formats": formats, "similarity": statistics.fmean(plain), **_pdf(outcomes), **pages}


def words(text: str) -> list[str]:
    """The words of a text without markup, folded, in order."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def unmarked(markdown: str) -> str:
    """Markdown without its markup."""
    bare = _COMMENT.sub(" ", markdown)
    bare = _CHECKBOX.sub(r"\1", _IMAGE.sub(" ", bare))
    bare = _TAG.sub(" ", _LINK.sub(r"\1", bare))
    return html.unescape(re.sub(r"\\([\\`*_{}\[\]()#+.!|<>-])", r"\1", bare).replace("**", "").replace("`", " "))


def written(content: Content) -> str:
    """The text of the content's blocks."""
    return "\n".join(map(_block, content.blocks))


def similarity(ours: list[str], theirs: list[str]) -> float:
    """F1 of two multisets of words, 0–1; 1 if both are empty."""
    common = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * common / (len(ours) + len(theirs)) if ours or theirs else 1.0


def _block(block: Block) -> str:
    return "\n".join(" ".join(row) for row in block.rows) if block.kind == "table" else block.text


def _documents(folder: Path) -> Iterator[Document]:
    for kind in sorted(path for path in folder.iterdir() if path.is_dir()):
        for source in sorted((kind / "sources").iterdir()):
            found = [path for stem in (source.name, source.stem) if (path := kind / "groundtruth" / f"{stem}.md").exists()]
            yield Document(
                source, "image" if source.suffix in _PICTURES else kind.name, found[0].read_text(encoding="utf-8") if found else None
            )


def _outcome(pool: WorkerPool, document: Document) -> Outcome:
    try:
        payload = pool.parse(document.path.read_bytes(), "", document.path.name)
    except DocumentError as failure:
        return Outcome(document, None, failure.reason)
    return Outcome(document, decode(payload, Content), "")


def _by_kind(outcomes: list[Outcome]) -> dict[str, list[Outcome]]:
    kinds: defaultdict[str, list[Outcome]] = defaultdict(list)
    for outcome in outcomes:
        kinds[outcome.document.kind].append(outcome)
    return kinds


def _format(pool: WorkerPool, outcomes: list[Outcome]) -> dict[str, Any]:
    parsed = [outcome for outcome in outcomes if outcome.content]
    result: dict[str, Any] = {"documents": len(outcomes), "parsed": len(parsed)}
    result["failed"] = dict(Counter(outcome.reason for outcome in outcomes if outcome.reason))
    scores = [_similarity(outcome) for outcome in outcomes if outcome.document.markdown is not None]
    if scores:
        result["similarity"] = statistics.fmean(scores)
    if parsed:
        result["mb_per_s"] = _megabytes_per_second(pool, [outcome.document for outcome in parsed])
    return result


def _similarity(outcome: Outcome) -> float:
    """The similarity of a document's words; 0 if it was not parsed."""
    if outcome.content is None:
        return 0.0
    return similarity(words(written(outcome.content)), words(unmarked(outcome.document.markdown or "")))


def _megabytes_per_second(pool: WorkerPool, documents: list[Document]) -> float:
    size = sum(document.path.stat().st_size for document in documents) / 1e6
    run_once = partial(seconds, lambda: [_outcome(pool, document) for document in documents])
    return size / median(run_once, times=RUNS, of=f"seconds of {documents[0].kind}")


def _pdf(outcomes: list[Outcome]) -> dict[str, float]:
    compared = [outcome for outcome in outcomes if outcome.document.kind == "pdf" and outcome.document.markdown is not None]
    if not compared:
        raise Unmeasured("no PDF has Markdown to compare with")
    return {
        "pdf_similarity": statistics.fmean(map(_similarity, compared)),
        "pdf_order": statistics.fmean(map(_order, compared)),
    }


def _order(outcome: Outcome) -> float:
    if outcome.content is None:
        return 0.0
    return float(Levenshtein.normalized_similarity(words(written(outcome.content)), words(unmarked(outcome.document.markdown or ""))))


def _speed(files: list[bytes]) -> dict[str, float]:
    from parsers.pdf.reader import read

    pages = sum(map(_bare, files))
    ours = pages / median(lambda: seconds(lambda: [read(file, "layout") for file in files]), times=RUNS, of="seconds of the PDFs, layout")
    bare = pages / median(lambda: seconds(lambda: [_bare(file) for file in files]), times=RUNS, of="seconds of the PDFs, bare")
    return {"pages": pages, "pages_per_s": ours, "bare_pages_per_s": bare, "pdf_share": ours / bare}


def _bare(file: bytes) -> int:
    """Extract pdfium's text of every page; returns the number of pages."""
    document = pypdfium2.PdfDocument(file)
    try:
        return sum(page.get_textpage().get_text_range() is not None for page in document)
    finally:
        document.close()


if __name__ == "__main__":
    run(measure, __doc__)
