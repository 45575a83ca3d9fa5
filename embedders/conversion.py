"""A model in OpenVINO's form: converted once from sentence-transformers' own modules, kept by the files' hash, checked before each load.

The graph is the whole model, pooling, dense layers and normalisation included, so that what it gives is the vector.
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

from embedders.models import sha256
from embedders.refusal import Refusal

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

GRAPH, WEIGHTS, MANIFEST = "model.xml", "model.bin", "manifest.json"

_FORM = 1
"""Of what this module writes. Raise it with any change to the graph: what an earlier version wrote is then converted again."""


def openvino() -> Any:
    """The package, without its telemetry: that would report each conversion to its makers unless the user had opted out beforehand.

    Raises Refusal (`openvino-not-installed`).
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None is how Python is told that there is no such module
    try:
        return importlib.import_module("openvino")
    except ImportError as error:
        raise Refusal("openvino-not-installed", "backend openvino needs openvino", "Install headrace[openvino].") from error


def place(cache: Path, identity: str) -> Path:
    """Where the converted form of a model is kept, whether or not it is there yet."""
    return cache / f"{identity}-openvino-{version('openvino')}-{_FORM}"


def converted(target: Path, model: Callable[[], SentenceTransformer]) -> Path:
    """The folder with the converted model, written where it is not there: only then is the model asked for. Of two processes that do so
    at once the first to end wins.

    Raises Refusal (`not-convertible`) where OpenVINO cannot take the model's modules.
    """
    if not (target / MANIFEST).is_file():
        target.parent.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix=".converting-", dir=target.parent))
        try:
            _write(fresh, model())
            _settle(fresh, target)
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
    return target


def check(folder: Path) -> None:
    """Refuse files that are not what was written. Raises Refusal (`conversion-corrupt`)."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
        sound = all(sha256(folder / name) == manifest[name] for name in (GRAPH, WEIGHTS))
    except (OSError, ValueError, KeyError):
        sound = False
    if not sound:
        raise Refusal("conversion-corrupt", f"the converted model in {folder} is not what was written", "Remove it: it is made anew.")


def _write(folder: Path, model: SentenceTransformer) -> None:
    ov = openvino()
    try:
        with _quietly():
            graph = ov.convert_model(_whole(model), example_input=_example(model))
            ov.save_model(graph, folder / GRAPH, compress_to_fp16=False)
    except Exception as error:
        raise Refusal("not-convertible", f"OpenVINO cannot convert the model: {type(error).__name__}") from error
    digests = {name: sha256(folder / name) for name in (GRAPH, WEIGHTS)}
    (folder / MANIFEST).write_text(json.dumps(digests))


def _whole(model: SentenceTransformer) -> Any:
    import torch

    class Whole(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model.float().cpu().eval()

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            given = {"input_ids": input_ids, "attention_mask": attention_mask}
            vectors = self.model.forward(given)["sentence_embedding"][..., : self.model.truncate_dim]
            return torch.nn.functional.normalize(vectors, dim=-1)

    return Whole()


def _example(model: SentenceTransformer) -> dict[str, Any]:
    """Two texts of unlike length, one of them padded: a trace that never met a padded token may leave the mask out."""
    import torch

    ids = torch.full((2, 8), int(model.tokenizer.pad_token_id or 0))
    ids[:, :5] = 1
    mask = torch.tensor([[1] * 8, [1] * 5 + [0] * 3])
    return {"input_ids": ids, "attention_mask": mask}


@contextmanager
def _quietly() -> Iterator[None]:
    """Tracing warns of each branch that it takes for constant; the check against reference vectors is what tells whether one mattered."""
    loggers = [logging.getLogger(name) for name in ("sentence_transformers", "transformers")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        yield
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


def _settle(fresh: Path, target: Path) -> None:
    try:
        os.rename(fresh, target)  # noqa: PTH104 - Path.rename is the same; a folder that is there is refused by the system
    except OSError:
        if not (target / MANIFEST).is_file():
            raise
