"""The worker process: `python -m parsers.workers.worker MEMORY_MB TIMEOUT_S [MODELS_DIR]`, requests on stdin, replies on stdout.

`parsers.workers.process` starts it with a minimal environment. It confines itself before it receives a document, and exits when its
stdin closes.
"""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from parsers import progress
from parsers.detection import detect
from parsers.reading import reader
from parsers.reasons import ParseError, classify
from parsers.workers import confinement, wire

if TYPE_CHECKING:
    from core.records import Content
    from parsers.formats import Format

_RECURSION_LIMIT = 3000


def main(memory_mb: int, timeout_s: float, models: Path | None = None) -> None:
    """Serve requests until the pool closes the pipe; `models` is the folder of docling's models.

    A result may be as large as a quarter of the memory limit.
    """
    requests, replies = _private_pipes()
    sys.setrecursionlimit(_RECURSION_LIMIT)
    if models:
        _import_torch()
    else:
        _block_torch()
    confinement.confine(memory_mb, models)
    confinement.die_with_parent(requests)
    wire.send(replies, _load_models(models))
    progress.observe(lambda: _page_read(replies, timeout_s))
    while request := wire.receive_request(requests):
        confinement.allow_processor_time(timeout_s)
        wire.send(replies, _handle(request, replies, memory_mb << 18))
        del request
        gc.collect()


def _page_read(replies: int, timeout_s: float) -> None:
    confinement.allow_processor_time(timeout_s)
    wire.send(replies, wire.PageRead())


def _private_pipes() -> tuple[int, int]:
    """The pipes under new descriptors; 0 and 1 become the null device, so that no library can print into the protocol."""
    requests, replies = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    return requests, replies


def _block_torch() -> None:
    """docling imports torch if it is installed, and works without it: saves 2 s and 500 MB in a process that needs no models."""
    for name in ("torch", "transformers"):
        sys.modules[name] = None  # type: ignore[assignment]  # documented: an import of it raises ModuleNotFoundError


def _import_torch() -> None:
    """Import before confinement: torch looks for compilers and a temporary folder at import."""
    with suppress(ImportError):  # `_load_models` reports it
        for name in ("torch", "torchvision", "transformers"):
            import_module(name)


def _load_models(models: Path | None) -> wire.Ready | wire.Failed:
    try:
        if models:
            from parsers.pdf import model

            model.load(models)
    except Exception as error:  # noqa: BLE001  # libraries raise anything over broken weights
        return wire.Failed("missing-models", type(error).__name__)
    return wire.Ready()


def _handle(request: wire.Request, replies: int, limit: int) -> wire.Parsed | wire.Failed:
    try:
        return wire.Parsed(_read(request, replies, limit))
    except Exception as error:  # noqa: BLE001  # the process boundary: whatever a library raises is this document's failure
        failure = classify(error)
        return wire.Failed(failure.reason, failure.cause)


def _read(request: wire.Request, replies: int, limit: int) -> bytes:
    kind = detect(request.content, request.media_type, request.file_name)
    wire.send(replies, wire.Detected())
    read = reader(kind, request.pdf)
    wire.send(replies, wire.Loaded())
    return _encode(_measured(kind, request.content, read(request.content)), limit)


def _measured(kind: Format, source: bytes, read: Content) -> Content:
    from msgspec import structs

    from parsers import unread
    from parsers.signals import measure

    content = structs.replace(measure(read), format=kind.value)
    if not content.blocks and not content.children:
        unread.refuse(kind, source, content)
    return content


def _encode(content: Content, limit: int) -> bytes:
    from core.records import encode

    payload = encode(content)
    if len(payload) > limit:
        raise ParseError("parse-output-too-large")
    return payload


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]), *map(Path, sys.argv[3:]))
