"""`headrace evaluate`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.cli.installation import opened
from pipelines.cli.options import AsJson, Tenant, callers_principals
from pipelines.cli.output import as_json_text, out, print_json, progress, table

if TYPE_CHECKING:
    from pipelines.app import Headrace
    from pipelines.operations.evaluate import Compared, Evaluation
    from retrieval.evaluation import Interval
    from retrieval.judgements import Judged
    from retrieval.request import Mode

SHOWN = 10
"""Queries of a comparison that are shown: those with the greatest changes."""


def evaluate(
    tenant: Tenant,
    queries: Annotated[Path | None, typer.Option(dir_okay=False, help="Queries, in BEIR's or TREC's format. Default: those kept.")] = None,
    judgements: Annotated[Path | None, typer.Option(dir_okay=False, help="Which documents answer them.")] = None,
    mode: Annotated[list[str] | None, typer.Option(help="A search mode; repeat it. Default: every one.")] = None,
    caller: Annotated[
        list[str] | None,
        typer.Option("--as", metavar="PRINCIPAL", help="A principal of the caller. Default: who can read anything counts."),
    ] = None,
    depth: Annotated[int, typer.Option(min=10, max=1000, help="The documents of a ranking.")] = 100,
    against: Annotated[
        str | None, typer.Option(metavar="MODE|FILE", help="Compare with this mode, or with an earlier output of --json.")
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the queries and what they reached, for the check retrieval_quality.")] = False,
    suggest: Annotated[int | None, typer.Option(min=1, max=1000, metavar="N", help="Write N drafts of queries to the two files.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure a tenant's search by judged queries, or draft queries from its own passages for people to judge."""
    if (queries is None) != (judgements is None):
        raise typer.BadParameter("--queries and --judgements go together")
    if suggest is not None:
        _suggest(tenant, suggest, queries, judgements, as_json=as_json)
        return
    earlier = _earlier(against) if against and Path(against).is_file() else None
    readers = callers_principals("--as", caller) if caller else None
    with opened() as headrace, progress(quiet=as_json) as report:
        from pipelines.operations import evaluate as operation

        judged = _judged(queries, judgements) if queries and judgements else operation.stored(headrace, tenant)
        found = operation.evaluate(headrace, tenant, judged, _modes(mode or ()), readers, depth, report)
        compared = _compared(found, against, earlier)
        if keep:
            _keep(headrace, judged, found, stored=queries is None)
    _print(judged, found, compared, as_json=as_json)


def _modes(given: Sequence[str]) -> list[Mode]:
    """Typer takes no list of literals."""
    from retrieval.request import MODES

    if unknown := [mode for mode in given if mode not in MODES]:
        raise typer.BadParameter(f"{unknown[0]!r} is not one of {', '.join(MODES)}", param_hint="--mode")
    return [mode for mode in MODES if mode in given]


def _judged(queries: Path, judgements: Path) -> Judged:
    from retrieval.judgements import grades_of, judged, queries_of

    return judged(queries_of(_text(queries, "--queries")), grades_of(_text(judgements, "--judgements")))


def _text(path: Path, option: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}", param_hint=option) from None
    except UnicodeError:
        raise typer.BadParameter(f"{path}: not UTF-8", param_hint=option) from None


def _earlier(against: str) -> Mapping[str, Any]:
    import msgspec

    try:
        found = msgspec.json.decode(_text(Path(against), "--against"), type=dict[str, Any])
        return msgspec.convert(found["values"], dict[str, dict[str, dict[str, float]]])
    except (msgspec.DecodeError, msgspec.ValidationError, KeyError):
        raise typer.BadParameter(f"{against}: no output of headrace evaluate --json", param_hint="--against") from None


def _compared(found: Evaluation, against: str | None, earlier: Mapping[str, Any] | None) -> list[Compared]:
    from pipelines.operations.evaluate import against_earlier, against_mode

    if earlier is not None:
        return against_earlier(found, earlier)
    return against_mode(found, against) if against else []


