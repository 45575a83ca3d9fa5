"""A check is declared once; what computes it, what reads its rows and what Dagster shows go by the same name."""

from __future__ import annotations

import quality
from assets import checks as dagster_checks
from assets.stages import PIPELINE
from pipelines.operations import checks
from quality.catalogue import CHECKS, NAMES


def test_every_check_has_one_name_in_quality_in_operations_and_in_dagster() -> None:
    assert len(set(NAMES)) == len(NAMES)
    assert {name for name in NAMES if not callable(getattr(quality, name, None))} == set()
    assert set(checks.BY_NAME) == set(NAMES)
    assert [check.name for definition in dagster_checks.ALL for check in definition.check_specs] == list(NAMES)


def test_a_check_judges_an_asset_of_the_pipeline_and_blocks_as_declared() -> None:
    assets = {key.to_user_string() for definition in PIPELINE for key in definition.keys}
    assert {check.asset for check in CHECKS} <= assets
    specs = {spec.name: spec for definition in dagster_checks.ALL for spec in definition.check_specs}
    assert {name: spec.blocking for name, spec in specs.items()} == {check.name: check.blocking for check in CHECKS}
    assert {name: spec.asset_key.to_user_string() for name, spec in specs.items()} == {check.name: check.asset for check in CHECKS}
