"""Fails the runs that an earlier `headrace ui` left unfinished: `python -m pipelines.dagster.interrupted`, before Dagster starts again.

Dagster's default launcher does not check whether a run's process is alive, so after a crash such a run would count as started for
ever, and the next run of its tenant could not start.
"""

import dagster as dg

UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
MESSAGE = "Headrace's UI ended while this run was under way. What its stages had committed stays; the next run goes on from there."


def fail(instance: dg.DagsterInstance) -> int:
    """Mark every such run as failed. Returns their number. No run of the instance may be alive."""
    runs = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    for run in runs:
        instance.report_run_failed(run, MESSAGE)
    return len(runs)


if __name__ == "__main__":
    with dg.DagsterInstance.get() as dagster_instance:
        fail(dagster_instance)
