"""Runs that an earlier `headrace ui` left unfinished. `python -m pipelines.dagster.interrupted`, before Dagster starts again on the same
records.

Dagster's default launcher does not look whether a run's process still lives, so after a crash such a run would count as under way
for ever: nobody could start the next one of its tenant.
"""

import dagster as dg

UNFINISHED = [dg.DagsterRunStatus.STARTING, dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING]
SAID = "Headrace's UI ended while this run was under way. What its stages had committed stays; the next run goes on from there."


def close(instance: dg.DagsterInstance) -> int:
    """Mark every such run as failed. Gives their number. No run of the instance may be alive."""
    runs = instance.get_runs(dg.RunsFilter(statuses=UNFINISHED))
    for run in runs:
        instance.report_run_failed(run, SAID)
    return len(runs)


if __name__ == "__main__":
    with dg.DagsterInstance.get() as dagster_instance:
        close(dagster_instance)
