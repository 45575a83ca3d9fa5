"""Small versions of docling's layout and table models: random weights, except for the last linear layers, which are solved for.

They predict the given detections for the pages of one PDF, from its pixels; their predictions for other pages are meaningless.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from parsers.docling.weights import LAYOUT, TABLES

LABELS = (
    *("caption", "footnote", "formula", "list_item", "page_footer", "page_header", "picture", "section_header", "table", "text", "title"),
    *("document_index", "code", "checkbox_selected", "checkbox_unselected", "form", "key_value_region"),
)
"""The labels of docling-layout-heron, in its order."""

_NAMES = ("<pad>", "<unk>", "<start>", "<end>", "ecel", "fcel", "lcel", "ucel", "xcel", "nl", "ched", "rhed", "srow")
_TAGS = {tag: at for at, tag in enumerate(_NAMES)}
_QUERIES, _HIDDEN, _SIDE = 24, 128, 128
# the logit of a positive; its negative is the logit of a negative
_LOGIT = 6.0
_STEPS = 64

Box = tuple[float, float, float, float]


class Detection(NamedTuple):
    """A prediction of the layout model: a label, and a box in points from the page's upper left corner."""

    label: str
    box: Box


class Cells(NamedTuple):
    """The prediction of the table model for the first page's table: OTSL tags, row by row, and each cell's box in points."""

    tags: Sequence[str]
    boxes: Sequence[Box]


def write(folder: Path, source: bytes, pages: Sequence[Sequence[Detection]], table: Cells, size: tuple[float, float]) -> None:
    """Write both models to `folder`, in the layout of docling-tools. `size` is every page's width and height in points."""
    from parsers.pdf import model

    with isolated_torch():
        _write_layout(folder / LAYOUT)
        _write_tables(folder / TABLES)
        models = model.pipeline(folder)
        _fit_layout(models, source, pages, size)
        _fit_tables(models, source, table, next(detection.box for detection in pages[0] if detection.label == "table"))
        models.layout_model.engine._model.save_pretrained(folder / LAYOUT)
        _save_tables(folder / TABLES, models.table_model.tf_predictor.get_model())


@contextmanager
def isolated_torch() -> Iterator[None]:
    """Restore torch's thread count and random state, and silence docling's warnings about its own settings."""
    import torch

    threads = torch.get_num_threads()
    try:
        with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(7)
            yield
    finally:
        torch.set_num_threads(threads)


def _write_layout(folder: Path) -> None:
    from transformers import RTDetrImageProcessor, RTDetrResNetConfig, RTDetrV2Config, RTDetrV2ForObjectDetection

    backbone = RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 24, 32],
        depths=[1] * 4,
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],  # type: ignore[call-arg]  # a property of the base class, set from **kwargs
    )
    config = RTDetrV2Config(
        backbone_config=backbone,
        encoder_hidden_dim=_HIDDEN,
        encoder_in_channels=[16, 24, 32],
        encoder_ffn_dim=64,
        d_model=_HIDDEN,
        decoder_in_channels=[_HIDDEN] * 3,
        decoder_ffn_dim=64,
        decoder_layers=2,
        num_queries=_QUERIES,
        num_denoising=0,
        id2label=dict(enumerate(LABELS)),
        label2id={label: at for at, label in enumerate(LABELS)},
    )
    RTDetrV2ForObjectDetection(config).save_pretrained(folder)
    RTDetrImageProcessor(size={"height": _SIDE, "width": _SIDE}).save_pretrained(folder)


_SMALL = dict.fromkeys(("tag_attention_dim", "tag_embed_dim", "bbox_embed_dim", "bbox_attention_dim"), 16)
# docling hardcodes these two
_WIDE = dict.fromkeys(("tag_decoder_dim", "hidden_dim"), 512)
_DEPTHS = {"enc_image_size": 4, "dropout": 0.1, "bbox_classes": 2, "enc_layers": 1, "dec_layers": 1, "nheads": 8}
_TABLES: dict[str, Any] = {
    "dataset": {"name": "tiny", "resized_image": 64, "image_normalization": {"mean": [0.9] * 3, "std": [0.2] * 3}},
    "dataset_wordmap": {"word_map_tag": _TAGS, "word_map_cell": {}},
    "model": {"type": "TableModel04_rs", "name": "tiny", "backbone": "resnet18", **_DEPTHS, **_SMALL, **_WIDE},
    "train": {"bbox": True, "epochs": 1},
    "predict": {"max_steps": _STEPS, "beam_size": 1, "bbox": True, "pdf_cell_iou_thres": 0.05, "padding": False, "profiling": False},
}


def _write_tables(folder: Path) -> None:
    import torch
    from docling_ibm_models.tableformer.models.table04_rs.tablemodel04_rs import TableModel04_rs

    folder.mkdir(parents=True)
    config = _TABLES | {"model": _TABLES["model"] | {"save_dir": str(folder)}}
    (folder / "tm_config.json").write_text(json.dumps(config))
    model = TableModel04_rs(config, {"word_map": config["dataset_wordmap"]}, "cpu")
    classes = model._bbox_decoder._class_embed
    # of a cell's three classes, the one for cells with text
    torch.nn.init.zeros_(classes.weight)
    classes.bias.data = torch.tensor([-_LOGIT, -_LOGIT, _LOGIT])
    _save_tables(folder, model)


