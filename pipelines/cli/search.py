"""`headrace search`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import typer

from pipelines.cli.installation import opened
from pipelines.cli.options import AsJson, Tenant, callers_principals, point_in_time
from pipelines.cli.output import out, print_json, progress, visible
from pipelines.cli.running_server import searched

SearchMode = Literal["hybrid", "vector", "lexical"]
Expansion = Literal["none", "neighbours", "section", "table"]
Addition = Literal["scores", "rrf"]
Found = dict[str, Any]
"""An answer (`retrieval.answer.Answer`), or a part of one, as JSON has it."""


def search(
    tenant: Tenant,
    query: str,
    caller: Annotated[
        list[str] | None, typer.Option("--as", metavar="PRINCIPAL", help="A principal of the caller; repeat it, or give a list.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, max=1000, help="The number of passages.")] = 5,
    mode: Annotated[
        SearchMode, typer.Option(help="vector: the nearest in meaning. lexical: those with the query's words. hybrid: both.")
    ] = "hybrid",
    source: Annotated[list[str] | None, typer.Option(help="Only from this source; repeat it for others.")] = None,
    media_type: Annotated[list[str] | None, typer.Option(help="Only of this media type; repeat it for others.")] = None,
    language: Annotated[list[str] | None, typer.Option(help="Only in this language (ISO 639-1); repeat it for others.")] = None,
    path: Annotated[str, typer.Option(help="Only documents whose address begins with this.")] = "",
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="Only documents with this metadata; repeat it for more.")
    ] = None,
    since: Annotated[datetime | None, typer.Option(parser=point_in_time, metavar="WHEN", help="Only versions from then on.")] = None,
    until: Annotated[datetime | None, typer.Option(parser=point_in_time, metavar="WHEN", help="Only versions up to then.")] = None,
    cursor: Annotated[str, typer.Option(help="The next page: the cursor of the answer before.")] = "",
    expand: Annotated[Expansion, typer.Option(help="Also the text around each passage.")] = "none",
    rerank: Annotated[bool, typer.Option("--rerank", help="In the order of the configured reranker.")] = False,
    diversity: Annotated[float, typer.Option(min=0, max=1, help="How much passages that say the same are passed over.")] = 0.0,
    fusion: Annotated[Addition, typer.Option(help="How hybrid adds both sides: by scores, or by reciprocal ranks.")] = "scores",
    weight: Annotated[float | None, typer.Option(min=0, max=1, help="Of the cosine in hybrid. Default: by language.")] = None,
    least: Annotated[float | None, typer.Option(help="Only passages with this score or more.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="What each score is made of, and the terms that matched.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find the best passages that the caller may read, with citations."""
    filters = {
        "sources": source or [],
        "media_types": media_type or [],
        "languages": language or [],
        "path": path,
        "metadata": _metadata(metadata or ()),
        "since": since,
        "until": until,
    }
    asked = {
        "query": query,
        "mode": mode,
        "top": top,
        "filters": {name: value for name, value in filters.items() if value},
        "cursor": cursor,
        "expand": expand,
        "rerank": rerank,
        "diversity": diversity,
        "fusion": fusion,
        "weight": weight,
        "least": least,
        "explain": explain,
    }
    readers = callers_principals("--as", caller or ())
    with progress(quiet=as_json) as report:
        report("searching …")
        found = searched(tenant, readers, asked) or _answer(tenant, readers, asked)
    _print(found, as_json)


def _answer(tenant: str, readers: Sequence[str], asked: Mapping[str, Any]) -> Found:
    """From the index, as no server runs."""
    import msgspec

    from pipelines.operations.search import answer
    from retrieval.filters import Filters
    from retrieval.request import SearchRequest

    filters = msgspec.convert(asked["filters"], Filters)
    request = SearchRequest(principals=list(readers), **{**asked, "filters": filters})
    with opened() as headrace:
        found: Found = msgspec.to_builtins(answer(headrace, tenant, request))
        return found


def _metadata(pairs: Sequence[str]) -> dict[str, str]:
    if wrong := [pair for pair in pairs if "=" not in pair]:
        raise typer.BadParameter(f"metadata is KEY=VALUE, was: {wrong[0]!r:.200}")
    return {key: value for key, _, value in (pair.partition("=") for pair in pairs)}


def _print(answer: Found, as_json: bool) -> None:
    if as_json:
        print_json(answer)
        return
    for rank, passage in enumerate(answer["passages"], 1):
        _print_passage(rank, passage)
    for line in _about(answer):
        out().print(f"[dim]{line}[/dim]")


def _about(answer: Found) -> Iterator[str]:
    if not answer["passages"]:
        yield "nothing that this caller may read"
    if answer["undescribed"]:
        yield f"left out by the filters: {answer['undescribed']} documents that were indexed before there were filters"
    if answer["reranked"] in ("timed-out", "failed"):
        yield f"not reranked: {answer['reranked']}"
    if answer["cursor"]:
        yield f"more: --cursor {answer['cursor']}"


def _print_passage(rank: int, passage: Found) -> None:
    from rich.markup import escape

    out().print(f"[bold]{rank}.[/bold] [cyan]{passage['score']:.3f}[/cyan] {escape(visible(' > '.join(passage['heading_path'])))}")
    out().print(passage["expanded"] or passage["text"], markup=False)
    for cited in passage["citations"]:
        page, document = f", page {cited['page']}" if cited["page"] else "", cited["document"]
        name = cited["title"] or document
        out().print(f"   — {visible(f'{name} ({document}{page})')}", style="dim", markup=False)
    for line in _related(passage):
        out().print(f"   {visible(line)}", style="dim", markup=False)
    out().print(f"   chunk {passage['chunk']}\n", style="dim", markup=False)


def _related(passage: Found) -> Iterator[str]:
    """What a search has to say of a passage besides where it stands, one line for each kind."""
    from core.instructions import SUSPICIOUS

    if passage["matched"] is not None:
        yield f"score: {', '.join(f'{name} {value:.3f}' for name, value in _scores(passage['scores']))}"
        yield f"terms: {', '.join(passage['matched']['terms']) or 'none'}"
    if passage["instructions"] >= SUSPICIOUS:
        yield f"reads like instructions to a language model ({passage['instructions']:.2f})"
    if passage["left_out"]:
        yield f"boilerplate left out before this passage: {passage['left_out']}"
    if passage["boilerplate"]:
        yield "boilerplate"
    if passage["alike"]:
        more = f"; and {passage['more_alike']} more" if passage["more_alike"] else ""
        yield f"alike: {'; '.join(_alike(one) for one in passage['alike'])}{more}"
    if passage["within"]:
        yield f"within: {', '.join(sorted({cited['document'] for longer in passage['within'] for cited in longer['citations']}))}"


def _scores(parts: Found) -> list[tuple[str, float]]:
    found = {"cosine": parts["cosine"], "calibrated": parts["calibrated"], "BM25": parts["bm25"], "reranked": parts["reranked"]}
    return [(name, value) for name, value in found.items() if value is not None]


def _alike(one: Found) -> str:
    documents = ", ".join(dict.fromkeys(cited["document"] for cited in one["citations"]))
    return f"{documents} {one['difference']}" if one["difference"] else documents
