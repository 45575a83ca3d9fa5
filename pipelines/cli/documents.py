"""Commands for one document: `headrace explain`, `headrace release`. Erasing one is in `pipelines.cli.erasure`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pipelines.cli.installation import opened
from pipelines.cli.options import AsJson, DocumentId, Tenant
from pipelines.cli.output import builtins, out, print_json, print_record, table, without


def explain(
    tenant: Tenant,
    name: Annotated[str, typer.Argument(metavar="ID", help="A document's id or key, or a chunk's id.")],
    as_json: AsJson = False,
) -> None:
    """Show a document's events, each stage's record, its place in index and graph, or why it is not there."""
    from pipelines.operations.explain import explain as explanations

    with opened() as headrace:
        found = [builtins(explanation) for explanation in explanations(headrace, tenant, name)]
    if as_json:
        print_json(found)
        return
    for document in found:
        out().print(f"[bold]{document['document']}[/bold]: {document['verdict']}")
        for part in ("state", "events", "stages", "signals", "index", "graph", "dead_letters"):
            _print_part(part, document[part])


_ONLY_IN_JSON = {
    "state": ("document", "revision", "sequence_explicit", "published", "appended_at", "landed_at"),
    "stages": ("input_key", "fingerprint", "output_key"),
}


def _print_part(part: str, value: Any) -> None:
    title, hidden = part.replace("_", " ").capitalize(), _ONLY_IN_JSON.get(part, ())
    if isinstance(value, dict) and value:
        print_record(without(value, hidden), as_json=False, title=title)
    elif value:
        out().print(table([without(row, hidden) for row in value], title))


def release(tenant: Tenant, name: DocumentId, as_json: AsJson = False) -> None:
    """Release the document's current content from quarantine."""
    from pipelines.governance.audit import recorded
    from pipelines.governance.quarantine import release as release_document

    with opened() as headrace, recorded(headrace, "release", tenant) as act:
        document = release_document(headrace, tenant, name)
        act.details.update(document=document)
    print_record({"tenant": tenant, "released": document}, as_json=as_json, title="The next run processes it")
