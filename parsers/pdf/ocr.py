"""Text of pictures, and of PDF pages without a usable text layer, if the extra `ocr` is installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.records import Content
from parsers import progress
from parsers.pdf import recognition
from parsers.pdf.content import content as assembled
from parsers.pdf.pages import Page, Word
from parsers.pdf.recognition import Pixels, Recognised
from parsers.reasons import ParseError

available = recognition.available

# at this resolution text of the usual size has the height that the models expect
_DOTS_PER_INCH = 200
# a text layer is unusable if a larger share of its characters is unmapped, or if it has fewer characters and a picture covers half the page
_UNREADABLE = 0.3
_STAMP, _PICTURED = 40, 0.5
_LEAST_CONFIDENCE = 0.5


def read_image(content: bytes) -> Content:
    """A picture's text, page by page for a TIFF, with places in pixels at 72 per inch.

    Raises ParseError: `missing-parser` without the extra `ocr`, `corrupt-document`, `document-too-large`.
    """
    if not available():
        raise ParseError("missing-parser")
    pages, confidences = [], []
    for number, pixels in enumerate(recognition.pages(content), 1):
        lines = recognition.recognise(pixels)
        height, width = pixels.shape[:2]
        pages.append(Page(number, width, height, _words(lines, 1.0), [], [], painted=True, grade="ocr"))
        confidences += _confidences(lines)
        if lines:
            progress.page_read()
    return assembled(pages, {}, confidences)


def needed(page: Page) -> bool:
    """Whether the page is not blank and its text layer is missing, mostly unmapped, or only a stamp on a picture."""
    characters = "".join(word.text for word in page.words)
    readable = sum(map(str.isalnum, characters))
    unmapped = sum(character in "\ufffd" or "\ue000" <= character <= "\uf8ff" for character in characters)
    stamped = readable < _STAMP and page.pictured > _PICTURED
    return page.painted and (not readable or stamped or unmapped > _UNREADABLE * len(characters))


def complete(pages: Sequence[Page], document: Any) -> tuple[list[Page], list[float]]:
    """The pages, with text recognition applied to those that need it, and the confidences of the recognised lines."""
    confidences: list[float] = []
    whole: list[Page] = []
    for page in pages:
        lines, scale = _recognise(document[page.number - 1]) if needed(page) else ([], 1.0)
        confidences += _confidences(lines)
        if lines:
            progress.page_read()
        whole.append(page._replace(words=_words(lines, scale), rules=[], grade="ocr") if lines else page)
    return whole, confidences


def _recognise(page: Any) -> tuple[list[Recognised], float]:
    """The page's lines, and the size of a pixel in points."""
    width, height = page.get_size()
    scale = recognition.dots_per_inch(width, height, _DOTS_PER_INCH) / 72
    return recognition.recognise(_rendered(page, scale)), 1 / scale


def _rendered(page: Any, scale: float) -> Pixels:
    return recognition.pixels_of(page.render(scale=scale).to_pil())


def _words(lines: Sequence[Recognised], scale: float) -> list[Word]:
    kept = [line for line in lines if line.confidence >= _LEAST_CONFIDENCE]
    return [_word(line, scale) for line in kept]


def _word(line: Recognised, scale: float) -> Word:
    left, top, right, bottom = (scale * place for place in line.box)
    return Word(left, top, right, bottom, line.text)


def _confidences(lines: Sequence[Recognised]) -> list[float]:
    return [line.confidence for line in lines]
