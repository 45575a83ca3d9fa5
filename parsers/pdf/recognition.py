"""Text recognition by RapidOCR, with the weights in its wheel, run by OpenVINO. Fetches nothing and writes nothing.

What belongs here: the engine, and preparing pictures for it. What does not: pages and blocks (`parsers.pdf.ocr`).
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
"""(height, width, 3) uint8, channels in the order blue, green, red."""

_MOST_PIXELS = 40_000_000
# formats that Pillow decodes itself; for others it starts external programs
_FORMATS = ("PNG", "JPEG", "GIF", "TIFF", "BMP", "WEBP", "JPEG2000", "PPM", "ICO")
_ENGINES = ("Det", "Cls", "Rec")
# lines are detected on the picture scaled to this size, in a third of the time, and recognised at full size
_LONGER_SIDE = 1280


class Recognised(NamedTuple):
    """A line of text: its place in pixels from the upper left corner, and the model's confidence, 0–1."""

    box: Box
    text: str
    confidence: float


@cache
def available() -> bool:
    """Whether the extra `ocr` is installed."""
    return all(find_spec(name) is not None for name in ("rapidocr", "openvino"))


def load() -> None:
    """Load the models now, if installed: it takes seconds, which should not count towards a picture's timeout."""
    if available():
        _engine()


def recognise(pixels: Pixels) -> list[Recognised]:
    """The lines of a picture, in unspecified order. Raises ParseError: `parse-out-of-memory`."""
    try:
        result = _engine()(pixels)
    except RuntimeError as error:
        # raised by OpenVINO when it runs out of memory; a picture can cause no other RuntimeError
        raise ParseError("parse-out-of-memory", type(error).__name__) from None
    if result.boxes is None or result.txts is None:
        return []
    corners = np.asarray(result.boxes, dtype=float)
    places = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1).tolist()
    lines = zip(places, result.txts, result.scores, strict=True)
    return [Recognised(Box(*place), text.strip(), float(score)) for place, text, score in lines if text.strip()]


def pages(content: bytes) -> Iterator[Pixels]:
    """The picture on a white background, rotated by its EXIF orientation: every page of a TIFF, the first frame of an animation.

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
    """The picture as the engine's input."""
    return np.ascontiguousarray(np.asarray(picture.convert("RGB"))[:, :, ::-1])


def dots_per_inch(width: float, height: float, most: float) -> float:
    """The resolution for a page of this size in points: `most`, or less if the picture would be too large."""
    return min(most, 72 * math.sqrt(_MOST_PIXELS / max(1.0, width * height)))


@cache
def _engine() -> Any:
    from rapidocr import EngineType, RapidOCR

    engines = {f"{task}.engine_type": EngineType.OPENVINO for task in _ENGINES}
    detection = {"Det.limit_type": "max", "Det.limit_side_len": _LONGER_SIDE}
    return RapidOCR(params={**engines, **detection, "EngineConfig.openvino.inference_num_threads": 1, "Global.log_level": "critical"})
