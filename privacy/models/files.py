"""Finds a names model, its kind and a digest of its files. Nothing is loaded here."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from core.errors import ConfigurationError
from core.model_files import SPACY, model_files, model_folders

Kind = Literal["spacy", "transformers", "gliner"]

REMEDY = "Install the model, name its folder, or choose privacy.profile = 'patterns'."

_MARKERS = (SPACY, "gliner_config.json", "config.json")

# what decides a transformer's results; all else in its folder is documentation, or belongs to training or another runtime
_DECISIVE = ("*.json", "*.txt", "*.model", "*.safetensors")
_HUB = re.compile(r"([A-Za-z0-9][\w.-]*/[\w.-]+)(?:@([\w.-]+))?")


@dataclass(frozen=True)
class ModelFiles:
    """`model`: the name or path as configured. `digest`: 16 hex characters over every file that decides the results."""

    model: str
    kind: Kind
    folder: Path
    digest: str


def find(model: str) -> ModelFiles:
    """The model at this path, in this installed package, or of this name (`org/name`, `org/name@revision`) on the Hugging Face hub.

    The hub is asked for the revision's files, and those missing from the local cache are downloaded; if the hub is unreachable, the cache
    is used as it is. A branch moves, a commit's hash does not. Raises ConfigurationError if there is no such model.
    """
    folder, kind = _located(model)
    return ModelFiles(model, kind, folder, _digest(folder, kind))


def kind_of(model: str) -> Kind:
    """The kind of model that `find` returns, without reading its files. Raises ConfigurationError."""
    return _located(model)[1]


def _located(model: str) -> tuple[Path, Kind]:
    folder = next((folder for folder in model_folders(model, _MARKERS) if _kind(folder)), None)
    if folder is None and not Path(model).expanduser().is_dir():
        folder = _from_hub(model)
    kind = _kind(folder) if folder else None
    if folder is None or kind is None:
        problem = f"privacy.names_model: neither a spaCy, a GLiNER nor a token-classification model is there, was: {model!r}"
        raise ConfigurationError(problem, remedy=REMEDY)
    return folder, kind


def _kind(folder: Path) -> Kind | None:
    """GLiNER is tried before transformers: its folder may also contain the encoder's `config.json`."""
    if (folder / SPACY).is_file():
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


def _from_hub(model: str) -> Path:
    """Download only the files that can be loaded without running code from the repository."""
    name = _HUB.fullmatch(model)
    if name is None:
        raise ConfigurationError(f"privacy.names_model: no model of this name or path, was: {model!r}", remedy=REMEDY)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        return Path(snapshot_download(name[1], revision=name[2], allow_patterns=list(_DECISIVE), ignore_patterns=["*/*"]))
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError):
        raise ConfigurationError(f"privacy.names_model: the hub has no such model, was: {model!r}", remedy=REMEDY) from None
    except OSError:
        problem = f"privacy.names_model is neither on disk nor can the hub be reached, was: {model!r}"
        raise ConfigurationError(problem, remedy=REMEDY) from None


def _digest(folder: Path, kind: Kind) -> str:
    digest = sha256()
    for file in model_files(folder) if kind == "spacy" else model_files(folder, _DECISIVE):
        digest.update(f"{file.name}\0{file.size}\0".encode())
        digest.update(file.sha256)
    return digest.hexdigest()[:16]
