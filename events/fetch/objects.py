"""`s3:`, `gs:` and `az:` uris: objects in allowed buckets, through obstore (the extra `object-stores`).

obstore finds credentials and endpoints in the environment or the machine's role. An event names a bucket and a key only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from time import monotonic
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, unquote

from core.config import Fetching
from core.errors import DocumentError
from events.fetch.limits import EXTRA_MISSING, joined, not_allowed, not_found, refused, timed_out, too_large, unavailable

if TYPE_CHECKING:
    from obstore.store import AzureStore, ClientConfig, GCSStore, S3Store

_ALLOW_HTTP = {"s3": "AWS_ALLOW_HTTP", "gs": "GOOGLE_ALLOW_HTTP", "az": "AZURE_ALLOW_HTTP"}


def fetch_object(parts: SplitResult, fetching: Fetching) -> bytes:
    """The object's bytes. Raises the errors of `events.fetch.content.fetch`."""
    bucket, key = parts.netloc, unquote(parts.path.removeprefix("/"))
    if bucket not in fetching.buckets and f"{parts.scheme}://{bucket}" not in fetching.buckets:
        raise not_allowed(parts.scheme, "its bucket is not allowed")
    if not key or parts.query or parts.fragment:
        raise not_allowed(parts.scheme, "it is not of the form bucket/key")
    return _get(parts.scheme, bucket, key, fetching)


def _get(scheme: str, bucket: str, key: str, fetching: Fetching) -> bytes:
    until = monotonic() + fetching.timeout_s
    store = _store(scheme, bucket, fetching.timeout_s)
    with _translated(scheme, until, fetching.timeout_s):
        result = store.get(key)
        if result.meta["size"] > fetching.max_bytes:
            raise too_large(scheme, fetching.max_bytes)
        return joined(scheme, _timed(scheme, map(bytes, result.stream()), until, fetching.timeout_s), fetching.max_bytes)


def _timed(scheme: str, pieces: Iterator[bytes], until: float, timeout_s: float) -> Iterator[bytes]:
    for piece in pieces:
        if monotonic() > until:
            raise timed_out(scheme, timeout_s)
        yield piece


def _store(scheme: str, bucket: str, timeout_s: float) -> S3Store | GCSStore | AzureStore:
    try:
        from obstore import store
    except ImportError:
        raise DocumentError(f"{scheme}: obstore is missing", reason=EXTRA_MISSING, remedy="Install headrace[object-stores].") from None
    kinds: dict[str, type[S3Store | GCSStore | AzureStore]] = {"s3": store.S3Store, "gs": store.GCSStore, "az": store.AzureStore}
    limits: ClientConfig = {"timeout": timedelta(seconds=timeout_s), "allow_http": _http_allowed(scheme)}
    # no retries here: they would multiply the time limit, and the stage retries
    return kinds[scheme](bucket, client_options=limits, retry_config={"max_retries": 0})


def _http_allowed(scheme: str) -> bool:
    """Read here because the client options passed to obstore hide this setting of the environment from it."""
    return os.environ.get(_ALLOW_HTTP[scheme], "").lower() in {"1", "true"}


@contextmanager
def _translated(scheme: str, until: float, timeout_s: float) -> Iterator[None]:
    """Raise our errors for obstore's. Its messages contain the key, so they are not passed on."""
    from obstore import exceptions

    try:
        yield
    except FileNotFoundError:
        raise not_found(scheme) from None
    except (exceptions.PermissionDeniedError, exceptions.UnauthenticatedError, PermissionError):
        raise refused(scheme, "the store denies reading it") from None
    except exceptions.InvalidPathError:
        raise not_allowed(scheme, "its key is malformed") from None
    except (exceptions.BaseError, OSError):
        if monotonic() >= until:
            raise timed_out(scheme, timeout_s) from None
        raise unavailable(scheme, "the store does not answer, or has no valid credentials") from None
