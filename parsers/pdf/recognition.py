"""Text recognition: RapidOCR with the weights of its own wheel, run by OpenVINO. It fetches nothing and writes nothing.

What belongs here: the engine, and pictures as it wants them. What does not: pages and blocks (`parsers.pdf.ocr`).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageOps, ImageSequence

from parsers.pdf.pages import Box
from parsers.reasons import ParseError

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
"""(height, width, 3), blue, green and red."""

_MOST_PIXELS = 40_000_000
# what Pillow reads by itself: others it hands to programs
_FORMATS = ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "JPEG2000", "PPM", "ICO")
_ENGINES = ("Det", "Cls", "Rec")
# lines are looked for on the picture at this size, which takes a third of the time of its full size, and read at that
_LONGER_SIDE = 1280


class Recognised(NamedTuple):
    """A line of text: its place in pixels from the upper left corner, and how sure the model is of it, 0–1."""

    box: Box
    text: str
    confidence: float


@cache
def available() -> bool:
    """Whether the extra `ocr` is installed."""
    return all(find_spec(name) is not None for name in ("rapidocr", "openvino"))


def load() -> None:
    """Load the models now, where they are installed: that takes seconds, which are no picture's own."""
    if available():
        _engine()


def recognise(pixels: Pixels) -> list[Recognised]:
    """The lines on a picture, in no promised order. Raises ParseError: `parse-out-of-memory`."""
    try:
        found = _engine()(pixels)
    except RuntimeError as error:
        # what OpenVINO says of memory that it did not get, and of nothing else that a picture could bring about
        raise ParseError("parse-out-of-memory", type(error).__name__) from None
    if found.boxes is None or found.txts is None:
        return []
    corners = np.asarray(found.boxes, dtype=float)
    places = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).tolist()
    lines = zip(places, found.txts, found.scores, strict=True)
    return [Recognised(Box(*place), text.strip(), float(score)) for place, text, score in lines if text.strip()]


def pages(content: bytes) -> Iterator[Pixels]:
    """A picture on white, turned as its camera says; of a TIFF each of its pages, of an animation the first frame.

    Raises ParseError: `corrupt-document`, `document-too-large`.
    """
    try:
        with Image.open(BytesIO(content), formats=_FORMATS) as picture:
            for frame in ImageSequence.Iterator(picture) if picture.format == "TIFF" else (picture,):
                yield _on_white(frame)
    except Image.DecompressionBombError:
        raise ParseError("document-too-large") from None
    except (OSError, ValueError, SyntaxError) as error:
        raise ParseError("corrupt-document", type(error).__name__) from None


def _on_white(frame: Image.Image) -> Pixels:
    if frame.width * frame.height > _MOST_PIXELS:
        raise ParseError("document-too-large")
    upright = ImageOps.exif_transpose(frame).convert("RGBA")
    return pixels_of(Image.alpha_composite(Image.new("RGBA", upright.size, "white"), upright))


def pixels_of(picture: Image.Image) -> Pixels:
    """The picture as the engine takes it."""
    return np.ascontiguousarray(np.asarray(picture.convert("RGB"))[:, :, ::-1])


def dots_an_inch(width: float, height: float, wanted: float) -> float:
    """At most what is wanted, and fewer where a page of this size in points would make too large a picture."""
    return min(wanted, 72 * math.sqrt(_MOST_PIXELS / max(1.0, width * height)))


@cache
def _engine() -> Any:
    from rapidocr import EngineType, RapidOCR

    engines = {f"{task}.engine_type": EngineType.OPENVINO for task in _ENGINES}
    finding = {"Det.limit_type": "max", "Det.limit_side_len": _LONGER_SIDE}
    return RapidOCR(params={**engines, **finding, "EngineConfig.openvino.inference_num_threads": 1, "Global.log_level": "critical"})
