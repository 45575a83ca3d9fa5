"""The grade `model` of PDFs: docling's whole pipeline, with small models made by tests/models/docling_models.py."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, cast

import pypdfium2
import pytest
from docling_core.types.doc.base import BoundingBox, CoordOrigin, Size
from docling_core.types.doc.common.reference import ProvenanceItem
from docling_core.types.doc.document import DoclingDocument
from docling_core.types.doc.items.table.table_data import TableCell, TableData
from docling_core.types.doc.labels import DocItemLabel
from fpdf import FPDF

import parsers
from core.config import Endpoints, Parsing, Settings
from core.errors import ConfigurationError, DocumentError, PolicyError, Unavailable
from core.policy import Policy, Reading
from core.records import Block, Content, Link, decode
from parsers import WorkerPool, progress
from parsers.docling import weights
from parsers.pdf import model, model_blocks
from parsers.pdf.pages import Box, Page, Word
from parsers.workers import landlock
from pipelines.governance.tenants import checked
from pipelines.models import Models
from pipelines.stages import registry
from tests.models.docling_models import Cells, Detection, isolated_torch, write

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from docling.pipeline.standard_pdf_pipeline import StandardPdfPipeline

WIDTH, HEIGHT = 595.0, 842.0
MODEL = Reading(pdf="model")
COLUMNS, ROW = ((60.0, 180.0), (180.0, 300.0)), 20.0


def sheet(pages: int = 2, size: tuple[float, float] = (WIDTH, HEIGHT)) -> bytes:
    """One page with an item of each kind, and a second one with a heading and text."""
    pdf = FPDF(unit="pt", format=size)
    pdf.set_auto_page_break(False)
    for number in range(1, pages + 1):
        pdf.add_page()
        _put(pdf, 60, 20, "Mill Weekly", 9)
        _put(pdf, 60, 800, str(number), 9)
        (_first if number == 1 else _second)(pdf)
    return bytes(pdf.output())


def _put(pdf: FPDF, x: float, y: float, text: str, size: float = 11, style: str = "", font: str = "helvetica", link: str = "") -> None:
    pdf.set_font(font, style, size)
    pdf.set_xy(x, y)
    pdf.cell(text=text, link=link)


def _first(pdf: FPDF) -> None:
    _put(pdf, 60, 60, "Spring cleaning", 18, "B")
    _put(pdf, 60, 100, "The rake is cleaned before the first water,")
    _put(pdf, 60, 114, "as", link="https://mill.example/rules")
    _put(pdf, 75, 114, "the rules of the mill say.")
    _put(pdf, 60, 180, "Table 1: the gates", 9)
    for down, row in enumerate((("gate", "width"), ("north", "4 m"), ("south", "6 m"))):
        for (left, _), text in zip(COLUMNS, row, strict=True):
            _put(pdf, left + 4, 203 + down * ROW, text)
    _put(pdf, 60, 300, "def lift(gate):", font="courier")
    _put(pdf, 86, 314, "return gate.up()", font="courier")
    _put(pdf, 60, 360, "a + b = c")
    _put(pdf, 60, 400, "- the rake")


def _second(pdf: FPDF) -> None:
    _put(pdf, 60, 60, "Autumn", 14, "B")
    _put(pdf, 60, 100, "Leaves are taken off the grating every morning.")


FURNITURE = (Detection("page_header", (58, 18, 300, 33)), Detection("page_footer", (58, 798, 100, 813)))
DETECTIONS = [
    [
        *FURNITURE,
        Detection("section_header", (58, 58, 400, 82)),
        Detection("text", (58, 98, 540, 130)),
        Detection("caption", (58, 178, 300, 193)),
        Detection("table", (58, 198, 302, 262)),
        Detection("code", (58, 298, 400, 328)),
        Detection("formula", (58, 358, 300, 375)),
        Detection("list_item", (58, 398, 300, 415)),
    ],
    [*FURNITURE, Detection("section_header", (58, 58, 400, 80)), Detection("text", (58, 98, 540, 115))],
]
CELLS = Cells(
    ("ched", "ched", "nl", "fcel", "fcel", "nl", "fcel", "fcel", "nl"),
    [(left + 1, 200 + ROW * down + 1, right - 1, 200 + ROW * (down + 1) - 1) for down in range(3) for left, right in COLUMNS],
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docling")
    write(folder, sheet(), DETECTIONS, CELLS, (WIDTH, HEIGHT))
    return folder


@pytest.fixture(scope="module")
def worker(models: Path) -> Iterator[WorkerPool]:
    with WorkerPool(Parsing(workers=1, models_dir=models)) as pool:
        yield pool


@pytest.fixture(scope="module")
def pipeline(models: Path) -> Iterator[StandardPdfPipeline]:
    """The pipeline in this process, where a test can use its hooks."""
    with isolated_torch():
        yield model.pipeline(models)


def parsed(pool: WorkerPool, content: bytes) -> Content:
    return decode(pool.parse(content, "application/pdf", "", MODEL), Content)


def test_the_models_predictions_become_blocks_in_the_confined_worker(worker: WorkerPool) -> None:
    content = parsed(worker, sheet())
    assert [(block.kind, block.text or block.rows, block.page) for block in content.blocks] == [
        ("heading", "Spring cleaning", 1),
        ("paragraph", "The rake is cleaned before the first water, as the rules of the mill say.", 1),
        ("caption", "Table 1: the gates", 1),
        ("table", (("gate", "width"), ("north", "4 m"), ("south", "6 m")), 1),
        ("code", "def lift(gate):\n    return gate.up()", 1),
        ("formula", "a + b = c", 1),
        ("list_item", "the rake", 1),
        ("heading", "Autumn", 2),
        ("paragraph", "Leaves are taken off the grating every morning.", 2),
    ]
    assert content.title == "Spring cleaning"
    assert [block.level for block in content.blocks if block.kind == "heading"] == [1, 2]
    assert [link for block in content.blocks for link in block.links] == [Link("as", "https://mill.example/rules")]
    assert content.blocks[3].box == pytest.approx((58, 198, 302, 262), abs=1)
    assert all(block.box and 50 < block.box[0] < 100 and block.box[1] < block.box[3] < HEIGHT for block in content.blocks)


def test_pages_are_graded_as_read_by_the_models_and_furniture_is_counted(worker: WorkerPool) -> None:
    signals = parsed(worker, sheet()).signals
    assert (signals.pages, signals.grades, signals.dropped) == (2, {"model": 2}, {"header": 2, "footer": 2})


def test_the_same_bytes_always_yield_the_same_blocks(worker: WorkerPool) -> None:
    assert len({worker.parse(sheet(), "application/pdf", "", MODEL) for _ in range(3)}) == 1


def test_only_pages_with_text_are_reported_as_progress(pipeline: StandardPdfPipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    from docling.datamodel.base_models import Page as DoclingPage

    reports: list[None] = []
    monkeypatch.setattr(progress, "_observers", [lambda: reports.append(None)])
    converted = model.convert(pipeline, sheet())
    assert converted is not None
    assert len(reports) == 2
    blank = DoclingPage(page_no=3)
    assert list(model._ReportPages(lambda _, pages: pages)(None, [*converted.pages, blank, blank])) == [*converted.pages, blank, blank]
    assert len(reports) == 4


def test_pages_before_and_after_those_with_text_are_not_given_to_the_models(pipeline: StandardPdfPipeline) -> None:
    converted = model.convert(pipeline, sheet(), (2, 2))
    assert converted is not None
    assert [page.page_no for page in converted.pages] == [2]


@pytest.mark.skipif(find_spec("rapidocr") is None, reason="the extra `ocr` is not installed")
def test_a_page_without_a_text_layer_is_recognised_and_keeps_its_position(worker: WorkerPool) -> None:
    document = pypdfium2.PdfDocument(sheet(1))
    picture = document[0].render(scale=2).to_pil()
    scan = io.BytesIO()
    picture.save(scan, "PDF", resolution=144)
    document.import_pages(pypdfium2.PdfDocument(scan.getvalue()))
    document.import_pages(pypdfium2.PdfDocument(sheet()), [1])
    whole = io.BytesIO()
    document.save(whole)
    document.close()
    content = parsed(worker, whole.getvalue())
    assert content.signals.grades == {"model": 2, "ocr": 1}
    assert [block.page for block in content.blocks] == sorted(block.page or 0 for block in content.blocks)
    assert "cleaning" in " ".join(block.text for block in content.blocks if block.page == 2)


def test_a_page_too_large_to_render_is_read_by_geometry(worker: WorkerPool) -> None:
    content = parsed(worker, sheet(1, (14_400, 14_400)))
    assert content.signals.grades == {"layout": 1}
    assert "Spring cleaning" in {block.text for block in content.blocks}


def test_a_file_that_docling_cannot_open_fails_as_at_the_other_grades(worker: WorkerPool) -> None:
    with pytest.raises(DocumentError) as failure:
        worker.parse(b"%PDF-1.7 truncate off", "application/pdf", "", MODEL)
    assert failure.value.reason == "corrupt-document"


def test_only_pdfs_go_to_the_processes_with_models(tmp_path: Path) -> None:
    with WorkerPool(Parsing(workers=1, models_dir=tmp_path)) as pool:
        assert decode(pool.parse(b"# No PDF\n\nbut a text", "text/markdown", "", MODEL), Content).title == "No PDF"
        assert len(pool.pids) == 1


# ---- the words that docling drops


def table_blocks(rows: tuple[tuple[str, ...], ...], written: tuple[str, ...] = ("north", "4", "m")) -> tuple[Block, ...]:
    """The blocks of a table for which the table model predicts `rows`, on a page with the words `written`."""
    document = DoclingDocument(name="table")
    document.add_page(1, Size(width=WIDTH, height=HEIGHT))
    place = BoundingBox(l=50, t=100, r=300, b=120, coord_origin=CoordOrigin.TOPLEFT).to_bottom_left_origin(HEIGHT)
    cells = [
        TableCell(text=text, start_row_offset_idx=y, end_row_offset_idx=y + 1, start_col_offset_idx=x, end_col_offset_idx=x + 1)
        for y, row in enumerate(rows)
        for x, text in enumerate(row)
    ]
    data = TableData(table_cells=cells, num_rows=len(rows), num_cols=len(rows[0]) if rows else 0)
    document.add_table(data, prov=ProvenanceItem(page_no=1, bbox=place, charspan=(0, 0)), label=DocItemLabel.TABLE)
    words = [Word(60 + 40 * at, 105, 80 + 40 * at, 115, text) for at, text in enumerate(written)]
    page = Page(1, WIDTH, HEIGHT, words, [], [(Box(58, 104, 82, 116), "https://mill.example")], painted=False, grade="layout")
    return model_blocks.blocks(document, {1: page})


def test_words_that_the_table_model_assigns_to_no_cell_follow_the_table() -> None:
    table, rest = table_blocks((("north",),))
    assert (table.rows, table.links) == ((("north",),), (Link("north", "https://mill.example"),))
    assert (rest.kind, rest.text, rest.page, rest.box, rest.links) == ("paragraph", "4 m", 1, (50, 100, 300, 120), ())


def test_a_table_without_cells_is_a_paragraph() -> None:
    (rest,) = table_blocks(())
    assert (rest.kind, rest.text, rest.links) == ("paragraph", "north 4 m", (Link("north", "https://mill.example"),))


def test_a_word_that_is_a_part_of_another_cells_text_is_not_lost() -> None:
    table, rest = table_blocks((("north", "14 mm"),), ("north", "14", "mm", "4", "m"))
    assert (table.rows, rest.text) == ((("north", "14 mm"),), "4 m")


def test_a_word_that_occurs_twice_but_in_one_cell_follows_the_table_once() -> None:
    assert [block.text for block in table_blocks((("4 m",),), ("4", "m", "4"))] == ["", "4"]


def test_a_word_split_over_two_cells_does_not_follow_the_table() -> None:
    assert [block.kind for block in table_blocks((("no", "rth"),), ("north",))] == ["table"]


def test_nothing_follows_a_table_whose_cells_contain_every_word() -> None:
    assert [block.kind for block in table_blocks((("north", "4 m"),))] == ["table"]


# ---- the models' identity and availability


def write_placeholders(folder: Path) -> Path:
    """Write files with the models' names and formats that are not working models."""
    import numpy
    from safetensors.numpy import save_file

    for name in ("config.json", "preprocessor_config.json"):
        (folder / weights.LAYOUT).mkdir(parents=True, exist_ok=True)
        (folder / weights.LAYOUT / name).write_text("{}")
    (folder / weights.TABLES).mkdir(parents=True)
    (folder / weights.TABLES / "tm_config.json").write_text("{}")
    for path in (folder / weights.LAYOUT / "model.safetensors", folder / weights.TABLES / "tableformer_accurate.safetensors"):
        save_file({"weight": numpy.zeros((2, 3), numpy.float32)}, path, {"format": "pt"})
    return folder