def _keep(headrace: Headrace, judged: Judged, found: Evaluation, *, stored: bool) -> None:
    from pipelines.operations import evaluate

    if stored:
        evaluate.keep_baseline(headrace, found)
    else:
        evaluate.keep(headrace, judged, found)


# ── output ───────────────────────────────────────────────────────────────────────────────────────────────────


def _print(judged: Judged, found: Evaluation, compared: Sequence[Compared], *, as_json: bool) -> None:
    import msgspec

    means = found.intervals()
    if as_json:
        print_json({**msgspec.to_builtins(found), "means": msgspec.to_builtins(means), "compared": msgspec.to_builtins(compared)})
        return
    rows = [{"mode": mode, **{name: _shown(of) for name, of in of_mode.items()}} for mode, of_mode in means.items()]
    out().print(table(rows, f"{found.queries} judged queries; a mean, and its 95% interval"))
    for line in _left_out(found):
        out().print(line, markup=False, style="yellow")
    for one in compared:
        _print_compared(judged, one)


def _left_out(found: Evaluation) -> Iterator[str]:
    if found.absent:
        yield f"{found.absent} relevant documents are not in the index, or nobody may read them"
    if found.unjudged or found.unasked:
        yield f"left out: {found.unjudged} queries without a relevant document, {found.unasked} judged queries without a text"
    for mode, queries in found.refused.items():
        if queries:
            yield f"{mode}: {queries} queries are longer than what the model reads, and count as 0"


def _print_compared(judged: Judged, one: Compared) -> None:
    from retrieval.evaluation import NDCG

    rows = [
        {"measure": name, "difference": _shown(of.interval, sign="+"), "better": of.better, "worse": of.worse, "equal": of.equal}
        for name, of in one.measures.items()
    ]
    out().print(table(rows, f"{one.mode} less {one.against}"))
    changes = sorted(one.measures[NDCG].changes, key=lambda change: -abs(change.after - change.before))[:SHOWN]
    if changes:
        shown = [
            {"query": change.query, "text": judged.queries.get(change.query, ""), "before": change.before, "after": change.after}
            for change in changes
        ]
        out().print(table(shown, f"The greatest changes of {NDCG}"))


def _shown(of: Interval, sign: str = "") -> str:
    mean = f"{of.mean:{sign}.3f}"
    return mean if of.low is None or of.high is None else f"{mean}  {of.low:{sign}.3f} to {of.high:{sign}.3f}"


# ── drafts ───────────────────────────────────────────────────────────────────────────────────────────────────


def _suggest(tenant: str, most: int, queries: Path | None, judgements: Path | None, *, as_json: bool) -> None:
    if queries is None or judgements is None:
        raise typer.BadParameter("--suggest writes to the files of --queries and --judgements")
    with opened() as headrace:
        from pipelines.operations.evaluate import suggest

        drafts = suggest(headrace, tenant, most)
    lines = [
        {"_id": f"d{at}", "text": draft.text, "metadata": {"passage": draft.source.text, "title": draft.source.title}}
        for at, draft in enumerate(drafts, 1)
    ]
    judged = ["query-id\tcorpus-id\tscore", *(f"d{at}\t{draft.source.document}\t1" for at, draft in enumerate(drafts, 1))]
    _write(queries, [as_json_text(line) for line in lines], "--queries")
    _write(judgements, judged, "--judgements")
    if as_json:
        print_json({"tenant": tenant, "drafts": len(drafts)})
    else:
        out().print(f"{len(drafts)} drafts: reword the queries, and judge the documents", markup=False)


def _write(path: Path, lines: Sequence[str], option: str) -> None:
    """Writes no file that is there: it may have people's judgements."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.writelines(f"{line}\n" for line in lines)
    except OSError as error:
        raise typer.BadParameter(f"{path}: {error.strerror}", param_hint=option) from None
