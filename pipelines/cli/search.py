"""`headrace search`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.cli.installation import opened
from pipelines.cli.options import AsJson, Tenant, callers_principals
from pipelines.cli.output import out, print_json, progress, visible

if TYPE_CHECKING:
    from collections.abc import Iterator

    from retrieval.citations import Alike
    from retrieval.search import Passage


SearchMode = Literal["hybrid", "vector", "lexical"]


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
    as_json: AsJson = False,
) -> None:
    """Find the best passages that the caller may read, with citations."""
    import msgspec

    from pipelines.operations.search import ask

    readers = callers_principals("--as", caller or ())
    with opened() as headrace, progress(quiet=as_json) as report:
        report("searching …")
        passages = ask(headrace, tenant, query, readers, top, mode)
    if as_json:
        print_json([msgspec.to_builtins(passage) for passage in passages])
        return
    for rank, passage in enumerate(passages, 1):
        _print_passage(rank, passage)
    if not passages:
        out().print("[dim]nothing that this caller may read[/dim]")


def _print_passage(rank: int, passage: Passage) -> None:
    from rich.markup import escape

    out().print(f"[bold]{rank}.[/bold] [cyan]{passage.score:.3f}[/cyan] {escape(visible(' > '.join(passage.heading_path)))}")
    out().print(passage.text, markup=False)
    for cited in passage.citations:
        page = f", page {cited.page}" if cited.page else ""
        out().print(f"   — {visible(f'{cited.title or cited.document} ({cited.document}{page})')}", style="dim", markup=False)
    for line in _related(passage):
        out().print(f"   {visible(line)}", style="dim", markup=False)
    out().print(f"   chunk {passage.chunk}\n", style="dim", markup=False)


def _related(passage: Passage) -> Iterator[str]:
    """What a search has to say of a passage besides where it stands, one line for each kind."""
    if passage.left_out:
        yield f"boilerplate left out before this passage: {passage.left_out}"
    if passage.boilerplate:
        yield "boilerplate"
    if passage.alike:
        more = f"; and {passage.more_alike} more" if passage.more_alike else ""
        yield f"alike: {'; '.join(_alike(one) for one in passage.alike)}{more}"
    if passage.within:
        yield f"within: {', '.join(sorted({cited.document for longer in passage.within for cited in longer.citations}))}"


def _alike(one: Alike) -> str:
    documents = ", ".join(dict.fromkeys(cited.document for cited in one.citations))
    return f"{documents} {one.difference}" if one.difference else documents
