"""Which of an instance's runs are ours: other code locations, another Headrace among them, may share the instance."""

from __future__ import annotations

from collections.abc import Mapping

import dagster as dg

from assets.retention import retention
from assets.stages import PIPELINE
from assets.stream import STREAM
from pipelines.dagster.jobs import ingest_job
from pipelines.dagster.run_process import PROCESS
from pipelines.dagster.schedules import retention_job
from pipelines.dagster.stream_job import stream_job

REPOSITORY = ".dagster/repository"
"""Dagster's own tag on every run that a code location asked for."""

JOBS = frozenset({ingest_job.name, retention_job.name, stream_job.name})
ASSETS = frozenset({STREAM.key, retention.key, *(asset.key for asset in PIPELINE)})


def location_tags(context: dg.SensorEvaluationContext) -> Mapping[str, str]:
    """The tag that runs of this sensor's code location have; empty if the sensor is called by hand."""
    origin = context.code_location_origin
    return {REPOSITORY: f"{context.repository_name}@{origin.location_name}"} if origin and context.repository_name else {}


def location_tags_of(run: dg.DagsterRun) -> Mapping[str, str]:
    """The tag that runs of this run's code location have; none where it was started in this process."""
    return {REPOSITORY: run.remote_job_origin.repository_origin.get_label()} if run.remote_job_origin else {}


def is_ours(run: dg.DagsterRun) -> bool:
    """Whether a run of our code location is of our jobs, or materializes or checks nothing but our assets.

    Somebody may have put jobs of their own beside ours, whose processes do not make themselves known.
    """
    chosen = {*(run.asset_selection or ()), *(check.asset_key for check in run.asset_check_selection or ())}
    return PROCESS in run.tags or run.job_name in JOBS or (bool(chosen) and chosen <= ASSETS)
