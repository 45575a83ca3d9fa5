"""`headrace mcp`."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.options import AsJson, Tenant, callers_principals


def mcp(
    tenant: Tenant,
    caller: Annotated[
        list[str] | None, typer.Option("--as", metavar="PRINCIPAL", help="A principal of the caller; repeat it, or give a list.")
    ] = None,
    as_json: AsJson = False,  # noqa: ARG001  # what it writes is JSON in any case
) -> None:
    """Offer search to a language model's program, by MCP on standard input and output, until the input ends."""
    import services
    from core.config import load
    from pipelines.operations import web
    from pipelines.operations.serve import Serving
    from retrieval.server.caller import Caller
    from retrieval.server.local import RATE

    readers = callers_principals("--as", caller or ())
    settings = load()
    with Serving(settings, services.endpoints(settings)) as resources:
        name = resources.database.get(tenant).tenant
        web.converse(resources, Caller(name, tuple(readers), "local", RATE))
