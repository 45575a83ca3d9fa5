"""The job `reindex_tenant`: it switches a tenant's index, and shows the comparison as a table and a plot."""

from __future__ import annotations

import re
from base64 import b64decode
from typing import Any

import dagster as dg

from assets.picture import pairs
from assets.runtime import RESOURCE
from pipelines.dagster.runtime import Runtime
from pipelines.definitions import build
from tests.tenant_fixture import publish

PAGE = "# {0}\n\nThe {0} is inspected once a year.\n\n## Grease\n\nGrease the {0} every 250 hours.\n"


def materialized(app: Runtime, tenant: str, **settings: Any) -> dict[str, Any]:
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("tenants", [tenant])
        job = build({RESOURCE: app}).resolve_job_def("reindex_tenant")
        run_config = {"ops": {"reindex": {"config": settings}}}
        result = job.execute_in_process(instance=instance, partition_key=tenant, run_config=run_config, raise_on_error=False)
        if not result.success:
            return {"failed": str(result.failure_data_for_node("reindex"))}
        [one] = result.asset_materializations_for_node("reindex")
        return {name: value.value for name, value in one.metadata.items()}


def test_the_job_switches_and_back_and_shows_the_comparison(app: Runtime, acme: str) -> None:
    publish(app, acme, 1, {f"{name}.md": PAGE.format(name) for name in ("bearing", "seal")})
    app.ingest(acme)
    shown = materialized(app, acme, chunker="fixed")
    assert (shown["state"], shown["reason"], shown["documents"], shown["leave the search"]) == ("standby", "switched", 2, 0)
    assert "| recall@10 | 1.000 | 1.000 | 0.950 |" in shown["comparison"]
    assert shown["measure/overlap@10"] == 1.0
    assert re.match(r"!\[recall@10: active before 1.000, new 1.000; overlap@10: active before -, new 1.000\]", shown["plot"])
    assert app.session(acme).policy.chunking.strategy == "fixed"
    assert materialized(app, acme, rollback=True)["reason"] == "rolled-back"
    assert app.session(acme).policy.chunking.strategy == "structure"
    assert "reindex-unchanged" in materialized(app, acme, chunker="structure")["failed"]


def test_the_plot_marks_what_has_to_be_reached_and_colours_what_does_not_reach_it() -> None:
    drawn = pairs([("recall", 0.99, 0.5, 0.95), ("overlap", None, 0.5, None)], "means", ("active", "new"))
    svg = b64decode(drawn.split("base64,")[1].rstrip(")")).decode()
    assert svg.count("<rect") == 3
    assert svg.count('stroke-width="2"') == 1
    assert (svg.count("#d1495b"), svg.count("#2e9e6b")) == (1, 1)
