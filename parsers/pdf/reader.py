"""PDF → Content: the grade `text` is fastest, `layout` finds columns, headings and tables by geometry, `model` by docling's models.

A page without a text layer that can be used goes through text recognition, where that is installed (`parsers.pdf.ocr`).
"""

from __future__ import annotations

from core.records import Content
from parsers.pdf import model, ocr, plain, words
from parsers.pdf.content import content as assembled
from parsers.reasons import ParseError


def read(content: bytes, grade: str = "layout") -> Content:
    """Raises ParseError: `encrypted-document` where a password is needed, `corrupt-document` where it does not open,
    `no-text-layer` where there are pictures alone and no text recognition, `missing-models` for the grade `model` in a process that has not
    loaded them."""
    if grade == "model" and not model.loaded():
        raise ParseError("missing-models")
    document = plain.opened(content)
    try:
        properties = plain.properties(document)
        pages = list(plain.pages(document) if grade == "text" else words.pages(content, document))
        if ocr.available():
            pages, confidences = ocr.completed(pages, document)
        else:
            confidences = []
    finally:
        document.close()
    if not any(page.grade for page in pages):
        raise ParseError("corrupt-document")
    if not any(page.words for page in pages) and any(map(ocr.needed, pages)) and not ocr.available():
        raise ParseError("no-text-layer")
    if grade == "model":
        return model.content(content, pages, properties, confidences)
    return assembled(pages, properties, confidences)
