"""A Headrace of a benchmark's own: real servers in a folder that goes when the benchmark ends."""

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
    """Headrace on fresh servers; `settings`, if given, with a data folder of the benchmark's own."""
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
