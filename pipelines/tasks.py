"""A maintenance task, as the module that it maintains declares it. What finds and runs tasks is `pipelines.maintenance`.

It is a module of its own, below the stages, so that a stage's module can declare tasks without importing what runs them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from core.ledger.stage import Session
from core.tenancy import Connection
from pipelines.resources import Resources

Due = Callable[[Connection, Resources, Session], bool]
Run = Callable[[Resources, Session], Mapping[str, int]]


@dataclass(frozen=True)
class Task:
    """One piece of upkeep.

    `after`: the stage that may make it due; None if it waits for an idle moment. `due`: a cheap query. `run` does what is due and
    returns counts for people; it may be cut off anywhere, and may find that there is nothing to do after all. `every_s`: the least number
    of seconds between two runs for a tenant in one process. `slow`: it may take many minutes, so that a stream runs it beside all others.
    """

    name: str
    after: str | None
    due: Due
    run: Run
    every_s: float = 0.0
    slow: bool = False
