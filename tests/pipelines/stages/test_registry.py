"""The registry of stages agrees with what other modules say of a stage."""

from __future__ import annotations

from assets.stages import STAGE_ASSETS
from core.sensitivity import SEALED
from pipelines.stages.registry import BY_NAME, STAGES


def test_the_entries_that_say_so_are_those_whose_outputs_are_sealed_at_rest() -> None:
    assert {"land", *(entry.name for entry in STAGES if entry.sealed)} == SEALED


def test_an_asset_is_as_sensitive_as_the_entries_of_its_stages() -> None:
    declared = {asset.asset: any(BY_NAME[stage].sealed for stage in asset.stages) for asset in STAGE_ASSETS}
    assert {asset.asset: asset.sensitivity == "sealed" for asset in STAGE_ASSETS} == declared