FILES = [
    *(f"{weights.LAYOUT}/{name}" for name in ("config.json", "preprocessor_config.json", "model.safetensors")),
    *(f"{weights.TABLES}/{name}" for name in ("tm_config.json", "tableformer_accurate.safetensors")),
]


def fingerprint(folder: Path, reading: Reading = MODEL) -> str:
    return parsers.fingerprint(reading, Parsing(models_dir=folder))


@pytest.mark.parametrize("name", FILES)
def test_the_fingerprint_changes_with_each_of_the_models_files_at_this_grade_only(tmp_path: Path, name: str) -> None:
    import numpy
    from safetensors.numpy import save_file

    before, without_models = fingerprint(write_placeholders(tmp_path)), fingerprint(tmp_path, Reading())
    assert before == fingerprint(tmp_path)
    if name.endswith(".json"):
        (tmp_path / name).write_text('{"other": 1}')
    else:
        save_file({"weight": numpy.ones((2, 3), numpy.float32)}, tmp_path / name)
    assert fingerprint(tmp_path) != before
    assert fingerprint(tmp_path, Reading()) == without_models


def test_the_models_folder_does_not_change_the_fingerprint(tmp_path: Path) -> None:
    assert fingerprint(write_placeholders(tmp_path / "here")) == fingerprint(write_placeholders(tmp_path / "there"))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def replace(path: Path) -> None:
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 171000000\n")


