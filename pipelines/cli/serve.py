"""`headrace serve`."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.options import AsJson
from pipelines.cli.output import line, print_json


def serve(
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 for a free one. Default: the configuration's.")] = None,
    as_json: AsJson = False,
) -> None:
    """Answer searches over HTTP until SIGTERM or Ctrl-C."""
    import services
    from core.config import load
    from pipelines.operations import web
    from pipelines.operations.serve import Serving

    settings = load()
    if port is not None:
        settings = settings.model_copy(update={"serve": settings.serve.model_copy(update={"port": port})})

    def ready(address: str) -> None:
        if as_json:
            print_json({"address": address})
        else:
            line(f"Headrace: {address}  (Ctrl-C ends it)")

    with Serving(settings, services.endpoints(settings)) as resources:
        web.run(resources, ready)
