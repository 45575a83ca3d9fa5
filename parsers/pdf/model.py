"""The grade `model`: docling's standard pipeline with its own layout and table models (`parsers.docling.weights`), once per process.

Only a process that was started for it loads the models; torch and transformers are refused in all others (`parsers.workers.worker`).
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

# the worker has a core for itself; more threads than one give other last digits
_THREADS = 1
# pages that docling draws before the models have seen them
_AHEAD = 4
# what torch, docling's parser and Python say when there is no memory left
_NO_MEMORY = re.compile(r"memory|bad_alloc|new thread", re.IGNORECASE)
# in square points, two of A0: docling draws each page, tables at twice the size
_LARGEST = 16e6

_pipelines: list[StandardPdfPipeline] = []


def load(folder: Path) -> None:
    """Load the models for the rest of this process's life. Raises whatever docling, transformers and torch raise over them."""
    _pipelines[:] = [pipeline(folder)]


def loaded() -> bool:
    """Whether this process reads PDFs with docling's models."""
    return bool(_pipelines)


def pipeline(folder: Path) -> StandardPdfPipeline:
    """docling's own, on the processor, with the models in `folder` and nothing else: no recognition, no enrichment, no download."""
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
        # what fails or is told apart by a last digit depends on the page alone, and not on what came along
        layout_batch_size=1,
        table_batch_size=1,
        # headings are told apart by their fonts
        generate_parsed_pages=True,
    )
    built = StandardPdfPipeline(options)
    built.assemble_model = _Telling(built.assemble_model)
    return built


@dataclass(frozen=True)
class _Telling:
    """docling's last step of a page, which says of each with text that it is read: pages of nothing give no time."""

    step: Callable[[Any, Iterable[Any]], Iterable[Any]]

    def __call__(self, result: Any, pages: Iterable[Any]) -> Iterator[Any]:
        for page in self.step(result, pages):
            if page.cells:
                progress.page_read()
            yield page


def content(source: bytes, pages: Sequence[Page], properties: Mapping[str, str], confidences: Sequence[float]) -> Content:
    """The document: pages with a text layer by the models; by geometry those that were recognised, those at which docling gives up, and
    all of them where one is too large to be drawn. Raises MemoryError."""
    layered = {page.number for page in pages if page.words and page.grade == "layout"}
    drawable = all(page.width * page.height < _LARGEST for page in pages)
    converted = convert(_pipelines[0], source, (min(layered), max(layered))) if layered and drawable else None
    modelled = layered & {page.page_no for page in converted.pages} if converted else set()
    rest = by_geometry([page for page in pages if page.number not in modelled], {})
    found, dropped = _by_models(converted, pages, modelled) if converted else ((), Counter())
    blocks = _in_order(found, rest.blocks)
    graded = [page._replace(grade="model") if page.number in modelled else page for page in pages]
    measured = signals(graded, dict(dropped + Counter(rest.signals.dropped)), confidences)
    return Content(blocks, properties.get("title") or first_heading(blocks), dict(properties), signals=measured)


def convert(models: StandardPdfPipeline, source: bytes, span: tuple[int, int] = (1, sys.maxsize)) -> ConversionResult | None:
    """What docling makes of the pages from the first of `span` to the last, from 1; its `pages` are those that it could read.

    None where it gives up. Raises MemoryError.
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


def _by_models(converted: ConversionResult, pages: Sequence[Page], modelled: set[int]) -> tuple[tuple[Block, ...], Counter[str]]:
    from parsers.pdf import model_blocks

    document: Any = converted.document
    shown = {page.number: page for page in pages if page.number in modelled}
    return model_blocks.blocks(document, shown), model_blocks.dropped(document, shown)


def _in_order(modelled: Sequence[Block], others: Sequence[Block]) -> tuple[Block, ...]:
    """Page by page; within a page as each found them."""
    return tuple(sorted((*modelled, *others), key=lambda block: block.page or 0))