# the contents of JSON files are validated by docling, not here
DAMAGES = [
    (name, damage) for name in FILES for damage in (Path.unlink, truncate, replace) if damage is Path.unlink or not name.endswith(".json")
]


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_a_missing_or_incomplete_model_is_refused_with_the_folder_and_a_remedy(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    damage(write_placeholders(tmp_path) / name)
    with pytest.raises(ConfigurationError) as refused:
        fingerprint(tmp_path)
    assert Path(name).suffix in refused.value.detail
    assert str(tmp_path) in refused.value.detail
    assert "docling-tools models download" in refused.value.remedy


def test_a_missing_library_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_REQUIRED", ("torch", "docling_of_tomorrow"))
    with pytest.raises(ConfigurationError, match="not installed: docling_of_tomorrow"):
        fingerprint(write_placeholders(tmp_path))


def test_changed_models_on_disk_are_loaded_by_new_processes(tmp_path: Path) -> None:
    with WorkerPool(Parsing(workers=1, models_dir=write_placeholders(tmp_path))) as pool:
        first = pool._with_models()
        assert pool._with_models() is first
        (tmp_path / FILES[0]).write_text('{"other": 1}')
        assert pool._with_models() is not first
        with pytest.raises(Unavailable):
            first.parse(sheet(), "application/pdf", "", MODEL)


def test_models_deleted_while_parsing_fail_no_document(tmp_path: Path) -> None:
    with WorkerPool(Parsing(workers=1, models_dir=tmp_path)) as pool, pytest.raises(Unavailable, match="models_dir"):
        pool.parse(sheet(), "application/pdf", "", MODEL)


def test_models_that_cannot_be_loaded_are_refused_at_the_start_and_fail_no_document_later(tmp_path: Path) -> None:
    with WorkerPool(Parsing(workers=1, models_dir=write_placeholders(tmp_path))) as pool:
        with pytest.raises(ConfigurationError, match="cannot be loaded"):
            pool.warm(MODEL)
        with pytest.raises(Unavailable, match="cannot be loaded") as waiting:
            pool.parse(sheet(), "application/pdf", "", MODEL)
    assert "docling-tools models download" in waiting.value.remedy


def test_close_kills_a_process_that_is_still_starting(tmp_path: Path) -> None:
    pool = WorkerPool(Parsing(workers=1, models_dir=write_placeholders(tmp_path)))
    with ThreadPoolExecutor(1) as threads:
        starting = threads.submit(pool.parse, sheet(), "application/pdf", "", MODEL)
        while not (pids := pool.pids) and not starting.done():
            sleep(0.01)
        pool.close()
        with pytest.raises(Unavailable):
            starting.result()
    assert pids
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_a_tenants_policy_is_refused_if_it_requires_missing_models(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, parsing=Parsing(models_dir=tmp_path))
    with pytest.raises(PolicyError) as refused:
        checked(settings, {"reading": {"pdf": "model"}})
    assert (refused.value.reason, str(tmp_path) in refused.value.detail) == ("bad-policy", True)
    assert checked(settings, {"reading": {"pdf": "text"}})
    write_placeholders(tmp_path)
    assert checked(settings, {"reading": {"pdf": "model"}})


@pytest.mark.parametrize(("default", "refusal"), [("layout", PolicyError), ("model", ConfigurationError)])
def test_missing_models_are_a_policy_error_unless_they_are_the_default(tmp_path: Path, default: str, refusal: type[Exception]) -> None:
    settings = Settings(data_dir=tmp_path, parsing=Parsing(models_dir=tmp_path), reading=Reading.model_validate({"pdf": default}))
    with Models(settings, cast("Endpoints", None)) as models, pytest.raises(refusal):
        registry.BY_NAME["parse"].fingerprint(models, Policy(reading=MODEL))


@pytest.mark.skipif(not landlock.version(), reason="this kernel has no Landlock")
def test_a_worker_with_models_can_read_their_folder_and_no_other(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    for file in (tmp_path / "models" / "weights", tmp_path / "secret"):
        file.write_text("hunter2")
    program = (
        "import sys\nfrom pathlib import Path\nfrom parsers.workers import confinement\n"
        "confinement.confine(1024, Path(sys.argv[1]) / 'models')\n"
        "print((Path(sys.argv[1]) / 'models' / 'weights').read_text())\n"
        "try:\n    print((Path(sys.argv[1]) / 'secret').read_text())\nexcept PermissionError:\n    print('refused')"
    )
    environment = {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-P", "-c", program, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd="/", env=environment, check=False)
    assert ended.stdout.split() == ["hunter2", "refused"]
