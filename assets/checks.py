"""Asset checks per tenant, from `quality.catalogue`. `quality` judges; a blocking check stops the assets below."""

import warnings
from typing import Any

import dagster as dg

from assets import picture
from assets.boundary import plain_failures
from assets.runtime import TENANTS, Runtime
from quality.catalogue import CHECKS, Declaration

BLOCKING = "Blocking: if it fails with an error, the assets below wait until it passes."
INFORMATIONAL = "Informational; never blocks."


def asset_check(declared: Declaration) -> dg.AssetChecksDefinition:
    """The Dagster check of a declaration."""

    @dg.asset_check(
        name=declared.name,
        asset=declared.asset,
        blocking=declared.blocking,
        description=f"{declared.question} {BLOCKING if declared.blocking else INFORMATIONAL}",
        partitions_def=TENANTS,
    )
    def check(context: dg.AssetCheckExecutionContext, headrace: dg.ResourceParam[Runtime]) -> dg.AssetCheckResult:
        with plain_failures():
            found = headrace.check(_tenant(context), declared.name)
        severity = dg.AssetCheckSeverity.ERROR if found.severity == "error" else dg.AssetCheckSeverity.WARN
        metadata: dict[str, Any] = {"findings": dg.MetadataValue.md(found.markdown()), **found.measured}
        if found.distribution:
            metadata["plot"] = dg.MetadataValue.md(picture.stacked({"": found.distribution}))
        return dg.AssetCheckResult(passed=found.passed, severity=severity, description=found.explanation, metadata=metadata)

    return check


def _tenant(context: dg.AssetCheckExecutionContext) -> str:
    # `Execute all` on the UI's page of checks starts a run without a partition
    if not context.has_partition_key:
        raise dg.Failure("A check is of one tenant, and none was selected: materialize the asset, or start ingest_tenant, for a tenant.")
    return str(context.partition_key)


with warnings.catch_warnings():
    # checks per partition are a preview in Dagster 1.13, and there is no other way to have one per tenant
    warnings.filterwarnings("ignore", "Specifying a partitions_def on an AssetCheckSpec", category=dg.PreviewWarning)
    ALL = [asset_check(declared) for declared in CHECKS]
