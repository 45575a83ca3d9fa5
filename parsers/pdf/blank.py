"""Whether a PDF in which no text was found is empty: its pages show nothing, and the file is whole."""

from __future__ import annotations

from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

# pixels along a page's longer side; pdfium draws the thinnest line a pixel wide
_LONGER_SIDE = 600


def is_blank(document: Any) -> bool:
    """Whether pdfium's document is whole, and every page shows nothing, or nothing but text of its text layer.

    A file without a valid table of its objects was cut off or changed: its pages may lack their content.
    """
    valid = pdfium.FPDF_DocumentHasValidCrossReferenceTable(document.raw)
    return bool(valid) and all(_shows_nothing(document, at) for at in range(len(document)))


def _shows_nothing(document: Any, at: int) -> bool:
    try:
        page = document[at]
        return _has_text_alone(page) or _is_one_colour(page)
    except pypdfium2.PdfiumError:
        return False


def _has_text_alone(page: Any) -> bool:
    text = all(shown.type == pdfium.FPDF_PAGEOBJ_TEXT for shown in page.get_objects())
    return text and bool(page.get_textpage().get_text_range().strip())


def _is_one_colour(page: Any) -> bool:
    pixels = page.render(scale=_LONGER_SIDE / max(1.0, *page.get_size())).to_numpy()
    return bool((pixels == pixels[:1, :1]).all())
