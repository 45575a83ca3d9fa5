"""Evaluation of a tenant's search by judged queries: what each mode finds, asked as `headrace search` asks, and drafts of queries to judge.

Every document counts that anybody may read, unless principals are given. The measures are in `retrieval.evaluation`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from core.errors import HeadraceError
from core.ledger.stage import Session
from core.principals import Principals
from core.sql import statements
from pipelines.operations import canaries
from pipelines.operations.canaries import Stored
from pipelines.resources import Resources

if TYPE_CHECKING:
    from retrieval.evaluation import Difference, Interval
    from retrieval.judgements import Judged
    from retrieval.request import Mode
    from retrieval.suggestions import Draft

Tell = Callable[[str], None]
SAMPLED = 2_000
"""Passages that drafts are taken from."""


class Evaluation(msgspec.Struct, frozen=True):
    """What a tenant's search reached. `values`: mode → measure → query → 0 to 1 (`retrieval.evaluation.measures`).

    `unjudged`: queries without a relevant document, and `unasked`: judgements without a query; both count nowhere. `absent`: relevant
    documents that the active generation does not have, which no mode can find. `refused`: by mode, queries that were too long; they have 0.
    """

    tenant: str
    queries: int
    unjudged: int
    unasked: int
    absent: int
    refused: dict[str, int]
    values: dict[str, dict[str, dict[str, float]]]

    def intervals(self) -> dict[str, dict[str, Interval]]:
        """Mode → measure → its mean, with an interval."""
        from retrieval.evaluation import interval

        return {mode: {name: interval([*of.values()]) for name, of in found.items()} for mode, found in self.values.items()}


class Compared(msgspec.Struct, frozen=True):
    """A mode less what it is compared with: measure → difference."""

    mode: str
    against: str
    measures: dict[str, Difference]


def evaluate(
    resources: Resources,
    tenant: str,
    judged: Judged,
    modes: Sequence[Mode] = (),
    principals: Principals | None = None,
    depth: int = 100,
    tell: Tell = lambda _: None,
) -> Evaluation:
    """Ask every query in each of the modes, by default all there are. Documents of the judgements are ids or keys.

    `depth`: of the rankings, in documents. Raises TenantError, Unavailable, and HeadraceError for principals that cannot be meant.
    """
    from retrieval.evaluation import measures
    from retrieval.request import MODES

    session = resources.session(tenant)
    readers = _readers(resources, tenant) if principals is None else principals
    grades, absent = _by_key(session, judged.grades)
    values, refused = dict[str, dict[str, dict[str, float]]](), dict[str, int]()
    for mode in modes or MODES:
        found = {}
        for query, text in judged.queries.items():
            found[query] = _ranking(resources, tenant, text, readers, mode, depth)
            tell(f"{mode}: {len(found)} of {len(judged.queries)} queries")
        refused[mode] = sum(ranking is None for ranking in found.values())
        values[mode] = measures(grades, {query: ranking or [] for query, ranking in found.items()}, depth)
    return Evaluation(tenant, len(judged.queries), judged.unjudged, judged.unasked, absent, refused, values)


def stored(resources: Resources, tenant: str) -> Judged:
    """The tenant's judged canary queries; a query's id is its text. Raises HeadraceError `bad-judgements` if there are none."""
    from retrieval.judgements import judged

    with resources.session(tenant).transaction() as connection:
        kept = canaries.stored(connection)
    return judged({one.query: one.query for one in kept}, {one.query: _whole(one) for one in kept})


def keep(resources: Resources, judged: Judged, found: Evaluation) -> None:
    """Store the queries as the tenant's canary queries, and what they reached as the baseline of the check `retrieval_quality`.

    Raises HeadraceError `bad-queries` if they are more than a tenant may have.
    """
    if len(judged.queries) > canaries.MOST:
        remedy = "Keep a sample of them."
        raise HeadraceError(f"at most {canaries.MOST} queries are kept, were: {len(judged.queries)}", reason="bad-queries", remedy=remedy)
    session = resources.session(found.tenant)
    grades, reached = _by_key(session, judged.grades)[0], _reached(found)
    texts = dict(zip(judged.queries, canaries.redacted(resources, session, [*judged.queries.values()]), strict=True))
    rows = [Stored(text, dict(grades[query]), text != judged.queries[query], reached[query]) for query, text in texts.items()]
    canaries.store(session, rows)


def keep_baseline(resources: Resources, found: Evaluation) -> None:
    """Of queries that are stored (`stored`): what they reached is their baseline from now on."""
    canaries.record(resources.session(found.tenant), _reached(found))


def reached(resources: Resources, tenant: str, kept: Sequence[Stored]) -> dict[str, list[tuple[float, float]]]:
    """Mode → for each of these queries, the nDCG@10 that is its baseline, and that of now."""
    from quality.rankings import DEPTH, ndcg
    from retrieval.request import MODES

    readers, found = _readers(resources, tenant), dict[str, list[tuple[float, float]]]()
    for mode in MODES:
        asked = [one for one in kept if mode in one.baseline]
        rankings = [_ranking(resources, tenant, one.query, readers, mode, DEPTH) or [] for one in asked]
        found[mode] = [(one.baseline[mode], ndcg(of, one.judgements)) for one, of in zip(asked, rankings, strict=True)]
    return found


def _reached(found: Evaluation) -> dict[str, dict[str, float]]:
    from retrieval.evaluation import NDCG

    queries = {query for of in found.values.values() for query in of[NDCG]}
    return {query: {mode: of[NDCG][query] for mode, of in found.values.items()} for query in queries}


def against_mode(found: Evaluation, base: str) -> list[Compared]:
    """Every other mode less this one. Raises HeadraceError `bad-query` if it was not evaluated."""
    if base not in found.values:
        raise HeadraceError(f"the mode {base!r} was not evaluated", reason="bad-query", remedy="Name it with --mode too, or name a file.")
    return [_compared(mode, base, found.values[base], of) for mode, of in found.values.items() if mode != base]


def against_earlier(found: Evaluation, earlier: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[Compared]:
    """Each mode less itself in an earlier evaluation (`Evaluation.values`), over the queries that both have.

    Raises HeadraceError `bad-evaluation` if they have none in common.
    """
    modes = [mode for mode in found.values if mode in earlier]
    pairs = [(mode, earlier[mode], found.values[mode]) for mode in modes]
    if not pairs or any(not (of.keys() & mine.get(name, {}).keys()) for _, mine, theirs in pairs for name, of in theirs.items()):
        raise HeadraceError(
            "the earlier evaluation has no query, mode and measure in common with this one",
            reason="bad-evaluation",
            remedy="Evaluate the same queries, with the same --depth.",
        )
    return [_compared(mode, f"{mode} earlier", before, after) for mode, before, after in pairs]


def suggest(resources: Resources, tenant: str, most: int) -> list[Draft]:
    """At most so many drafts of queries from the tenant's own passages, the same ones for the same index. Raises TenantError.

    The document of a draft's passage is its id, or its key if its id is shown redacted.
    """
    from core.records import convert
    from events.digests import document_key
    from retrieval.suggestions import Source, drafts

    session = resources.session(tenant)
    with session.transaction() as connection:
        rows = connection.execute(_SQL["passages"], {"most": SAMPLED}).fetchall()
    for row in rows:
        key, name = row.pop("document"), row.pop("name")
        row["document"] = name if name.isprintable() and document_key(name, session.keys) == key else key
    return drafts([convert(row, Source) for row in rows], most)


def _ranking(resources: Resources, tenant: str, query: str, readers: Collection[str], mode: Mode, depth: int) -> list[str] | None:
    """The keys of the first `depth` documents; None if the query is longer than what search takes."""
    from pipelines.operations.search import documents
    from retrieval.request import SearchRequest

    try:
        return documents(resources, tenant, SearchRequest(query, list(readers), mode), depth)
    except HeadraceError as error:
        if error.reason not in ("text-too-long", "bad-query"):
            raise
    return None


def _readers(resources: Resources, tenant: str) -> list[str]:
    with resources.readers.tenant(tenant) as connection:
        return [row["principal"] for row in connection.execute(_SQL["readers"])]


def _by_key(session: Session, grades: Mapping[str, Mapping[str, int]]) -> tuple[dict[str, dict[str, int]], int]:
    """The grades by document key, and how many relevant documents the active generation does not have."""
    from events.digests import document_key

    names = {name for of_one in grades.values() for name in of_one}
    keys = {name: document_key(name, session.keys) for name in names}
    known = indexed(session, [*names, *keys.values()])
    keys |= {name: name for name in names if name in known and keys[name] not in known}
    relevant = {keys[name] for of_one in grades.values() for name, grade in of_one.items() if grade > 0}
    return {query: {keys[name]: grade for name, grade in of_one.items()} for query, of_one in grades.items()}, len(relevant - known)


def indexed(session: Session, documents: Sequence[str]) -> set[str]:
    """Those of these keys whose documents the active generation has."""
    with session.transaction() as connection:
        return {row["document"] for row in connection.execute(_SQL["indexed"], {"documents": list(documents)})}


def _whole(kept: Stored) -> dict[str, int]:
    """Grades in hundredths: trec_eval takes whole numbers, and their ratios alone count."""
    return {document: round(100 * grade) for document, grade in kept.judgements.items()}


def _compared(mode: str, against: str, before: Mapping[str, Mapping[str, float]], after: Mapping[str, Mapping[str, float]]) -> Compared:
    from retrieval.evaluation import difference

    return Compared(mode, against, {name: difference(before[name], of) for name, of in after.items()})


_SQL = statements("pipelines.operations", "sql/evaluate.sql")
