"""The servers' jars: fetched one by one into the shared cache folder, each checked against its pin before it may run.

A jar that is there with the right content is not fetched again. Once all were checked, a stamp keeps their sizes and times, so that
a later start needs only to look at those; a jar that changed since is checked, and fetched anew where it is not what was pinned.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from filelock import FileLock

from core.errors import HeadraceError, Unavailable
from services.files import write_whole
from services.pins import Pin, PinList
from services.server import NotInstalled

Progress = Callable[[str], None]

# without a handler its warnings go to standard error; what they are about is checked here anyway
logging.getLogger("jgo").addHandler(logging.NullHandler())

# polite to the registry, and past this the line is full anyway
_THREADS = 8
_TRIES = 3
_TIMEOUT_S = 30
_OTHER_WAY = "Give this machine its Maven registry once, or run the servers with `docker compose up` and set their URLs in headrace.toml."


def provide(pins: PinList, cache: Path, progress: Progress) -> list[Path]:
    """Every jar of a list, there and checked, in classpath order.

    Raises HeadraceError: `jar-hash-mismatch` where the registry gives other content than was pinned, `servers-unavailable`
    where a jar is missing and cannot be fetched.
    """
    cache.mkdir(parents=True, exist_ok=True)
    stamp = cache / f"{pins.server}.stamp"
    if not _as_stamped(stamp, pins, cache):
        with FileLock(cache / f"{pins.server}.lock"):
            _check_all(pins, cache, progress)
            write_whole(stamp, json.dumps(_stamp(pins, cache)))
    return [cache / pin.path for pin in pins.pins]


def _as_stamped(stamp: Path, pins: PinList, cache: Path) -> bool:
    """Whether every jar looks as it did when all were checked against this very list."""
    try:
        return bool(_read_stamp(stamp) == _stamp(pins, cache))
    except FileNotFoundError:
        return False


def _stamp(pins: PinList, cache: Path) -> dict[str, Any]:
    """Sizes in bytes and times in ns. Raises FileNotFoundError where a jar is missing."""
    seen = {str(pin.path): (cache / pin.path).stat() for pin in pins.pins}
    return {"pins": pins.digest, "jars": {path: [stat.st_size, stat.st_mtime_ns] for path, stat in seen.items()}}


def _read_stamp(path: Path) -> dict[str, Any]:
    try:
        stamp = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def _good(pin: Pin, cache: Path) -> bool:
    """Whether the jar is there as pinned. A damaged one is deleted, so that it is fetched anew."""
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


def _check_all(pins: PinList, cache: Path, progress: Progress) -> None:
    missing = [pin for pin in pins.pins if not _good(pin, cache)]
    prefix = f".fetching-{pins.server}-"
    # of one that was killed
    for left in cache.glob(f"{prefix}*"):
        shutil.rmtree(left)
    with tempfile.TemporaryDirectory(dir=cache, prefix=prefix) as folder:
        here = len(pins.pins) - len(missing)
        for done, _ in enumerate(_fetch_all(missing, cache, registry(Path(folder)) if missing else None), start=here + 1):
            progress(f"{pins.server.capitalize()}: {done} of {len(pins.pins)} jars")


def _fetch_all(missing: list[Pin], cache: Path, context: Any) -> Iterator[None]:
    """Fetch at once, telling of each that is there; the first failure ends what has not begun."""
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
            f"{pin.coordinate} is not what was pinned: SHA-256 {found}, expected {pin.sha256}",
            reason="jar-hash-mismatch",
            remedy="Do not run it. Ask whoever serves your Maven registry.",
        )
    target = cache / pin.path
    target.parent.mkdir(parents=True, exist_ok=True)
    # on the same file system, so that the jar appears whole or not at all
    fetched.replace(target)


def _from_registry(pin: Pin, context: Any) -> Path:
    import requests

    group, artifact, version, *classifier = pin.coordinate.split(":")
    jar = context.project(group, artifact).at_version(version).artifact(*classifier)
    for attempt in range(1, _TRIES + 1):
        try:
            return Path(jar.resolve())
        # jgo raises a RuntimeError where no registry has the jar; a cut line is an OSError of requests
        except (requests.RequestException, RuntimeError) as error:
            jar.cached_path.unlink(missing_ok=True)
            if attempt == _TRIES:
                what = f"cannot fetch {pin.coordinate} ({type(error).__name__})"
                raise Unavailable(what, reason="servers-unavailable", remedy=_OTHER_WAY) from error
    raise AssertionError(_TRIES)


def registry(folder: Path) -> Any:
    """jgo's Maven client, downloading into `folder`; its own configuration file may name more registries, or a mirror as `central`."""
    try:
        from jgo.config import GlobalSettings
        from jgo.constants import MAVEN_CENTRAL_URL
        from jgo.maven import MavenContext
    except ImportError as error:
        raise NotInstalled("the embedded servers are not installed") from error
    registries = {"central": MAVEN_CENTRAL_URL} | GlobalSettings.load().repositories
    return MavenContext(repo_cache=folder, remote_repos=registries, timeout=_TIMEOUT_S)
