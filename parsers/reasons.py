"""Why a document was not parsed: the stable reason codes, and how a library's exception becomes one of them.

A detail is the code's meaning and at most an exception's type name: libraries put document text into their messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from core.errors import DocumentError

REASONS: Mapping[str, str] = {
    "empty-document": "there is no content",
    "no-text": "the document was read and holds no text",
    "no-text-layer": "the document is pictures of text, and text recognition (the extra `ocr`) is not installed",
    "missing-models": "reading.pdf = model asks for docling's own models (parsing.models_dir), and they cannot be loaded",
    "document-too-large": "the content is larger than parsing.max_bytes",
    "unsupported-media-type": "neither the content nor its name is of a format that can be read",
    "legacy-format": "of a version of Word before 97, which only a word processor can read",
    "encrypted-document": "the document is protected by a password",
    "corrupt-document": "the content is damaged, or not of the format it appears to be",
    "archive-too-large": "an archive of more files, or of more bytes unpacked, than are read",
    "archive-bomb": "an archive that unpacks to far more than what anybody wrote would",
    "document-too-deep": "the document is nested too deeply",
    "missing-parser": "the library that reads this format is not installed",
    "low-quality-text": "too little of it looks like words, or too much is lost (reading.least_wordlike, reading.most_replaced)",
    "low-ocr-confidence": "what was recognised in pictures is too doubtful (reading.least_ocr_confidence)",
    "mostly-empty-pages": "more of the pages hold no text than reading.most_empty_pages allows",
    "parse-output-too-large": "what was read is larger than parsing.memory_mb allows",
    "parse-timeout": "reading took longer than parsing.timeout_s, or all its pages longer than parsing.longest_s",
    "parse-out-of-memory": "reading needed more memory than parsing.memory_mb",
    "parse-crashed": "the process that read the document died",
}


class ParseError(DocumentError):
    """A document that was not parsed, by a reason of the table; `cause` is an exception's type name, or nothing."""

    def __init__(self, reason: str, cause: str = "") -> None:
        self.cause = cause
        super().__init__(f"{REASONS[reason]} ({cause})" if cause else REASONS[reason], reason=reason)


def classify(error: BaseException) -> ParseError:
    """The reason behind whatever a library raised. Libraries wrap: the whole chain is looked at, outermost first."""
    for link in _chain(error):
        if isinstance(link, ParseError):
            return link
        if reason := _meaning(link):
            return ParseError(reason, type(link).__name__)
    return ParseError("corrupt-document", type(error).__name__)


def _meaning(error: BaseException) -> str | None:
    if isinstance(error, MemoryError) or _out_of_memory_in_libxml2(error):
        return "parse-out-of-memory"
    if isinstance(error, RecursionError):
        return "document-too-deep"
    if isinstance(error, ImportError):
        return "missing-parser"
    return None


def _out_of_memory_in_libxml2(error: BaseException) -> bool:
    """XML_ERR_NO_MEMORY of libxml2's xmlerror.h, which lxml raises as a syntax error."""
    return isinstance(error, SyntaxError) and getattr(error, "code", None) == 2


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__
