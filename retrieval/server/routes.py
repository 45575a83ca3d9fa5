"""The routes. A handler reads what is asked, has it answered in a thread, and writes the answer; who asks is the credential's to say."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from retrieval.answer import Answer
from retrieval.documents import MOST_PASSAGES, DocumentText, Related
from retrieval.server import examples, schema
from retrieval.server.caller import Caller, Unauthenticated
from retrieval.server.service import Service

router = APIRouter()

_bearer = HTTPBearer(auto_error=False, description="An API key (`hr_…`), or a token of the configured issuer.")


async def _caller(request: Request, credential: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]) -> Caller:
    if credential is None:
        raise Unauthenticated("there is no credential")
    return await _service(request).admitted(credential.credentials)


AsCaller = Annotated[Caller, Depends(_caller)]
First = Annotated[int, Query(ge=0, le=2**31 - 1, description="The ordinal of the first passage.")]
Most = Annotated[int, Query(ge=1, le=MOST_PASSAGES, description="Passages, at most.")]


@router.post(
    "/v1/search",
    openapi_extra=schema.body(schema.Search, examples.SEARCH),
    responses=schema.answers(Answer, examples.FOUND, 400, 401, 413, 429, 503, 504),
)
async def search(request: Request, caller: AsCaller) -> Response:
    """The best passages that the caller may read, with citations."""
    service, asked = _service(request), schema.request(await request.body(), caller)
    return _json(await service.answered(lambda: service.doors.search(caller.tenant, asked)))


@router.get(
    "/v1/documents/{name:path}",
    responses=schema.answers(DocumentText, examples.DOCUMENT, 400, 401, 404, 429, 503, 504),
)
async def document(request: Request, caller: AsCaller, name: str, first: First = 0, most: Most = 100) -> Response:
    """A document's passages in reading order, some at a time; by its id, or by a citation's `document_key`."""
    service = _service(request)
    return _json(await service.answered(lambda: service.doors.document(caller, name, first, most)))


@router.post(
    "/v1/explain",
    openapi_extra=schema.body(schema.Named, examples.PASSAGE_NAMED),
    responses=schema.answers(schema.Explanations, examples.EXPLAINED, 400, 401, 404, 413, 429, 503, 504),
)
async def explain(request: Request, caller: AsCaller) -> Response:
    """Where a passage or a document comes from, and how far its newest version is."""
    service, name = _service(request), schema.read(await request.body(), schema.Named).name
    return _json(schema.Explanations(await service.answered(lambda: service.doors.explain(caller, name))))


@router.post(
    "/v1/related",
    openapi_extra=schema.body(schema.Named, examples.NAMED),
    responses=schema.answers(Related, examples.RELATED, 400, 401, 404, 413, 429, 503, 504),
)
async def related(request: Request, caller: AsCaller) -> Response:
    """Documents that have passages in common with a document: the same, or near-duplicates."""
    service, name = _service(request), schema.read(await request.body(), schema.Named).name
    return _json(await service.answered(lambda: service.doors.related(caller, name)))


@router.get("/healthz", include_in_schema=False)
async def healthz() -> Response:
    """The process answers."""
    return _json({"status": "ok"})


@router.get("/readyz", include_in_schema=False)
async def readyz(request: Request) -> Response:
    """What it needs answers too."""
    service = _service(request)
    await service.answered(service.doors.ready)
    return _json({"status": "ok"})


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    return Response(_service(request).metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")


def _service(request: Request) -> Service:
    found: Service = request.app.state.service
    return found


def _json(answer: object) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")