def _save_tables(folder: Path, model: Any) -> None:
    from safetensors.torch import save_model

    save_model(model, str(folder / "tableformer_accurate.safetensors"))


def _fit_layout(models: Any, source: bytes, pages: Sequence[Sequence[Detection]], size: tuple[float, float]) -> None:
    """Solve for weights with which each query of a page predicts one detection, or background.

    The two decoder layers share their heads. The first is made to leave all boxes unchanged, so that the input of the second does not
    depend on the solution.
    """
    import torch

    decoder = models.layout_model.engine._model.model.decoder
    ends, names = [head.layers[-1] for head in decoder.bbox_embed], list(decoder.class_embed)
    for layer in ends:
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    with _inputs(ends[0]) as first, _inputs(ends[1]) as second, _inputs(names[1]) as named, _outputs(decoder) as decoded:
        _run(models, source)
    places = torch.cat([out.intermediate_reference_points[:, 0] for out in decoded])
    targets = [(page, query, target) for page, detections in enumerate(pages) for query, target in enumerate(detections)]
    labels = torch.full((len(pages), _QUERIES, len(LABELS)), -_LOGIT)
    for page, query, target in targets:
        labels[page, query, LABELS.index(target.label)] = _LOGIT
    _solve(names, torch.cat(named).flatten(0, 1), labels.flatten(0, 1))
    offsets = torch.stack([torch.logit(_centred(target.box, size)) - torch.logit(places[page, query]) for page, query, target in targets])
    moved = torch.stack([torch.cat(second)[page, query] for page, query, _ in targets])
    unmoved = torch.cat(first).flatten(0, 1)
    _solve(ends, torch.cat([unmoved, moved]), torch.cat([torch.zeros(len(unmoved), 4), offsets]))


def _fit_tables(models: Any, source: bytes, table: Cells, place: Box) -> None:
    """Solve for the tags one at a time, since the decoder's input depends on the previous tags; then for the cells' boxes."""
    import torch

    model = models.table_model.tf_predictor.get_model()
    tags, boxes = model._tag_transformer._fc, model._bbox_decoder._bbox_embed.layers[-1]
    with _inputs(model._encoder) as pictures:
        _run(models, source)
    logits = torch.full((len(table.tags) + 1, len(_TAGS)), -_LOGIT)
    for at, tag in enumerate((*table.tags, "<end>")):
        logits[at, _TAGS[tag]] = _LOGIT
    with torch.inference_mode():
        for length in range(1, len(logits) + 1):
            with _inputs(tags) as inputs:
                model.predict(pictures[0], _STEPS, 1)
            _solve([tags], torch.cat(inputs[:length]), logits[:length])
        with _inputs(boxes) as cells:
            model.predict(pictures[0], _STEPS, 1)
    left, top, right, bottom = place
    size = right - left, bottom - top
    inside = [(x0 - left, y0 - top, x1 - left, y1 - top) for x0, y0, x1, y1 in table.boxes]
    _solve([boxes], torch.cat(cells), torch.stack([torch.logit(_centred(box, size)) for box in inside]))


def _centred(box: Box, size: tuple[float, float]) -> Any:
    """Center and extent as shares of the whole, the format of both models: (4,) float32."""
    import torch

    left, top, right, bottom = box
    width, height = size
    return torch.tensor([(left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height])


def _solve(layers: Sequence[Any], inputs: Any, outputs: Any) -> None:
    """Set the weights and bias of each linear layer so that it maps `inputs` (n, in) to `outputs` (n, out); n is at most in + 1."""
    import torch

    padded = torch.cat([inputs, torch.ones(len(inputs), 1)], dim=1).double()
    assert len(padded) <= padded.shape[1]
    solution = torch.linalg.lstsq(padded, outputs.double(), driver="gelsd").solution.float()
    with torch.no_grad():
        for layer in layers:
            layer.weight.copy_(solution[:-1].T)
            layer.bias.copy_(solution[-1])


def _run(models: Any, source: bytes) -> None:
    from parsers.pdf import model

    model.convert(models, source)


@contextmanager
def _inputs(module: Any) -> Iterator[list[Any]]:
    """The module's inputs, call by call."""
    recorded: list[Any] = []
    hook = module.register_forward_pre_hook(lambda _, inputs: recorded.append(inputs[0].clone()))
    try:
        yield recorded
    finally:
        hook.remove()


@contextmanager
def _outputs(module: Any) -> Iterator[list[Any]]:
    """The module's outputs, call by call."""
    recorded: list[Any] = []
    hook = module.register_forward_hook(lambda _, inputs, output: recorded.append(output))
    try:
        yield recorded
    finally:
        hook.remove()
