"""docling's layout and table models, small, their weights random but for the last linear maps, which are solved.

They find on the pages of one PDF what a test wants them to, by those pages' pixels: on others they find something else.
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
"""Of docling-layout-heron, in its order."""

_NAMES = ("<pad>", "<unk>", "<start>", "<end>", "ecel", "fcel", "lcel", "ucel", "xcel", "nl", "ched", "rhed", "srow")
_TAGS = {tag: at for at, tag in enumerate(_NAMES)}
_QUERIES, _HIDDEN, _SIDE = 24, 128, 128
# a logit of what is there; its negative is one of what is not
_SURE = 6.0
_STEPS = 64

Box = tuple[float, float, float, float]


class Found(NamedTuple):
    """What the layout model is to find: its label, and its place in points from the page's upper left corner."""

    label: str
    box: Box


class Cells(NamedTuple):
    """What the table model is to find in the first page's table: OTSL tags, row by row, and each cell's place in points."""

    tags: Sequence[str]
    boxes: Sequence[Box]


def write(folder: Path, source: bytes, pages: Sequence[Sequence[Found]], table: Cells, size: tuple[float, float]) -> None:
    """Both models, as docling-tools would leave them in `folder`. `size` is every page's width and height in points."""
    from parsers.pdf import model

    with undisturbed():
        _write_layout(folder / LAYOUT)
        _write_tables(folder / TABLES)
        models = model.pipeline(folder)
        _teach_layout(models, source, pages, size)
        _teach_tables(models, source, table, next(found.box for found in pages[0] if found.label == "table"))
        models.layout_model.engine._model.save_pretrained(folder / LAYOUT)
        _save_tables(folder / TABLES, models.table_model.tf_predictor.get_model())


@contextmanager
def undisturbed() -> Iterator[None]:
    """docling warns of its own settings, and has torch compute on one thread for the rest of the process."""
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

    kept = ["stage2", "stage3", "stage4"]
    backbone = RTDetrResNetConfig(embedding_size=8, hidden_sizes=[8, 16, 24, 32], depths=[1] * 4, layer_type="basic", out_features=kept)
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
# docling fixes these two
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
    # of the three classes of a cell, the one that holds text
    torch.nn.init.zeros_(classes.weight)
    classes.bias.data = torch.tensor([-_SURE, -_SURE, _SURE])
    _save_tables(folder, model)


def _save_tables(folder: Path, model: Any) -> None:
    from safetensors.torch import save_model

    save_model(model, str(folder / "tableformer_accurate.safetensors"))


def _teach_layout(models: Any, source: bytes, pages: Sequence[Sequence[Found]], size: tuple[float, float]) -> None:
    """Each query of a page becomes one thing to be found, or background.

    The two decoder layers share their heads. The first is made to leave all places as they are, so that what the second sees
    does not depend on what is solved for.
    """
    import torch

    decoder = models.layout_model.engine._model.model.decoder
    ends, names = [head.layers[-1] for head in decoder.bbox_embed], list(decoder.class_embed)
    for layer in ends:
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    with _given(ends[0]) as first, _given(ends[1]) as second, _given(names[1]) as named, _made(decoder) as decoded:
        _run(models, source)
    places = torch.cat([out.intermediate_reference_points[:, 0] for out in decoded])
    things = [(page, query, thing) for page, found in enumerate(pages) for query, thing in enumerate(found)]
    labels = torch.full((len(pages), _QUERIES, len(LABELS)), -_SURE)
    for page, query, thing in things:
        labels[page, query, LABELS.index(thing.label)] = _SURE
    _solve(names, torch.cat(named).flatten(0, 1), labels.flatten(0, 1))
    moves = torch.stack([torch.logit(_centred(thing.box, size)) - torch.logit(places[page, query]) for page, query, thing in things])
    moving = torch.stack([torch.cat(second)[page, query] for page, query, _ in things])
    still = torch.cat(first).flatten(0, 1)
    _solve(ends, torch.cat([still, moving]), torch.cat([torch.zeros(len(still), 4), moves]))


def _teach_tables(models: Any, source: bytes, table: Cells, place: Box) -> None:
    """One tag more at a time, since what the decoder sees depends on the tags before; then the cells' places within the table."""
    import torch

    model = models.table_model.tf_predictor.get_model()
    tags, boxes = model._tag_transformer._fc, model._bbox_decoder._bbox_embed.layers[-1]
    with _given(model._encoder) as pictures:
        _run(models, source)
    wanted = torch.full((len(table.tags) + 1, len(_TAGS)), -_SURE)
    for at, tag in enumerate((*table.tags, "<end>")):
        wanted[at, _TAGS[tag]] = _SURE
    with torch.inference_mode():
        for length in range(1, len(wanted) + 1):
            with _given(tags) as seen:
                model.predict(pictures[0], _STEPS, 1)
            _solve([tags], torch.cat(seen[:length]), wanted[:length])
        with _given(boxes) as cells:
            model.predict(pictures[0], _STEPS, 1)
    left, top, right, bottom = place
    size = right - left, bottom - top
    inside = [(x0 - left, y0 - top, x1 - left, y1 - top) for x0, y0, x1, y1 in table.boxes]
    _solve([boxes], torch.cat(cells), torch.stack([torch.logit(_centred(box, size)) for box in inside]))


def _centred(box: Box, size: tuple[float, float]) -> Any:
    """Middle and extent as shares of the whole, as both models have them."""
    import torch

    left, top, right, bottom = box
    width, height = size
    return torch.tensor([(left + right) / 2 / width, (top + bottom) / 2 / height, (right - left) / width, (bottom - top) / height])


def _solve(layers: Sequence[Any], given: Any, wanted: Any) -> None:
    """The weights and the bias with which each of these linear layers makes `wanted` (n, out) of `given` (n, in); n is at most in + 1."""
    import torch

    padded = torch.cat([given, torch.ones(len(given), 1)], dim=1).double()
    assert len(padded) <= padded.shape[1]
    solution = torch.linalg.lstsq(padded, wanted.double(), driver="gelsd").solution.float()
    with torch.no_grad():
        for layer in layers:
            layer.weight.copy_(solution[:-1].T)
            layer.bias.copy_(solution[-1])


def _run(models: Any, source: bytes) -> None:
    from parsers.pdf import model

    model.convert(models, source)


@contextmanager
def _given(module: Any) -> Iterator[list[Any]]:
    """What it is given, call by call."""
    seen: list[Any] = []
    hook = module.register_forward_pre_hook(lambda _, given: seen.append(given[0].clone()))
    try:
        yield seen
    finally:
        hook.remove()


@contextmanager
def _made(module: Any) -> Iterator[list[Any]]:
    """What it makes, call by call."""
    seen: list[Any] = []
    hook = module.register_forward_hook(lambda _, given, made: seen.append(made))
    try:
        yield seen
    finally:
        hook.remove()
