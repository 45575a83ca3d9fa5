"""`headrace ui`."""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.cli.options import AsJson
from pipelines.cli.output import line, print_json


def ui(
    port: Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 for a free one. Default: the configuration's.")] = None,
    as_json: AsJson = False,
) -> None:
    """Run Dagster's web server and daemon with the same configuration, until Ctrl-C."""
    import services
    from core.config import load
    from pipelines.dagster import webserver

    settings = load()
    services.endpoints(settings)

    def ready(address: str) -> None:
        if as_json:
            print_json({"address": address})
        else:
            line(f"Dagster: {address}  (Ctrl-C ends it)")

    webserver.serve(settings, settings.dagster.port if port is None else port, ready)
