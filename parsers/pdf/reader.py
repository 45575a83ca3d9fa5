"""PDF → Content. The grade `text` is fastest; `layout` finds columns, headings and tables by geometry; `model` uses docling's models.

Pages without a usable text layer go through text recognition if it is installed (`parsers.pdf.ocr`).
"""

from __future__ import annotations

from core.records import Content
from parsers.pdf import blank, model, ocr, plain, words
from parsers.pdf.content import content as assembled
from parsers.reasons import ParseError


def read(content: bytes, grade: str = "layout") -> Content:
    """The document's content, without blocks if its pages are blank.

    Raises ParseError: `encrypted-document` if a password is required, `corrupt-document` if the document does not open, `no-text-layer` if
    it contains only pictures and text recognition is not installed, `no-text` if recognition finds nothing in them or pages may be missing,
    `missing-models` at the grade `model` if this process has not loaded the models.
    """
    if grade == "model" and not model.loaded():
        raise ParseError("missing-models")
    document = plain.opened(content)
    try:
        properties = plain.properties(document)
        pages = list(plain.pages(document) if grade == "text" else words.pages(content, document))
        if ocr.available():
            pages, confidences = ocr.complete(pages, document)
        else:
            confidences = []
        if not any(page.grade for page in pages):
            raise ParseError("corrupt-document")
        by_model = grade == "model" and any(page.words for page in pages)
        read = model.content(content, pages, properties, confidences) if by_model else assembled(pages, properties, confidences)
        if not read.blocks and not blank.is_blank(document):
            unrecognised = any(map(ocr.needed, pages)) and not ocr.available()
            raise ParseError("no-text-layer" if unrecognised else "no-text")
        return read
    finally:
        document.close()
