"""docling's layout and table models on disk: their identity, and whether they are complete. Nothing is loaded here.

The folder has the layout of `docling-tools models download layout tableformer`. Only safetensors files are used: other weight formats can
contain code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import msgspec

from core.errors import ConfigurationError
from core.records import decode

LAYOUT = "docling-project--docling-layout-heron"
TABLES = "docling-project--docling-models/model_artifacts/tableformer/accurate"
_FILES = {LAYOUT: ("config.json", "preprocessor_config.json", "model.safetensors"), TABLES: ("tm_config.json", "tableformer_*.safetensors")}
_LIBRARIES = ("docling-ibm-models", "torch", "torchvision", "transformers", "opencv-python-headless", "pillow")
_REQUIRED = ("docling_ibm_models", "torch", "torchvision", "transformers", "cv2")
REMEDY = (
    "Install the extra `models`, run `docling-tools models download layout tableformer -o FOLDER` and name the folder as "
    "parsing.models_dir, or choose reading.pdf = layout (docs/formats.md)."
)


class _Version(NamedTuple):
    """A file's state, the key for caching its digest."""

    path: Path
    size: int
    changed_ns: int


def identity(folder: Path) -> str:
    """32 hex characters that change with the models' files and with the versions of the libraries that run them.

    Unchanged files are not read again. Raises ConfigurationError, naming the folder, if a library or a model is missing or incomplete.
    """
    missing = [name for name in _REQUIRED if find_spec(name) is None]
    if missing:
        raise ConfigurationError(f"reading.pdf = model needs libraries that are not installed: {', '.join(missing)}", remedy=REMEDY)
    try:
        return _identity(folder, tuple(_versions(folder)))
    except OSError as error:
        raise _refusal(folder, f"cannot be read ({type(error).__name__})") from error


def _versions(folder: Path) -> Iterator[_Version]:
    for model, patterns in _FILES.items():
        for pattern in patterns:
            path = min((folder / model).glob(pattern), default=None)
            if path is None or not path.is_file():
                raise _refusal(folder, f"has no {model}/{pattern}")
            status = path.stat()
            yield _Version(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=4)
def _identity(folder: Path, files: tuple[_Version, ...]) -> str:
    digest = hashlib.sha256("\n".join(f"{name}={release(name)}" for name in _LIBRARIES).encode())
    for path, size, _ in files:
        if path.suffix == ".safetensors" and _declared_length(path) != size:
            raise _refusal(folder, f"contains only a part of {path.relative_to(folder)}")
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()[:32]


def release(name: str) -> str:
    """The version of an installed library, or `none`."""
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"


class _Tensor(msgspec.Struct):
    """A tensor's header: where it begins and ends in the data."""

    data_offsets: tuple[int, int]


def _declared_length(path: Path) -> int:
    """The length in bytes that a safetensors file declares in its header; -1 if the file is not one.

    Format: eight bytes of header length, a JSON header, data (https://huggingface.co/docs/safetensors).
    """
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
        described = file.read(header) if header < path.stat().st_size else b""
    try:
        tensors = decode(described, dict[str, msgspec.Raw])
        ends = [decode(bytes(tensor), _Tensor).data_offsets[1] for name, tensor in tensors.items() if name != "__metadata__"]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return -1
    return 8 + header + max(ends, default=0)


def _refusal(folder: Path, problem: str) -> ConfigurationError:
    return ConfigurationError(f"reading.pdf = model: parsing.models_dir {problem}, was: {str(folder)!r}", remedy=REMEDY)
