"""`file:` uris: regular files under the allowed roots, safe against symbolic links and races."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import SplitResult, unquote

from core.config import Fetching
from events.fetch.limits import not_allowed, not_found, refused, too_large

_SCHEME = "file"


def fetch_file(parts: SplitResult, fetching: Fetching) -> bytes:
    """The file's bytes. Raises the DocumentErrors of `events.fetch.content.fetch`."""
    root, relative = _resolved(parts, fetching)
    with _opened(root, relative) as descriptor:
        state = os.fstat(descriptor)
        if not stat.S_ISREG(state.st_mode):
            raise not_allowed(_SCHEME, "it is no regular file")
        return _read(descriptor, fetching.max_bytes)


def _resolved(parts: SplitResult, fetching: Fetching) -> tuple[Path, Path]:
    """The root that the file is under after all links are resolved, and its path relative to the root."""
    if parts.netloc not in ("", "localhost") or parts.query or parts.fragment or not parts.path.startswith("/"):
        raise not_allowed(_SCHEME, "it is not of the form file:///path")
    try:
        path = Path(unquote(parts.path, errors="strict")).resolve()
        roots = [root.resolve() for root in fetching.roots]
    except (ValueError, OSError, RuntimeError):  # a NUL, no UTF-8, a loop of links
        raise not_allowed(_SCHEME, "its path cannot be resolved") from None
    for root in roots:
        if path != root and path.is_relative_to(root):
            return root, path.relative_to(root)
    raise not_allowed(_SCHEME, "it is under none of the allowed roots")


@contextmanager
def _opened(root: Path, relative: Path) -> Iterator[int]:
    """Open the path one component at a time, following no link: a link in it was created after the path was resolved."""
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for index, name in enumerate(relative.parts, 1):
            directory = os.O_DIRECTORY if index < len(relative.parts) else os.O_NONBLOCK
            descriptor, parent = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | directory, dir_fd=descriptor), descriptor
            os.close(parent)
        yield descriptor
    except (FileNotFoundError, NotADirectoryError):
        raise not_found(_SCHEME) from None
    except OSError:
        raise refused(_SCHEME, "it cannot be read") from None
    finally:
        os.close(descriptor)


def _read(descriptor: int, max_bytes: int) -> bytes:
    """Counts the bytes: the file's size may change while it is read."""
    with open(descriptor, "rb", closefd=False) as file:
        content = file.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise too_large(_SCHEME, max_bytes)
    return content
