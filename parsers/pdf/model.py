"""The grade `model`: docling's standard pipeline with its layout and table models (`parsers.docling.weights`), one per process.

Only processes started for it load the models; in all others importing torch and transformers fails (`parsers.workers.worker`).
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.records import Block, Content
from parsers import progress
from parsers.pdf.content import content as by_geometry
from parsers.pdf.content import first_heading, signals
from parsers.pdf.pages import Page

if TYPE_CHECKING:
    from docling.datamodel.document import ConversionResult
    from docling.pipeline.standard_pdf_pipeline import StandardPdfPipeline

# a worker has one core, and with more threads results differ in their last digits
_THREADS = 1
# pages that docling renders ahead of the models
_AHEAD = 4
# messages of torch, docling's parser and Python when memory runs out
_NO_MEMORY = re.compile(r"memory|bad_alloc|new thread", re.IGNORECASE)
# page area in square points, two sheets of A0: docling renders each page, and tables at twice the scale
_LARGEST = 16e6

_pipelines: list[StandardPdfPipeline] = []


def load(folder: Path) -> None:
    """Load the models, until the process ends. Raises whatever docling, transformers and torch raise."""
    _pipelines[:] = [pipeline(folder)]


def loaded() -> bool:
    """Whether this process has loaded docling's models."""
    return bool(_pipelines)


def pipeline(folder: Path) -> StandardPdfPipeline:
    """docling's pipeline on the CPU with the models in `folder`: no text recognition, no enrichment, no download."""
    from docling.datamodel.accelerator_options import AcceleratorDevice, AcceleratorOptions
    from docling.datamodel.object_detection_engine_options import TransformersObjectDetectionEngineOptions
    from docling.datamodel.pipeline_options import HeadingHierarchyOptions, LayoutObjectDetectionOptions, ThreadedPdfPipelineOptions
    from docling.pipeline.standard_pdf_pipeline import StandardPdfPipeline

    options = ThreadedPdfPipelineOptions(
        artifacts_path=folder,
        accelerator_options=AcceleratorOptions(device=AcceleratorDevice.CPU, num_threads=_THREADS),
        layout_options=LayoutObjectDetectionOptions(engine_options=TransformersObjectDetectionEngineOptions(compile_model=False)),
        heading_hierarchy_options=HeadingHierarchyOptions(enabled=True),
        do_ocr=False,
        queue_max_size=_AHEAD,
        # batches of one: failures and last digits depend on the page alone, not on the others in its batch
        layout_batch_size=1,
        table_batch_size=1,
        # required for heading levels, which depend on fonts
        generate_parsed_pages=True,
    )
    built = StandardPdfPipeline(options)
    built.assemble_model = _ReportPages(built.assemble_model)
    return built


@dataclass(frozen=True)
class _ReportPages:
    """docling's last step of a page, reporting progress for each page with text: empty pages do not extend the timeout."""

    step: Callable[[Any, Iterable[Any]], Iterable[Any]]

    def __call__(self, result: Any, pages: Iterable[Any]) -> Iterator[Any]:
        for page in self.step(result, pages):
            if page.cells:
                progress.page_read()
            yield page


def content(source: bytes, pages: Sequence[Page], properties: Mapping[str, str], confidences: Sequence[float]) -> Content:
    """The document. Pages with a text layer are read by the models.

    Read by geometry instead: recognised pages, pages that docling fails on, and all pages if one is too large to render. Raises
    MemoryError.
    """
    layered = {page.number for page in pages if page.words and page.grade == "layout"}
    renderable = all(page.width * page.height < _LARGEST for page in pages)
    converted = convert(_pipelines[0], source, (min(layered), max(layered))) if layered and renderable else None
    by_model = layered & {page.page_no for page in converted.pages} if converted else set()
    others = by_geometry([page for page in pages if page.number not in by_model], {})
    model_blocks, dropped = _by_models(converted, pages, by_model) if converted else ((), Counter())
    blocks = _in_page_order(model_blocks, others.blocks)
    graded = [page._replace(grade="model") if page.number in by_model else page for page in pages]
    quality = signals(graded, dict(dropped + Counter(others.signals.dropped)), confidences)
    return Content(blocks, properties.get("title") or first_heading(blocks), dict(properties), signals=quality)


def convert(models: StandardPdfPipeline, source: bytes, span: tuple[int, int] = (1, sys.maxsize)) -> ConversionResult | None:
    """docling's conversion of the pages in `span`, first to last, counted from 1; its `pages` are those that it could read.

    Returns None if docling fails. Raises MemoryError.
    """
    from docling.backend.docling_parse_backend import ThreadedDoclingParseDocumentBackend
    from docling.datamodel.backend_options import ThreadedDoclingParseBackendOptions
    from docling.datamodel.base_models import ConversionStatus, InputFormat
    from docling.datamodel.document import InputDocument
    from docling.datamodel.settings import DocumentLimits

    described = InputDocument(
        path_or_stream=BytesIO(source),
        format=InputFormat.PDF,
        backend=ThreadedDoclingParseDocumentBackend,
        backend_options=ThreadedDoclingParseBackendOptions(parser_threads=_THREADS, max_concurrent_results=_AHEAD),
        filename="document.pdf",
        limits=DocumentLimits(page_range=span),
    )
    if not described.valid:
        return None
    result = models.execute(described, raises_on_error=False)
    if any(_NO_MEMORY.search(error.error_message) for error in result.errors):
        raise MemoryError
    return None if result.status == ConversionStatus.FAILURE else result


def _by_models(converted: ConversionResult, pages: Sequence[Page], numbers: set[int]) -> tuple[tuple[Block, ...], Counter[str]]:
    """The blocks of the pages with these numbers, and the furniture dropped from them by kind."""
    from parsers.pdf import model_blocks

    document: Any = converted.document
    selected = {page.number: page for page in pages if page.number in numbers}
    return model_blocks.blocks(document, selected), model_blocks.dropped(document, selected)


def _in_page_order(by_models: Sequence[Block], by_geometry: Sequence[Block]) -> tuple[Block, ...]:
    """All blocks by page, keeping the order within a page."""
    return tuple(sorted((*by_models, *by_geometry), key=lambda block: block.page or 0))
