"""Download the servers' jars into the shared cache folder, and verify each against its pinned SHA-256 before it runs.

A jar that is already in the cache with the pinned content is not downloaded again. After all jars are verified, a stamp file records their
sizes and modification times, so that the next start only compares those. A jar that has changed since is hashed again, and downloaded
again if its hash does not match.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from filelock import FileLock

from core.errors import HeadraceError, Unavailable
from services.files import write_atomic
from services.pins import Pin, PinList
from services.server import NotInstalled, Progress

# without a handler, its warnings go to standard error; this module checks what they warn about
logging.getLogger("jgo").addHandler(logging.NullHandler())

# considerate of the registry; more threads do not download faster
_THREADS = 8
_TRIES = 3
_TIMEOUT_S = 30
_REMEDY = "Give this machine access to a Maven registry once, or run `docker compose up` and set the servers' URLs in headrace.toml."


def provide(pins: PinList, cache: Path, progress: Progress) -> list[Path]:
    """Return the paths of a list's jars in classpath order, each downloaded and verified.

    Raises HeadraceError: `jar-hash-mismatch` if a downloaded jar is not the pinned one, `servers-unavailable` if a jar is missing and
    cannot be downloaded.
    """
    cache.mkdir(parents=True, exist_ok=True)
    stamp = cache / f"{pins.server}.stamp"
    if not _matches_stamp(stamp, pins, cache):
        with FileLock(cache / f"{pins.server}.lock"):
            _complete(pins, cache, progress)
            write_atomic(stamp, json.dumps(_stamp(pins, cache)))
    return [cache / pin.path for pin in pins.pins]


def _matches_stamp(stamp: Path, pins: PinList, cache: Path) -> bool:
    """Whether no jar has changed since all were verified against this pin list."""
    try:
        return bool(_read_stamp(stamp) == _stamp(pins, cache))
    except FileNotFoundError:
        return False


def _stamp(pins: PinList, cache: Path) -> dict[str, Any]:
    """The jars' sizes in bytes and modification times in ns. Raises FileNotFoundError if a jar is missing."""
    stats = {str(pin.path): (cache / pin.path).stat() for pin in pins.pins}
    return {"pins": pins.digest, "jars": {path: [stat.st_size, stat.st_mtime_ns] for path, stat in stats.items()}}


def _read_stamp(path: Path) -> dict[str, Any]:
    try:
        stamp = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def _verified(pin: Pin, cache: Path) -> bool:
    """Whether the cache has the jar with the pinned content. Deletes a damaged one, so that it is downloaded again."""
    path = cache / pin.path
    if not path.exists():
        return False
    if sha256(path) == pin.sha256:
        return True
    path.unlink()
    return False


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _complete(pins: PinList, cache: Path, progress: Progress) -> None:
    missing = [pin for pin in pins.pins if not _verified(pin, cache)]
    prefix = f".fetching-{pins.server}-"
    # left by a process that was killed
    for stale in cache.glob(f"{prefix}*"):
        shutil.rmtree(stale)
    with tempfile.TemporaryDirectory(dir=cache, prefix=prefix) as folder:
        cached = len(pins.pins) - len(missing)
        for done, _ in enumerate(_fetch_all(missing, cache, registry(Path(folder)) if missing else None), start=cached + 1):
            progress(f"{pins.server.capitalize()}: {done} of {len(pins.pins)} jars")


def _fetch_all(missing: list[Pin], cache: Path, context: Any) -> Iterator[None]:
    """Download in parallel and yield once per finished jar. The first failure cancels the downloads that have not started."""
    with ThreadPoolExecutor(_THREADS) as pool:
        tasks = [pool.submit(_fetch, pin, cache, context) for pin in missing]
        try:
            for task in as_completed(tasks):
                yield task.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _fetch(pin: Pin, cache: Path, context: Any) -> None:
    fetched = _from_registry(pin, context)
    if (found := sha256(fetched)) != pin.sha256:
        fetched.unlink()
        raise HeadraceError(
            f"{pin.coordinate} does not match its pin: SHA-256 {found}, expected {pin.sha256}",
            reason="jar-hash-mismatch",
            remedy="Do not run it. Ask the operator of your Maven registry.",
        )
    target = cache / pin.path
    target.parent.mkdir(parents=True, exist_ok=True)
    # atomic: both are on the same file system
    fetched.replace(target)


def _from_registry(pin: Pin, context: Any) -> Path:
    import requests

    group, artifact, version, *classifier = pin.coordinate.split(":")
    jar = context.project(group, artifact).at_version(version).artifact(*classifier)
    for attempt in range(1, _TRIES + 1):
        try:
            return Path(jar.resolve())
        # jgo raises RuntimeError if no registry has the jar; requests' exception (an OSError) means a broken connection
        except (requests.RequestException, RuntimeError) as error:
            jar.cached_path.unlink(missing_ok=True)
            if attempt == _TRIES:
                what = f"cannot fetch {pin.coordinate} ({type(error).__name__})"
                raise Unavailable(what, reason="servers-unavailable", remedy=_REMEDY) from error
    raise AssertionError(_TRIES)


def registry(folder: Path) -> Any:
    """Return jgo's Maven client, which downloads into `folder`. jgo's configuration file may add registries, or a mirror as `central`."""
    try:
        from jgo.config import GlobalSettings
        from jgo.constants import MAVEN_CENTRAL_URL
        from jgo.maven import MavenContext
    except ImportError as error:
        raise NotInstalled("the embedded servers are not installed") from error
    registries = {"central": MAVEN_CENTRAL_URL} | GlobalSettings.load().repositories
    return MavenContext(repo_cache=folder, remote_repos=registries, timeout=_TIMEOUT_S)
