"""What is answered for later: erasing, what was erased, retention, and the audit log."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from pipelines.cli.control import IN_PART, opened, revoke
from pipelines.cli.output import builtins, out, print_json, print_record, print_rows, table

if TYPE_CHECKING:
    from pipelines.app import Headrace
    from pipelines.governance.receipts import Receipt

NOT_SO = 1
"""The exit code of a question that was answered with no."""


def erase(
    tenant: str, *, name: str | None, source: str | None, subject: bool, everything: bool, again: Path | None, receipt: Path, as_json: bool
) -> None:
    """Erase the one of these that is given, and write the receipt."""
    from pipelines.cli.receipt import reserved
    from pipelines.governance import erasure
    from pipelines.governance.receipts import as_written

    value = secret_line("Value") if subject else ""
    before = None if again is None else _read(again)
    with opened() as headrace, reserved(receipt) as write:
        if name is not None:
            erased = erasure.erase(headrace, tenant, name)
        elif source is not None:
            erased = erasure.erase_source(headrace, tenant, source)
        elif subject:
            erased = erasure.erase_subject(headrace, tenant, value)
        elif before is not None:
            erased = erasure.erase_again(headrace, tenant, before)
        else:
            erased = _everything(headrace, tenant)
        write(written := as_written(erased))
    _print_erased(written, receipt, as_json=as_json, of=everything)
    if not written["complete"]:
        raise typer.Exit(IN_PART)


def release(tenant: str, name: str, *, as_json: bool) -> None:
    from pipelines.governance.audit import recorded
    from pipelines.governance.quarantine import release as let_pass

    with opened() as headrace, recorded(headrace, "release", tenant) as act:
        document = let_pass(headrace, tenant, name)
        act.details.update(document=document)
    print_record({"tenant": tenant, "released": document}, as_json=as_json, title="The next run takes it")


def _everything(headrace: Headrace, tenant: str) -> Receipt:
    from pipelines.governance.erasure import erase_tenant
    from pipelines.governance.legal_hold import refuse_held

    refuse_held(headrace, tenant)
    # first: what cannot be published any more cannot come in between
    revoke(headrace, tenant)
    return erase_tenant(headrace, tenant)


def secret_line(asked: str) -> str:
    """One line of standard input; asked for without showing it where a person sits there."""
    if sys.stdin.isatty():
        return str(typer.prompt(asked, hide_input=True, err=True))
    return sys.stdin.readline().rstrip("\r\n")


def _print_erased(written: Mapping[str, Any], receipt: Path, *, as_json: bool, of: bool) -> None:
    if as_json:
        print_json(written)
        return
    rows = [{"store": store, **counts} for store, counts in written["stores"].items()]
    out().print(table(rows, f"Erased {'everything' if of else _counted(written['documents'])}; receipt in {receipt}"))
    if written.get("came_back"):
        out().print(f"{_counted(written['came_back'])} came back meanwhile, under a higher sequence.")
    if written.get("not_looked_at"):
        out().print(f"{_counted(written['not_looked_at'])} not looked at: not redacted yet. Let them pass or fail, then erase again.")


def _counted(documents: int) -> str:
    return f"{documents} document{'' if documents == 1 else 's'}"


def verify(receipt: Path, *, as_json: bool) -> None:
    """Look at the signature and at the stores again; exit with 1 where what the receipt says does not hold."""
    from pipelines.governance.receipts import verify as look

    told = _read(receipt)
    with opened() as headrace:
        found = builtins(look(headrace, told))
    if as_json:
        print_json(found)
    else:
        left = {store: count for store, count in found["stores"].items() if count}
        print_record({**found, "stores": left or "hold nothing of it"}, as_json=False, title=f"Receipt {receipt}")
    if not found["verified"]:
        raise typer.Exit(NOT_SO)


def _read(path: Path) -> dict[str, Any]:
    from pipelines.governance.receipts import bad_receipt

    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        raise bad_receipt() from None
    if not isinstance(told, dict):
        raise bad_receipt()
    return told


def retention(tenant: str | None, *, as_json: bool) -> None:
    """Let go what is old enough, now."""
    from pipelines.governance.retention import enforce

    with opened() as headrace:
        names = [tenant] if tenant else [found.tenant for found in headrace.tenants()]
        enforced = [enforce(headrace, name) for name in names]
    rows = [{"tenant": one.tenant, "held": one.held, "class": name, **asdict(row)} for one in enforced for name, row in one.classes.items()]
    shown = rows if as_json else [{**row, "days": row["days"] or "never"} for row in rows]
    print_rows(shown, as_json=as_json, title="Retention", empty="no tenants yet: `headrace tenant add NAME`")


def audit_list(tenant: str | None, limit: int, *, as_json: bool) -> None:
    from pipelines.governance.audit import entries

    with opened() as headrace:
        rows = entries(headrace, tenant, limit)
    shown = (
        rows
        if as_json
        else [{name: row[name] for name in ("number", "at", "actor", "action", "state", "tenant", "details")} for row in rows]
    )
    print_rows(shown, as_json=as_json, title="Audit log", empty="nothing was done yet")


def audit_verify(mark: str | None, *, as_json: bool) -> None:
    """Follow the chain; exit with 1 where it is broken."""
    from pipelines.governance.audit import parse_mark
    from pipelines.governance.audit import verify as follow

    kept = None if mark is None else parse_mark(mark)
    with opened() as headrace:
        verdict = follow(headrace, kept)
    print_record({"whole": verdict.whole, **asdict(verdict)}, as_json=as_json, title="Audit log")
    if not verdict.whole:
        raise typer.Exit(NOT_SO)
