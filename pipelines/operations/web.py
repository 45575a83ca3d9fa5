"""The process that listens: uvicorn, set up so that nothing of a request is logged and no connection holds more than it may."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack

import uvicorn
from starlette.types import ASGIApp

from core.config import Serve
from core.errors import ConfigurationError
from pipelines.operations import serve
from pipelines.operations.serve import Serving
from retrieval.server import tools
from retrieval.server.app import application
from retrieval.server.caller import Caller
from retrieval.server.service import Service

BODY_S = 10
"""In which a request's body has to arrive."""
CONNECTIONS = 512
"""At once; the next one is answered 503."""
HEADER_BYTES = 16_384
IDLE_S = 5


def run(resources: Serving, ready: Callable[[str], None]) -> None:
    """Serve until SIGTERM or SIGINT, which finish the requests in hand. `ready` is called with the address.

    Raises ConfigurationError if the address cannot be listened at, KeyboardInterrupt at the end if SIGINT ended it.
    """
    settings = resources.settings.serve
    key = serve.new_local_key()
    # uvicorn ends on it, and then raises it again for whoever handled it before
    signal.signal(signal.SIGTERM, lambda *_: None)
    with ExitStack() as stack:
        listening = stack.enter_context(listener(settings))
        serve.warm(resources)
        stack.enter_context(serve.announced(resources.settings, _from_here(address(listening)), key))
        ready(address(listening))
        uvicorn.Server(configuration(built(resources, key))).run([listening])


def converse(resources: Serving, caller: Caller) -> None:
    """Offer the tools for language models on standard input and output, in this caller's name, until the input ends."""
    asyncio.run(tools.server(_service(resources, serve.new_local_key()), lambda _: caller).run_stdio_async())


def built(resources: Serving, key: bytes) -> ASGIApp:
    """The application. `key`: for credentials of this machine's own."""
    return application(_service(resources, key), resources.settings.serve.max_body_bytes, BODY_S)


def _service(resources: Serving, key: bytes) -> Service:
    settings = resources.settings.serve
    return Service(serve.doors(resources, key), readers=settings.readers, timeout_s=settings.timeout_s)


def configuration(app: ASGIApp) -> uvicorn.Config:
    """Uvicorn's, for an application that anybody may reach."""
    return uvicorn.Config(
        app,
        http="h11",  # bounds a request's headers; httptools does not
        ws="none",
        log_config=None,
        log_level="warning",
        access_log=False,  # a path may have a document's id
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        h11_max_incomplete_event_size=HEADER_BYTES,
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=10,
    )


def listener(settings: Serve) -> socket.socket:
    """Listens at the configured address. Raises ConfigurationError."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    try:
        return socket.create_server((settings.host, settings.port), family=family, backlog=256)
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or type(error).__name__
        raise ConfigurationError(f"serve.host, serve.port: cannot listen at {settings.host}:{settings.port}: {why}") from None


def _from_here(url: str) -> str:
    """Of a server that listens at every address, the one of this machine."""
    return url.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")


def address(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
