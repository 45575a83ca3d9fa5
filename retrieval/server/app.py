"""The application of a service: routes, errors as answers, and its description by OpenAPI."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from starlette.exceptions import HTTPException
from starlette.routing import Route
from starlette.types import ASGIApp

from core.errors import HeadraceError, described
from retrieval.server import schema
from retrieval.server.guard import Guard
from retrieval.server.mcp_door import PATH, McpDoor
from retrieval.server.routes import router
from retrieval.server.service import Service

VERSION: Final = "1"
_SUMMARY: Final = "Passages of a tenant's documents that a caller may read, with citations."
_SEE: Final = "`/openapi.json` describes requests."


def application(service: Service, most_bytes: int, body_s: float) -> ASGIApp:
    """What a web server runs; it closes the service at its end. `most_bytes`: of a body, which has to arrive within `body_s`."""

    mcp = McpDoor(service, most_bytes)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with mcp.running():
            yield
        service.close()

    async def refuse(_: Request, error: Exception) -> Response:
        return service.refusal(_ours(error))

    api = FastAPI(title="Headrace", version=VERSION, docs_url=None, redoc_url=None, lifespan=lifespan)
    api.state.service = service
    api.include_router(router)
    api.router.routes.append(Route(PATH, mcp, include_in_schema=False))
    for kind in (HeadraceError, HTTPException, RequestValidationError, Exception):
        api.add_exception_handler(kind, refuse)
    once = _described(api)
    api.openapi = lambda: once  # type: ignore[method-assign]
    return Guard(api, service.metrics, most_bytes, body_s)


def _ours(error: Exception) -> HeadraceError:
    if isinstance(error, RequestValidationError):
        return HeadraceError("a parameter is not as it should be", reason="bad-request", remedy=_SEE)
    if isinstance(error, HTTPException) and error.status_code == 404:
        return HeadraceError("there is nothing at this path", reason="not-found", remedy=_SEE)
    if isinstance(error, HTTPException) and error.status_code == 405:
        return HeadraceError("this path has another method", reason="method-not-allowed", remedy=_SEE)
    return described(error)


def _described(api: FastAPI) -> dict[str, Any]:
    """OpenAPI, with the schemas of our records."""
    found = get_openapi(title=api.title, version=api.version, summary=_SUMMARY, routes=api.routes)
    found["components"].setdefault("schemas", {}).update(schema.components())
    return found
