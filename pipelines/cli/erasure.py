"""`headrace erase`: erase and write a receipt, or verify one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.cli import receipts
from pipelines.cli.exit_codes import IN_PART
from pipelines.cli.installation import opened
from pipelines.cli.options import AsJson, Yes, confirm, secret_line
from pipelines.cli.output import out, print_json, table

if TYPE_CHECKING:
    from pipelines.app import Headrace
    from pipelines.governance.receipts import Receipt


def erase(
    tenant: Annotated[str | None, typer.Option("--tenant", "-t", help="The tenant's name.")] = None,
    name: Annotated[str | None, typer.Argument(metavar="[ID]", help="One document, by its id or key.")] = None,
    source: Annotated[str | None, typer.Option(metavar="URI", help="Every document of this source.")] = None,
    subject: Annotated[bool, typer.Option("--subject", help="Every document with the value on standard input.")] = False,
    everything: Annotated[bool, typer.Option("--everything", help="The tenant itself, its key first.")] = False,
    again: Annotated[Path | None, typer.Option(exists=True, help="The documents of this receipt, after a restore.")] = None,
    receipt: Annotated[Path | None, typer.Option(help="The file to write the receipt to; it must not exist.")] = None,
    verify: Annotated[Path | None, typer.Option(exists=True, help="Erase nothing: verify this receipt.")] = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Erase a document, or those of a source or a person, or a tenant, from every store, and write a signed receipt."""
    given = [bool(value) for value in (name, source, subject, again, everything)]
    if verify:
        if any(given) or tenant or receipt:
            raise typer.BadParameter("--verify takes no other options")
        receipts.verify(verify, as_json=as_json)
        return
    if given.count(True) != 1 or tenant is None or receipt is None:
        raise typer.BadParameter("give --tenant, --receipt, and one of ID, --source, --subject, --again and --everything")
    if everything:
        confirm(f"Delete tenant {tenant}, its key and all of its data?", yes)
    _erase(_eraser(tenant, name, source, again, subject=subject), receipt, everything=everything, as_json=as_json)


Eraser = Callable[["Headrace"], "Receipt"]


def _eraser(tenant: str, name: str | None, source: str | None, again: Path | None, *, subject: bool) -> Eraser:
    """The erasure that was asked for. What it needs is read before any server is: a value from standard input, a receipt's file."""
    from pipelines.governance import erasure

    if name:
        return lambda headrace: erasure.erase(headrace, tenant, name)
    if source:
        return lambda headrace: erasure.erase_source(headrace, tenant, source)
    if subject:
        value = secret_line("Value")
        return lambda headrace: erasure.erase_subject(headrace, tenant, value)
    if again:
        before = receipts.read(again)
        return lambda headrace: erasure.erase_again(headrace, tenant, before)
    return lambda headrace: _erase_tenant(headrace, tenant)


def _erase_tenant(headrace: Headrace, tenant: str) -> Receipt:
    from pipelines.cli import publishers
    from pipelines.governance.erasure import erase_tenant
    from pipelines.governance.legal_hold import refuse_held

    refuse_held(headrace, tenant)
    # first, so that nothing can be published meanwhile
    publishers.revoke(headrace, tenant)
    return erase_tenant(headrace, tenant)


def _erase(eraser: Eraser, path: Path, *, everything: bool, as_json: bool) -> None:
    from pipelines.governance.receipts import as_written

    with opened() as headrace, receipts.reserved(path) as write:
        receipt = eraser(headrace)
        write(as_written(receipt))
    if as_json:
        print_json(as_written(receipt))
    else:
        _print(receipt, path, everything=everything)
    if not receipt.complete:
        raise typer.Exit(IN_PART)


def _print(receipt: Receipt, path: Path, *, everything: bool) -> None:
    rows = [{"store": store, "before": counts.before, "after": counts.after} for store, counts in receipt.stores.items()]
    out().print(table(rows, f"Erased {'everything' if everything else _counted(receipt.documents)}; receipt in {path}"))
    if receipt.came_back:
        out().print(f"{_counted(receipt.came_back)} came back meanwhile, under a higher sequence.")
    if receipt.not_looked_at:
        out().print(f"{_counted(receipt.not_looked_at)} not looked at: not redacted yet. Erase again once they have passed or failed.")


def _counted(documents: int) -> str:
    return f"{documents} document{'' if documents == 1 else 's'}"
