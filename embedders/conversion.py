"""Conversion to OpenVINO's format: once from sentence-transformers' own modules, cached by the files' hash, verified before each load.

The graph is the whole model, pooling, dense layers and normalisation included, so that its output is the vector.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import shutil
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embedders.digest import sha256
from embedders.refusal import Refusal

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

GRAPH, WEIGHTS, MANIFEST = "model.xml", "model.bin", "manifest.json"

_FORMAT = 1
"""Raise it with any change to the graph, so that models converted by an earlier version are converted again."""


def openvino() -> Any:
    """Import the package without its telemetry, which reports every conversion unless the user has opted out beforehand.

    Raises Refusal (`openvino-not-installed`).
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None makes the import fail
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise Refusal("openvino-not-installed", "backend openvino needs openvino", "Install headrace[openvino].") from error


def folder_of(cache: Path, identity: str) -> Path:
    """The folder of a model's converted form, whether or not it exists."""
    return cache / f"{identity}-openvino-{version('openvino')}-{_FORMAT}"


def converted(target: Path, model: Callable[[], SentenceTransformer]) -> Path:
    """Return `target`, the folder with the converted model. If it does not exist, load the model and convert it; if two processes do so
    concurrently, the first to finish wins.

    Raises Refusal (`not-convertible`) if OpenVINO does not support the model's modules.
    """
    if not (target / MANIFEST).is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".converting-", dir=target.parent))
        try:
            _write(temporary, model())
            _move_into_place(temporary, target)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    return target


def check(folder: Path) -> None:
    """Verify the converted files' digests. Raises Refusal (`conversion-corrupt`)."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        intact = all(sha256(folder / name) == manifest[name] for name in (GRAPH, WEIGHTS))
    except (OSError, ValueError, KeyError):
        intact = False
    if not intact:
        raise Refusal("conversion-corrupt", f"the converted model in {folder} is damaged", "Delete the folder; it is recreated.")


def _write(folder: Path, model: SentenceTransformer) -> None:
    ov = openvino()
    try:
        with _without_warnings():
            graph = ov.convert_model(_as_module(model), example_input=_example(model))
            ov.save_model(graph, folder / GRAPH, compress_to_fp16=False)
    except Exception as error:
        raise Refusal("not-convertible", f"OpenVINO cannot convert the model: {type(error).__name__}") from error
    digests = {name: sha256(folder / name) for name in (GRAPH, WEIGHTS)}
    (folder / MANIFEST).write_text(json.dumps(digests))


def _as_module(model: SentenceTransformer) -> Any:
    import torch

    class VectorModel(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model.float().cpu().eval()

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            given = {"input_ids": input_ids, "attention_mask": attention_mask}
            vectors = self.model.forward(given)["sentence_embedding"][..., : self.model.truncate_dim]
            return torch.nn.functional.normalize(vectors, dim=-1)

    return VectorModel()


def _example(model: SentenceTransformer) -> dict[str, Any]:
    """Two texts of different lengths, one of them padded: a trace without padded tokens may leave the mask out."""
    import torch

    ids = torch.full((2, 8), int(model.tokenizer.pad_token_id or 0))
    ids[:, :5] = 1
    mask = torch.tensor([[1] * 8, [1] * 5 + [0] * 3])
    return {"input_ids": ids, "attention_mask": mask}


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Tracing warns about each branch that it treats as constant. The check against reference vectors finds those that matter."""
    loggers = [logging.getLogger(name) for name in ("sentence_transformers", "transformers")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def _move_into_place(temporary: Path, target: Path) -> None:
    try:
        os.rename(temporary, target)  # noqa: PTH104 - Path.rename is the same; the system refuses to replace a folder with files
    except OSError:
        if not (target / MANIFEST).is_file():
            raise
