"""A benchmark's own Headrace: real servers in a temporary folder that is deleted when the benchmark ends."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks._harness import note
from core.config import Settings
from pipelines.app import Headrace


@contextmanager
def headrace(settings: Settings | None = None) -> Iterator[Headrace]:
    """Run Headrace on new servers, with `settings` or the defaults, in a temporary data folder."""
    import services
    from core.schema.migrate import migrate

    with tempfile.TemporaryDirectory(prefix="headrace-benchmark-") as folder:
        own = (settings or Settings()).model_copy(update={"data_dir": Path(folder)})
        try:
            endpoints = services.up(own, note)
            migrate(endpoints.postgres_owner.get_secret_value())
            with Headrace(own, endpoints) as opened:
                yield opened
        finally:
            services.down(own)
