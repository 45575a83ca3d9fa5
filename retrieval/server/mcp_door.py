"""The tools over HTTP (MCP's streamable HTTP, without sessions): the same credentials, rates and limits as every other route."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from mcp.server.mcpserver import Context
from mcp.server.transport_security import TransportSecuritySettings
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from core.errors import HeadraceError
from retrieval.server import tools
from retrieval.server.caller import Caller, Unauthenticated
from retrieval.server.service import Service

PATH: Final = "/mcp"
_CALLER: Final = "headrace.caller"


class McpDoor:
    """Authenticates a request and hands it on. No session outlives a request, so that none can be taken over."""

    def __init__(self, service: Service, most_bytes: int) -> None:
        self._service = service
        self._server = tools.server(service, _caller)
        self._app = self._server.streamable_http_app(
            streamable_http_path=PATH,
            stateless_http=True,
            json_response=True,
            max_request_body_size=most_bytes,
            # against a browser that is made to call a local server: here it would have no credential, and its Origin is refused below
            transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
        )

    def running(self) -> AbstractAsyncContextManager[None]:
        """It answers while this is entered."""
        return self._server.session_manager.run()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        try:
            scope[_CALLER] = await self._admitted(request)
        except HeadraceError as error:
            await self._service.refusal(error)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _admitted(self, request: Request) -> Caller:
        if "origin" in request.headers:
            raise HeadraceError("a page of a browser may not call this", reason="bad-request", remedy="Call it from a program.")
        scheme, _, credential = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not credential:
            raise Unauthenticated("there is no credential")
        return await self._service.admitted(credential.strip())


def _caller(context: Context[Any, Any]) -> Caller:
    request = context.request_context.request
    if request is None:
        raise Unauthenticated("there is no request")
    found: Caller = request.scope[_CALLER]
    return found
