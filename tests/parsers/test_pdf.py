"""The PDF reader: reading order, headings, tables, furniture, signals and text recognition. fpdf2 writes the PDFs here."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from time import monotonic

import pypdfium2
import pytest
from fpdf import FPDF
from fpdf.enums import XPos, YPos
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from core.config import Parsing
from core.records import Block, Content, Link, decode
from parsers import WorkerPool
from parsers.pdf import ocr
from parsers.pdf.reader import read
from parsers.reasons import ParseError

pytestmark = pytest.mark.slow

WIDTH, HEIGHT, MARGIN, SIZE = 595.0, 842.0, 60.0, 11.0
PROSE = (
    "The rake is cleaned before the first water comes down in spring, and the guide vanes are opened by hand until the runner turns freely."
    " Nobody stands on the apron while the gate is raised."
)


class Book(FPDF):
    """An A4 document with text at given places, in points."""

    def __init__(self) -> None:
        super().__init__(unit="pt", format=(WIDTH, HEIGHT))
        self.set_auto_page_break(False)
        self.set_margin(0)

    def put(self, x: float, y: float, text: str, size: float = SIZE, style: str = "", font: str = "helvetica") -> None:
        """One line, its upper edge at y."""
        self.set_font(font, style, size)
        self.set_xy(x, y)
        self.cell(text=text)

    def column(self, x: float, y: float, text: str, width: float = WIDTH - 2 * MARGIN) -> float:
        """Write a paragraph; returns the y at which it ends."""
        self.set_font("helvetica", size=SIZE)
        self.set_xy(x, y)
        self.multi_cell(width, 14, text, align="L", new_x=XPos.LEFT, new_y=YPos.NEXT)
        return float(self.get_y())

    def grid(self, x: float, y: float, rows: Sequence[Sequence[str]], width: float = 120, height: float = 20) -> None:
        """Draw a table with a rule around every cell."""
        self.set_font("helvetica", size=SIZE)
        for down, row in enumerate(rows):
            for across, text in enumerate(row):
                self.set_xy(x + across * width, y + down * height)
                self.cell(width, height, text, border=1)

    def written(self) -> bytes:
        return bytes(self.output())


def book(*pages: Callable[[Book], object]) -> bytes:
    document = Book()
    for write in pages:
        document.add_page()
        write(document)
    return document.written()


def _uncompressed() -> bytes:
    document = Book()
    document.set_compression(False)
    for write in (two_columns, chapters, lambda page: page.grid(MARGIN, 200, PARTS)):
        document.add_page()
        write(document)
    return document.written()


def outline(content: Content) -> list[tuple[str, str]]:
    return [(block.kind, block.text) for block in content.blocks]


def tables(content: Content) -> list[Block]:
    return [block for block in content.blocks if block.kind == "table"]


def reason(content: bytes, grade: str = "layout") -> str:
    with pytest.raises(ParseError) as failure:
        read(content, grade)
    return failure.value.reason


# order


def two_columns(page: Book) -> None:
    page.put(MARGIN, 60, "Spring inspection of the intake and of everything below it, in two columns", 16, "B")
    page.column(MARGIN, 110, "LEFT " + PROSE * 2, 220)
    # off the base lines of the left column
    page.column(MARGIN + 250, 117, "RIGHT " + PROSE * 2, 220)


def test_two_columns_are_read_one_after_the_other() -> None:
    content = read(book(two_columns))
    assert [(kind, text[:5]) for kind, text in outline(content)] == [("heading", "Sprin"), ("paragraph", "LEFT "), ("paragraph", "RIGHT")]
    assert content.blocks[1].text == "LEFT " + PROSE * 2


def test_columns_are_read_down_even_if_the_file_draws_across_them() -> None:
    left = [f"left line {at} says what the left says at length" for at in range(8)]
    right = [f"Right line {at} says what the right says at length" for at in range(8)]

    def across(page: Book) -> None:
        for at in range(8):
            page.put(MARGIN, 100 + 14 * at, left[at])
            page.put(MARGIN + 270, 100 + 14 * at, right[at])

    assert outline(read(book(across))) == [("paragraph", " ".join(left)), ("paragraph", " ".join(right))]


def test_a_paragraph_that_continues_in_the_next_column_or_page_is_one() -> None:
    def first(page: Book) -> None:
        page.column(MARGIN, 100, PROSE)
        page.put(MARGIN, 600, "The gate is raised only when the")

    def second(page: Book) -> None:
        page.put(MARGIN, 80, "tail water stands below the mark.")
        page.column(MARGIN, 300, PROSE)

    content = read(book(first, second))
    assert ("paragraph", "The gate is raised only when the tail water stands below the mark.") in outline(content)
    assert [block.page for block in content.blocks] == [1, 1, 2]


def test_a_word_hyphenated_at_the_end_of_a_line_is_joined() -> None:
    def broken(page: Book) -> None:
        page.put(MARGIN, 100, "Every spring the mainte-")
        page.put(MARGIN, 114, "nance of the head-")
        page.put(MARGIN, 128, "Race is due.")

    assert outline(read(book(broken))) == [("paragraph", "Every spring the maintenance of the head- Race is due.")]


# headings, lists, code, captions


def chapters(page: Book) -> None:
    page.put(MARGIN, 60, "Turbine handbook", 24, "B")
    page.put(MARGIN, 120, "1 Before water", 16)
    page.column(MARGIN, 150, PROSE)
    page.put(MARGIN, 220, "2 After water", 16)
    page.column(MARGIN, 250, PROSE)
    page.put(MARGIN, 320, "Bold and no larger", SIZE, "B")
    page.column(MARGIN, 340, PROSE)


def test_headings_are_detected_by_size_and_weight() -> None:
    content = read(book(chapters))
    assert [(block.level, block.text) for block in content.blocks if block.kind == "heading"] == [
        (1, "Turbine handbook"),
        (2, "1 Before water"),
        (2, "2 After water"),
        (3, "Bold and no larger"),
    ]
    assert content.title == "Turbine handbook"


def test_lists_are_nested_by_indent() -> None:
    def lists(page: Book) -> None:
        page.column(MARGIN, 60, PROSE)
        for at, (indent, text) in enumerate([(0, "- gate"), (20, "- rake, which is cleaned before the"), (0, "- runner"), (0, "1. vanes")]):
            page.put(MARGIN + indent, 130 + 30 * at, text)
        page.put(MARGIN + 27, 174, "first water")

    found = [(block.level, block.text) for block in read(book(lists)).blocks if block.kind == "list_item"]
    assert found == [(1, "gate"), (2, "rake, which is cleaned before the first water"), (1, "runner"), (1, "1. vanes")]


def test_code_keeps_its_lines_and_indentation() -> None:
    def program(page: Book) -> None:
        page.column(MARGIN, 60, PROSE)
        for at, line in enumerate(["def opened(gate):", "    if gate.free:", "        return True", "    return False"]):
            page.put(MARGIN + 6.6 * (len(line) - len(line.lstrip())), 150 + 13 * at, line.lstrip(), font="courier")
        page.column(MARGIN, 240, PROSE)

    content = read(book(program))
    assert content.blocks[1].kind == "code"
    assert content.blocks[1].text == "def opened(gate):\n    if gate.free:\n        return True\n    return False"


@pytest.mark.parametrize(("text", "kind"), [("Figure 3: the intake", "caption"), ("Figure 3 shows the intake.", "paragraph")])
def test_captions_are_detected_only_if_unambiguous(text: str, kind: str) -> None:
    def captioned(page: Book) -> None:
        page.column(MARGIN, 60, PROSE)
        page.put(MARGIN, 300, text)

    assert outline(read(book(captioned)))[-1] == (kind, text)


# tables

PARTS = [("part", "price", "stock"), ("rake", "12.50", "4"), ("seal", "7.00", "31"), ("gate", "980.00", "1")]


def test_a_ruled_table_has_its_rows() -> None:
    def ruled(page: Book) -> None:
        page.column(MARGIN, 60, PROSE)
        page.grid(MARGIN, 150, PARTS)
        page.column(MARGIN, 260, PROSE)

    content = read(book(ruled))
    assert [block.kind for block in content.blocks] == ["paragraph", "table", "paragraph"]
    assert content.blocks[1].rows == tuple(PARTS)


def test_a_cell_over_several_columns_repeats_its_text() -> None:
    def spanned(page: Book) -> None:
        page.set_font("helvetica", size=SIZE)
        page.set_xy(MARGIN, 100)
        page.cell(360, 20, "spare parts", border=1)
        page.grid(MARGIN, 120, PARTS)

    assert tables(read(book(spanned)))[0].rows == (("spare parts",) * 3, *PARTS)


def test_an_aligned_table_without_rules_has_its_rows() -> None:
    def aligned(page: Book) -> None:
        page.column(MARGIN, 60, PROSE)
        for down, row in enumerate(PARTS):
            for across, text in enumerate(row):
                page.put(MARGIN + 110 * across, 150 + 16 * down, text)
        page.column(MARGIN, 260, PROSE)

    content = read(book(aligned))
    assert [block.kind for block in content.blocks] == ["paragraph", "table", "paragraph"]
    assert content.blocks[1].rows == tuple(PARTS)


def test_a_table_that_spans_two_pages_is_one_with_one_header() -> None:
    more = [PARTS[0], ("vane", "44.00", "12"), ("bolt", "0.20", "900")]
    content = read(book(lambda page: page.grid(MARGIN, 640, PARTS), lambda page: page.grid(MARGIN, 60, more)))
    assert [block.rows for block in content.blocks] == [(*PARTS, *more[1:])]
    assert content.blocks[0].page == 1


def test_tables_with_different_columns_are_not_joined() -> None:
    other = [("name", "office"), ("Ada", "3"), ("Zeb", "4")]
    content = read(book(lambda page: page.grid(MARGIN, 640, PARTS), lambda page: page.grid(MARGIN, 60, other)))
    assert [len(block.rows) for block in content.blocks] == [4, 3]


def test_a_frame_around_a_paragraph_is_not_a_table() -> None:
    def framed(page: Book) -> None:
        page.rect(MARGIN - 10, 90, WIDTH - 2 * MARGIN + 20, 80)
        page.column(MARGIN, 100, PROSE)

    assert outline(read(book(framed))) == [("paragraph", PROSE)]


# furniture


def numbered(title: str, page: int) -> Callable[[Book], None]:
    def write(paper: Book) -> None:
        paper.put(MARGIN, 30, title)
        paper.column(MARGIN, 100, f"Page text {'abc'[page]}. " + PROSE)
        paper.put(MARGIN, 800, "Strictly internal")
        paper.put(WIDTH / 2, 815, f"{page + 1}")

    return write


@pytest.mark.parametrize("grade", ["text", "layout"])
def test_running_heads_running_feet_and_page_numbers_are_dropped_and_counted(grade: str) -> None:
    content = read(book(*(numbered("Turbine handbook, chapter 1", page) for page in range(3))), grade)
    assert [text[:11] for _, text in outline(content)] == ["Page text a", "Page text b", "Page text c"]
    assert content.signals.dropped == {"header": 3, "footer": 3, "page_number": 3}


def test_text_at_the_edge_of_a_single_page_is_kept() -> None:
    content = read(book(*(numbered(f"{title} of the handbook", page) for page, title in enumerate(["Start", "Midst", "End"]))))
    assert [text for _, text in outline(content) if text.endswith("handbook")] == [
        "Start of the handbook",
        "Midst of the handbook",
        "End of the handbook",
    ]


# places, links, properties, signals


def test_blocks_have_their_page_and_place() -> None:
    content = read(book(chapters, lambda page: page.grid(MARGIN, 200, PARTS)))
    left, top, right, bottom = content.blocks[0].box or (0, 0, 0, 0)
    assert MARGIN - 3 < left < MARGIN + 6
    assert 55 < top < bottom < 100
    assert right < 300
    table = content.blocks[-1]
    assert (table.page, table.box) == (2, (MARGIN, 200.0, MARGIN + 360, 280.0))


def rotated(rotation: int, shown: tuple[float, float, float, float]) -> bytes:
    """A rotated page with a crop box."""
    document = pypdfium2.PdfDocument(book(lambda page: page.put(MARGIN, 100, "The rake is cleaned in spring.", 16)))
    document[0].set_cropbox(*shown)
    document[0].set_rotation(rotation)
    buffer = io.BytesIO()
    document.save(buffer)
    document.close()
    return buffer.getvalue()


@pytest.mark.parametrize("shown", [(0, 0, WIDTH, HEIGHT), (30, 100, 500, 800)])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_places_refer_to_the_visible_rotated_page(rotation: int, shown: tuple[float, float, float, float]) -> None:
    left, bottom, right, top = shown
    middle = (MARGIN + 105 - left, HEIGHT - 108 - bottom)
    width, height = right - left, top - bottom
    expected = {
        0: (middle[0], height - middle[1]),
        90: (middle[1], middle[0]),
        180: (width - middle[0], middle[1]),
        270: (height - middle[1], width - middle[0]),
    }[rotation]
    for grade in ("text", "layout"):
        box = read(rotated(rotation, shown), grade).blocks[0].box or (0, 0, 0, 0)
        assert ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) == pytest.approx(expected, abs=6)


@pytest.mark.parametrize("grade", ["text", "layout"])
def test_links_keep_their_words_and_targets(grade: str) -> None:
    def linked(page: Book) -> None:
        page.column(MARGIN, 60, PROSE)
        page.set_font("helvetica", size=SIZE)
        page.set_xy(MARGIN, 200)
        page.cell(text="the rules", link="https://example.org/rules")

    content = read(book(linked), grade)
    assert [link for block in content.blocks for link in block.links] == [Link("the rules", "https://example.org/rules")]


@pytest.mark.parametrize("grade", ["text", "layout"])
def test_each_grade_reads_all_words_and_is_reported(grade: str) -> None:
    content = read(book(two_columns, lambda _: None, chapters), grade)
    words = " ".join(text for _, text in outline(content))
    assert words.count("Nobody stands on the apron") == 7
    assert content.signals.grades == {grade: 2}
    assert (content.signals.pages, content.signals.empty_pages) == (3, 1)


def test_the_grade_model_is_refused_if_no_models_are_loaded() -> None:
    assert reason(b"whatever", "model") == "missing-models"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(st.integers(20, 300), st.integers(20, 800), st.text("abcdefg ", min_size=1, max_size=30)), max_size=25))
def test_every_word_is_read_exactly_once_wherever_it_is(places: list[tuple[int, int, str]]) -> None:
    words = [(x, y, f"w{at}x{''.join(text.split())}") for at, (x, y, text) in enumerate(places)]
    # overlapping words are illegible
    separate = [(x, y, text) for at, (x, y, text) in enumerate(words) if all(abs(y - other) > 14 for _, other, _ in words[:at])]

    def scattered(page: Book) -> None:
        page.column(MARGIN, 820, "end.")
        for x, y, text in separate:
            page.put(x, y, text)

    content = read(book(scattered))
    found = " ".join([block.text for block in content.blocks] + [cell for block in content.blocks for row in block.rows for cell in row])
    assert all(found.count(text) == 1 for _, _, text in separate)


# damage


def broken_page() -> bytes:
    """A document whose second page refers to a missing object."""
    whole = book(chapters, two_columns, lambda page: page.grid(MARGIN, 200, PARTS))
    return re.sub(rb"(/Kids \[\d+ 0 R\s+)\d(\d*) 0 R", rb"\g<1>9\g<2> 0 R", whole)


def test_a_broken_page_does_not_affect_the_others() -> None:
    content = read(broken_page())
    assert {block.page for block in content.blocks} == {1, 3}
    assert content.signals.empty_pages == 1


DAMAGED = _uncompressed()


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_a_damaged_document_is_read_or_has_a_reason(data: st.DataObject) -> None:
    damaged = bytearray(DAMAGED)
    for place, value in data.draw(st.lists(st.tuples(st.integers(0, len(damaged) - 1), st.integers(0, 255)), max_size=20)):
        damaged[place] = value
    grade = data.draw(st.sampled_from(["text", "layout"]))
    # any other exception fails the test
    with contextlib.suppress(ParseError):
        assert read(bytes(damaged), grade).signals.pages > 0


# text recognition


def scanned(*pages: Callable[[Book], object]) -> bytes:
    """The pages as scans: pictures without a text layer."""
    document = pypdfium2.PdfDocument(book(*pages))
    pictures = [page.render(scale=2.5).to_pil().convert("L") for page in document]
    document.close()
    paper = Book()
    for picture in pictures:
        paper.add_page()
        paper.image(picture, 0, 0, WIDTH, HEIGHT)
    return paper.written()


def photograph(*pages: Callable[[Book], object]) -> bytes:
    document = pypdfium2.PdfDocument(book(*pages))
    buffer = io.BytesIO()
    document[0].render(scale=2).to_pil().save(buffer, "PNG")
    document.close()
    return buffer.getvalue()


def short(page: Book) -> None:
    page.put(MARGIN, 100, "The rake is cleaned in spring.", 16)
    page.put(MARGIN, 160, "Nobody stands on the apron.", 16)


needs_ocr = pytest.mark.skipif(find_spec("rapidocr") is None, reason="the extra ocr is not installed")


@pytest.mark.usefixtures("without_ocr")
def test_a_scan_is_refused_without_text_recognition() -> None:
    assert reason(scanned(short)) == "no-text-layer"
    assert reason(scanned(short), "text") == "no-text-layer"
    with pytest.raises(ParseError) as failure:
        ocr.read_image(photograph(short))
    assert failure.value.reason == "missing-parser"


@pytest.mark.usefixtures("without_ocr")
def test_a_scanned_page_among_others_is_empty_without_text_recognition() -> None:
    document = pypdfium2.PdfDocument(scanned(short))
    document.import_pages(pypdfium2.PdfDocument(book(chapters)))
    buffer = io.BytesIO()
    document.save(buffer)
    document.close()
    content = read(buffer.getvalue())
    assert (content.signals.pages, content.signals.empty_pages, content.signals.grades) == (2, 1, {"layout": 1})
    assert content.blocks[0].page == 2


def test_a_blank_document_needs_no_text_recognition() -> None:
    content = read(book(lambda _: None))
    assert (content.blocks, content.signals.empty_pages) == ((), 1)


@pytest.fixture(scope="module")
def worker() -> Iterator[WorkerPool]:
    with WorkerPool(Parsing(workers=1)) as pool:
        yield pool


@needs_ocr
def test_only_the_pages_without_a_text_layer_are_recognised_in_the_confined_worker(worker: WorkerPool) -> None:
    document = pypdfium2.PdfDocument(scanned(short))
    document.import_pages(pypdfium2.PdfDocument(book(chapters)))
    buffer = io.BytesIO()
    document.save(buffer)
    document.close()
    content = decode(worker.parse(buffer.getvalue(), "application/pdf", ""), Content)
    first = " ".join(block.text for block in content.blocks if block.page == 1)
    assert first == "The rake is cleaned in spring. Nobody stands on the apron."
    assert content.signals.grades == {"ocr": 1, "layout": 1}
    assert content.signals.ocr_confidence is not None
    assert content.signals.ocr_confidence > 0.9


@needs_ocr
def test_a_picture_is_read_in_the_confined_worker_with_places_and_confidence(worker: WorkerPool) -> None:
    content = decode(worker.parse(photograph(short), "image/png", ""), Content)
    assert " ".join(block.text for block in content.blocks) == "The rake is cleaned in spring. Nobody stands on the apron."
    assert content.blocks[0].box is not None
    assert content.signals.grades == {"ocr": 1}


@needs_ocr
def test_a_fax_of_several_pages_is_read_page_by_page() -> None:
    def long(page: Book) -> None:
        page.put(MARGIN, 160, "The second page of the fax.", 16)

    first, second = (Image.open(io.BytesIO(photograph(text))).convert("L") for text in (short, long))
    buffer = io.BytesIO()
    first.save(buffer, "TIFF", save_all=True, append_images=[second])
    content = ocr.read_image(buffer.getvalue())
    assert (content.blocks[-1].page, content.blocks[-1].text) == (2, "The second page of the fax.")
    assert {block.page for block in content.blocks} == {1, 2}
    assert content.signals.grades == {"ocr": 2}


@needs_ocr
def test_a_long_scan_has_a_timeout_per_page_and_a_limit_for_the_document() -> None:
    page = Image.open(io.BytesIO(photograph(short))).convert("L").crop((0, 150, 700, 400))

    def scan(pages: int) -> bytes:
        buffer = io.BytesIO()
        page.save(buffer, "TIFF", save_all=True, append_images=[page] * (pages - 1))
        return buffer.getvalue()

    def seconds(pool: WorkerPool, pages: int) -> float:
        began = monotonic()
        content = decode(pool.parse(scan(pages), "image/tiff", ""), Content)
        assert content.signals.grades == {"ocr": pages}
        return monotonic() - began

    # with the start of the process and the loading of the models, so longer than any page takes on this machine
    with WorkerPool(Parsing(workers=1, timeout_s=120)) as pool:
        timeout_s = seconds(pool, 1)
    pages = 30
    with WorkerPool(Parsing(workers=1, timeout_s=timeout_s, longest_s=600)) as pool:
        seconds(pool, 1)
        # until the whole document takes longer than the timeout of a page
        while seconds(pool, pages) <= timeout_s:
            pages *= 2
    with WorkerPool(Parsing(workers=1, timeout_s=0.5, longest_s=0.5)) as pool, pytest.raises(ParseError) as failure:
        pool.parse(scan(pages), "image/tiff", "")
    assert failure.value.reason == "parse-timeout"


@needs_ocr
@pytest.mark.parametrize("damage", [lambda png: png[: len(png) // 2], lambda _: b"\x89PNG\r\n\x1a\n nothing"])
def test_a_damaged_picture_is_a_corrupt_document(damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ParseError) as failure:
        ocr.read_image(damage(photograph(short)))
    assert failure.value.reason == "corrupt-document"


@needs_ocr
def test_an_oversized_picture_is_refused() -> None:
    buffer = io.BytesIO()
    Image.new("1", (8_000, 6_000)).save(buffer, "PNG")
    with pytest.raises(ParseError) as failure:
        ocr.read_image(buffer.getvalue())
    assert failure.value.reason == "document-too-large"
