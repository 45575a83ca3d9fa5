"""The stages, in the order in which a document passes them. An entry declares what is particular to a stage; its module does the work.

`STAGES` is the file to read first: the picture in ARCHITECTURE.md, as code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from core import crashpoints
from core.ledger.ledger import Part, Step
from core.ledger.stage import Stage
from core.policy import Policy
from pipelines import outbox
from pipelines.models import Models
from pipelines.resources import Resources
from pipelines.stages import chunk, embed, graph, index, parse, project, redact

Build = Callable[[Step, Resources, Policy], Stage]


@dataclass(frozen=True)
class Entry:
    """One stage.

    `upstream`: the stage whose output it is computed from. `part`: the part of the event that it depends on besides. `lane`: the thread
    group of the stream that runs it. `fingerprint`: everything but the input that decides its result. `sealed`: its output precedes
    redaction, so that it is encrypted at rest (`core.sensitivity`). `keyed`: its result depends on the tenant's surrogate key.
    `quarantines`: it may put a document aside until an operator releases it. `crash_points`: where a test may make the process die,
    besides before and after the commit.
    """

    name: str
    upstream: str | None
    part: Part | None
    lane: int
    fingerprint: Callable[[Models, Policy], str]
    build: Build
    sealed: bool = False
    keyed: bool = False
    quarantines: bool = False
    crash_points: tuple[str, ...] = ()


STAGES = (
    Entry(
        name="parse",
        upstream=None,
        part="content",
        lane=0,
        fingerprint=lambda models, policy: models.reading(policy.reading),
        build=lambda step, resources, policy: parse.Parse(step, resources.models, policy.reading, resources.settings.fetching),
        sealed=True,
        quarantines=True,
    ),
    Entry(
        name="redact",
        upstream="parse",
        part="envelope",
        lane=0,
        fingerprint=lambda models, policy: models.redactor(policy.privacy).fingerprint,
        build=lambda step, resources, policy: redact.Redact(step, resources.models.redactor(policy.privacy)),
        keyed=True,
        quarantines=True,
    ),
    Entry(
        name="chunk",
        upstream="redact",
        part=None,
        lane=0,
        fingerprint=lambda models, policy: models.chunker(policy).fingerprint,
        build=lambda step, resources, policy: chunk.CutChunks(step, resources.models.chunker(policy)),
    ),
    Entry(
        name="embed",
        upstream="chunk",
        part=None,
        lane=1,
        fingerprint=lambda models, policy: models.embedder_of(policy.embedding).identity,
        build=lambda step, resources, policy: embed.Embed(step, resources.models.embedder_of(policy.embedding)),
    ),
    Entry(
        name="index",
        upstream="embed",
        part="acl",
        lane=1,
        fingerprint=lambda models, policy: f"{models.chunker(policy).fingerprint}.{models.embedder_of(policy.embedding).identity}",
        build=lambda step, resources, policy: index.Index(step, resources.models.embedder_of(policy.embedding)),
        keyed=True,
    ),
    Entry(
        name="graph",
        upstream="index",
        part=None,
        lane=2,
        fingerprint=lambda models, _: models.graph_fingerprint,
        build=lambda step, resources, _: graph.Extract(step, resources.models.extractors),
    ),
    Entry(
        name="project",
        upstream="graph",
        part=None,
        lane=2,
        fingerprint=lambda models, _: models.projection_fingerprint,
        build=lambda step, resources, _: project.Project(step, resources.models),
        crash_points=(project.WRITTEN,),
    ),
)

BY_NAME = {entry.name: entry for entry in STAGES}
NAMES = tuple(BY_NAME)

LANES = tuple(tuple(entry.name for entry in STAGES if entry.lane == lane) for lane in sorted({entry.lane for entry in STAGES}))
"""The stages of each lane of the stream, in order: the first computes in Python, the second in native code, the third waits for Neo4j."""

QUARANTINING = tuple(entry.name for entry in STAGES if entry.quarantines)

DEPENDENT_ON_KEY = NAMES[min(NAMES.index(entry.name) for entry in STAGES if entry.keyed) :]
"""The stages whose results depend on the surrogate key, directly or through what they are computed from."""

CRASH_POINTS = (
    *crashpoints.commit_points("land", *NAMES),
    *crashpoints.declare(*(point for entry in STAGES for point in entry.crash_points)),
    *outbox.CRASH_POINTS,
)
"""The points of `core.crashpoints` that every document passes."""


def step(name: str, resources: Resources, policy: Policy, epoch: int = 0) -> Step:
    """What a stage's results depend on, for a tenant with this policy and a surrogate key of this epoch.

    May load a model: its identity is part of the fingerprint. Raises ConfigurationError, and PolicyError if only this policy cannot work.
    """
    entry = BY_NAME[name]
    fingerprint = entry.fingerprint(resources.models, policy)
    # what is redacted depends on the surrogate key, and no index has surrogates of two keys
    keyed = f"{fingerprint}.surrogates-{epoch}" if epoch and entry.keyed else fingerprint
    return Step(name, entry.upstream, entry.part, keyed, epoch)


def build(name: str, resources: Resources, policy: Policy, epoch: int = 0) -> Stage:
    """The stage, ready to run. Raises as `step` does."""
    return BY_NAME[name].build(step(name, resources, policy, epoch), resources, policy)
