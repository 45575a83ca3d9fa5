"""Maintenance: upkeep of a tenant that follows from what its stages did. Each task is declared beside what it maintains.

Tasks run after the stage that they follow, at the end of an ingest by the command line or by Dagster, and by a stream that is idle. So the
next process finishes what one that died left undone. A task is safe to repeat, and safe beside others. `DECLARED` names the modules that
have `TASKS`, each a `pipelines.tasks.Task`. They are imported by name, when the tasks are first listed, because some of them are above this
module in the order of imports: a new task is one more declaration, and no change to what runs it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cache
from importlib import import_module
from time import monotonic

from core.errors import Unavailable
from core.ledger.stage import Session
from pipelines.resources import Resources
from pipelines.tasks import Task

DECLARED = ("pipelines.upgrade", "pipelines.stages.index_tasks", "pipelines.governance.surrogate_keys", "pipelines.operations.reindex")
"""Modules with `TASKS`, in the order in which their tasks run."""


@cache
def tasks() -> tuple[Task, ...]:
    """Every declared task, in the order in which they run."""
    return tuple(task for module in DECLARED for task in import_module(module).TASKS)


def run_due(
    resources: Resources, session: Session, after: str | None = None, start: Callable[[Task], None] | None = None
) -> dict[str, Mapping[str, int]]:
    """Run what is due for a tenant: the tasks that follow one stage, or every task. Returns the counts by task.

    A task whose server is unavailable stays due. Slow tasks are passed to `start`, if it is given, and not waited for.
    """
    done: dict[str, Mapping[str, int]] = {}
    for task in _due(resources, session, after):
        if task.slow and start:
            start(task)
        else:
            done |= run(resources, session, task)
    return done


def run(resources: Resources, session: Session, task: Task) -> dict[str, Mapping[str, int]]:
    """Run one task. Returns its counts by its name; nothing if a server that it needs is unavailable."""
    with suppress(Unavailable):
        done = {task.name: task.run(resources, session)}
        resources.maintained_at[session.tenant, task.name] = monotonic()
        return done
    return {}


def counts(done: Mapping[str, Mapping[str, int]]) -> Counter[str]:
    """The counts of tasks that ran, as `<task>/<count>` → number, zeros included."""
    return Counter({f"{task}/{name}": count for task, of_task in done.items() for name, count in of_task.items()})


def due(resources: Resources, session: Session) -> list[str]:
    """The names of the tasks that are due for a tenant, but for those that are due by the clock alone."""
    return [task.name for task in _due(resources, session, None) if not task.every_s]


def is_due_without_a_stage(resources: Resources, session: Session) -> bool:
    """Whether a task that follows no stage is due, but for those that are due by the clock alone: then a run is worth starting."""
    return any(task.after is None and not task.every_s for task in _due(resources, session, None))


def _due(resources: Resources, session: Session, after: str | None) -> list[Task]:
    candidates = [task for task in tasks() if after in (None, task.after) and _is_time(resources, session, task)]
    if not candidates:
        return []
    with session.transaction() as connection:
        return [task for task in candidates if task.due(connection, resources, session)]


def _is_time(resources: Resources, session: Session, task: Task) -> bool:
    last = resources.maintained_at.get((session.tenant, task.name))
    return last is None or monotonic() - last >= task.every_s
