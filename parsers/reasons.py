"""Reason codes of documents that could not be parsed (stable), and the mapping from a library's exception to one of them.

An error's detail is the code's meaning and at most an exception's type name: libraries put document text into their messages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from core.errors import DocumentError

REASONS: Mapping[str, str] = {
    "empty-document": "there is no content, and a file of the format that its name or media type declares is never empty",
    "no-text": "no text was found, and the document has parts that the format's reader does not look into, such as pictures",
    "no-text-layer": "the document contains only pictures of text, and text recognition (the extra `ocr`) is not installed",
    "missing-models": "reading.pdf = model requires docling's models (parsing.models_dir), which cannot be loaded",
    "document-too-large": "the content is larger than parsing.max_bytes",
    "unsupported-media-type": "neither the content nor the file name indicates a supported format",
    "legacy-format": "a Word document from before Word 97, which only a word processor can read",
    "encrypted-document": "the document is protected by a password",
    "corrupt-document": "the content is damaged, or not of the format it appears to be",
    "archive-too-large": "the archive exceeds the limits on files or unpacked bytes",
    "archive-bomb": "the archive's compression ratio is far beyond that of ordinary content",
    "document-too-deep": "the document is nested too deeply",
    "missing-parser": "the library that reads this format is not installed",
    "low-quality-text": "too few words look like words, or too many characters are lost (reading.least_wordlike, reading.most_replaced)",
    "low-ocr-confidence": "text recognition in pictures is too uncertain (reading.least_ocr_confidence)",
    "mostly-empty-pages": "the share of pages without text exceeds reading.most_empty_pages",
    "parse-output-too-large": "the parsed content is larger than parsing.memory_mb allows",
    "parse-timeout": "parsing took longer than parsing.timeout_s, or all pages together longer than parsing.longest_s",
    "parse-out-of-memory": "parsing needed more memory than parsing.memory_mb",
    "parse-crashed": "the worker process died while parsing the document",
}


class ParseError(DocumentError):
    """A document that could not be parsed. `reason` is a key of REASONS; `cause` is an exception's type name, or empty."""

    def __init__(self, reason: str, cause: str = "") -> None:
        self.cause = cause
        super().__init__(f"{REASONS[reason]} ({cause})" if cause else REASONS[reason], reason=reason)


def classify(error: BaseException) -> ParseError:
    """The ParseError for whatever a library raised. Libraries wrap exceptions, so the whole chain is searched, outermost first."""
    for link in _chain(error):
        if isinstance(link, ParseError):
            return link
        if reason := _reason(link):
            return ParseError(reason, type(link).__name__)
    return ParseError("corrupt-document", type(error).__name__)


def _reason(error: BaseException) -> str | None:
    if isinstance(error, MemoryError) or _is_libxml2_out_of_memory(error):
        return "parse-out-of-memory"
    if isinstance(error, RecursionError):
        return "document-too-deep"
    if isinstance(error, ImportError):
        return "missing-parser"
    return None


def _is_libxml2_out_of_memory(error: BaseException) -> bool:
    """Whether it is libxml2's XML_ERR_NO_MEMORY (xmlerror.h), which lxml raises as a syntax error."""
    return isinstance(error, SyntaxError) and getattr(error, "code", None) == 2


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or link.__context__
