"""`make demo`: two tenants' documents from Kafka to cited answers, on real servers, in about a minute.

Each step prints its results, and raises HeadraceError (`demo-failed`) if they are not the expected ones.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from core.config import Settings, load
from core.errors import HeadraceError
from core.principals import Principals
from core.sql import statements
from core.tenancy import Row
from pipelines.app import Headrace
from samples import DOCUMENTS, FOLDER

TENANTS = ("acme", "globex")
PRIVATE = "board/minutes.md"
EDITED = "maintenance/t400.md"
SHARED = "policies/supplier-code.md"
ERASED = "letters/letter-jane.roe@example.com.txt"
BOARD = "group:board"

console = Console(highlight=False)


def main() -> None:
    os.environ.setdefault("HEADRACE_CONFIG", str(FOLDER / "headrace.toml"))
    started = time.perf_counter()
    try:
        run(load())
    except HeadraceError as error:
        console.print(f"[red]{error}[/red]")
        sys.exit(1)
    console.print(f"\nDone in {time.perf_counter() - started:.0f} s. The servers are still running. Try next:")
    console.print("  .venv/bin/headrace --config samples/headrace.toml ui       [dim]# the pipeline in Dagster, run by run[/dim]")
    console.print('  .venv/bin/headrace --config samples/headrace.toml search --tenant acme "guide bearing grease"')
    console.print("  .venv/bin/headrace --config samples/headrace.toml down     [dim]# stop the servers[/dim]")


def run(settings: Settings) -> None:
    """Run the whole demo with these settings. Raises HeadraceError; the reason is `demo-failed` if a step has unexpected results."""
    import services
    from core.schema.migrate import migrate

    step("Start the servers: Postgres, Kafka and Neo4j, on this machine")
    endpoints = services.up(settings, lambda line: console.print(f"  [dim]{line}[/dim]"))
    migrate(endpoints.postgres_owner.get_secret_value())
    with Headrace(settings, endpoints) as headrace:
        recreate_tenants(headrace)
        sequence = publish_all(headrace)
        ingest_all(headrace)
        compare_surrogates(headrace)
        answer_questions(headrace)
        search_private_document(headrace)
        edit_one_paragraph(headrace, sequence + 1)
        publish_late_event(headrace, sequence)
        erase_document(headrace)
        show_dead_letters(headrace)
        count_graph(headrace)


def recreate_tenants(headrace: Headrace) -> None:
    from pipelines.governance import tenants

    step("Create two tenants, each with its own roles, partitions, encryption key, topic and publisher")
    existing = {tenant.tenant for tenant in headrace.tenants()}
    for tenant in TENANTS:
        if tenant in existing:
            tenants.remove(headrace, tenant)
        tenants.add(headrace, tenant)
        console.print(f"  {tenant}")


def publish_all(headrace: Headrace) -> int:
    """Publish every sample as each tenant's own publisher. Returns the sequence of the events."""
    step("Publish documents: CloudEvents on Kafka, from a publisher that can write only to its tenant's topic")
    sequence = int(time.time())
    for tenant in TENANTS:
        files = documents(tenant)
        publish(headrace, tenant, {name: path.read_bytes() for name, path in files.items()}, sequence)
        formats = sorted({path.suffix for path in files.values()})
        console.print(f"  {tenant}: {len(files)} documents, {len(formats)} formats ({' '.join(formats)})")
    return sequence


def documents(tenant: str) -> dict[str, Path]:
    """Return the tenant's sample files by document id."""
    folder = DOCUMENTS / tenant
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def publish(headrace: Headrace, tenant: str, contents: dict[str, bytes], sequence: int) -> None:
    import services
    from events.publish import Publisher

    username, password = services.authorize_publisher(headrace.settings, tenant)
    client = headrace.endpoints.kafka_client() | {"sasl.username": username, "sasl.password": password}
    with Publisher(client, tenant, f"demo:{tenant}") as publisher:
        for name, content in contents.items():
            acl = [BOARD] if name == PRIVATE else None
            publisher.upsert(name, content=content, file_name=Path(name).name, sequence=sequence, acl=acl)


def ingest_all(headrace: Headrace) -> None:
    step("Ingest: land the events, then parse, redact, chunk, embed, index, and build the graph")
    for tenant in TENANTS:
        landed, reports = headrace.ingest(tenant)
        console.print(f"  [bold]{tenant}[/bold]: {landed.events} events landed: {counts(landed.fates)}")
        show([stage_row(report) for report in reports.values()])
        expect(
            reports["index"].done > 0 and not any(report.unavailable for report in reports.values()),
            "documents are indexed, and no server is unavailable",
        )


def stage_row(report: Any) -> dict[str, Any]:
    seconds = f"{report.seconds:.2f}"
    return {"stage": report.stage, "done": report.done, "failed": report.failed, "seconds": seconds, "counts": counts(report.tally)}


def counts(tally: Mapping[str, int]) -> str:
    """Return the counts that are not zero, on one line."""
    return ", ".join(f"{name} {count}" for name, count in tally.items() if count)


def compare_surrogates(headrace: Headrace) -> None:
    step("Redaction: the same e-mail address in the same document has a different surrogate for each tenant")
    texts = {tenant: passages_of(headrace, tenant, SHARED) for tenant in TENANTS}
    found = {tenant: sorted({word for word in text.split() if "<EMAIL:" in word}) for tenant, text in texts.items()}
    for tenant, text in texts.items():
        line = next(line for line in text.splitlines() if "<EMAIL:" in line)
        console.print(f"  [bold]{tenant}[/bold]: {line}", markup=True)
    expect(bool(found["acme"]) and not set(found["acme"]) & set(found["globex"]), "the address has a different surrogate for each tenant")


def passages_of(headrace: Headrace, tenant: str, name: str) -> str:
    """Return the text of a document's chunks, as stored in the index."""
    from pipelines.documents import find

    document = find(headrace, tenant, name)[0]
    with headrace.session(tenant).transaction() as connection:
        rows: list[Row] = connection.execute(_SQL["passages"], {"document": document}).fetchall()
    return "\n".join(row["text"] for row in rows)


def answer_questions(headrace: Headrace) -> None:
    from pipelines.operations.search import ask

    step("Ask questions: each answer is a passage with its citations")
    questions = json.loads((FOLDER / "questions.json").read_text(encoding="utf-8"))
    for tenant in TENANTS:
        for question in questions[tenant]:
            passage = ask(headrace, tenant, question["question"], top=1)[0]
            cited = [citation.document for citation in passage.citations]
            console.print(f"  [bold]{tenant}[/bold]: {question['question']}")
            console.print(f"    {shortened(passage.text, question['answer'])}", markup=False)
            console.print(f"    [dim]— {', '.join(cited)}, chunk {passage.chunk}[/dim]")
            expect(bool(set(cited) & set(question["documents"])), "the best passage is cited from a document that answers the question")


def shortened(text: str, around: str) -> str:
    """Return the part of a text around the answer, on one line."""
    flat = " ".join(text.split())
    at = max(0, flat.lower().find(around.lower()))
    start = max(0, at - 60)
    return ("…" if start else "") + flat[start : at + len(around) + 60] + "…"


def search_private_document(headrace: Headrace) -> None:
    step("Search for a private document, with and without permission to read it")
    public, board = (found_documents(headrace, principals) for principals in ([], [BOARD]))
    console.print(f"  without any principal: {sorted(public)}")
    console.print(f"  as {BOARD}: {sorted(board)}")
    expect(PRIVATE not in public and PRIVATE in board, "only the board finds its minutes")


def found_documents(headrace: Headrace, principals: Principals) -> set[str]:
    from pipelines.operations.search import ask

    passages = ask(headrace, "acme", "minutes of the board meeting", principals, top=5)
    return {citation.document for passage in passages for citation in passage.citations}


def edit_one_paragraph(headrace: Headrace, sequence: int) -> None:
    step("Edit one paragraph: only the changed chunks are embedded again")
    text = documents("acme")[EDITED].read_text(encoding="utf-8")
    paragraph = next(part for part in text.split("\n\n") if "250 operating hours" in part)
    edited = text.replace(paragraph, paragraph.replace("250 operating hours", "200 operating hours"))
    publish(headrace, "acme", {EDITED: edited.encode()}, sequence)
    _, reports = headrace.ingest("acme")
    chunks, embedded = reports["index"].tally["chunks"], reports["embed"].tally["embedded"]
    console.print(f"  {reports['parse'].done} document parsed, {chunks} chunks, [bold]{embedded}[/bold] embedded")
    expect(reports["parse"].done == 1 and 0 < embedded < chunks, "the edit embeds fewer chunks than the document has")


def publish_late_event(headrace: Headrace, sequence: int) -> None:
    step("Publish a late event: an older version never overwrites a newer one")
    publish(headrace, "acme", {EDITED: b"# An older version\n\nIt arrives late."}, sequence - 1)
    landed, _ = headrace.ingest("acme")
    console.print(f"  fate: {counts(landed.fates)}")
    expect(landed.fates["superseded"] == 1, "the late event is superseded")


def erase_document(headrace: Headrace) -> None:
    from pipelines.governance.erasure import erase
    from pipelines.governance.receipts import as_written

    step("Erase a document: it is deleted from every store, with a receipt")
    receipt = as_written(erase(headrace, "acme", ERASED))
    path = headrace.settings.data_dir / "receipt.json"
    path.write_text(json.dumps(receipt, indent=2) + "\n", encoding="utf-8")
    show([{"store": store, **counts} for store, counts in receipt["stores"].items()])
    console.print(f"  receipt: {path}")
    expect(receipt["complete"] and receipt["stores"]["chunks"]["before"] > 0, "the document was stored, and nothing of it is left")


def show_dead_letters(headrace: Headrace) -> None:
    from pipelines.operations.dead_letters import open_letters

    step("A corrupt file does not stop the others: it becomes a dead letter with a reason")
    letters = open_letters(headrace, "acme")
    show([{key: getattr(letter, key) for key in ("position", "stage", "reason", "detail", "attempts")} for letter in letters])
    expect([letter.reason for letter in letters] == ["corrupt-document"], "the corrupt file is the only dead letter")


def count_graph(headrace: Headrace) -> None:
    step("The knowledge graph in Neo4j: nodes and edges of each tenant")
    for tenant in TENANTS:
        graph = headrace.models.projection.counts(tenant)
        console.print(f"  [bold]{tenant}[/bold]: {counts(graph)}")
        expect(sum(graph.values()) > 0, "the graph is not empty")


def step(title: str) -> None:
    console.print(f"\n[bold cyan]▸ {title}[/bold cyan]")


def show(rows: Sequence[dict[str, Any]]) -> None:
    from pipelines.cli.output import table

    console.print(table(rows))


def expect(condition: bool, expectation: str) -> None:
    """Raises HeadraceError (`demo-failed`) unless the condition is true."""
    if not condition:
        raise HeadraceError(f"the demo expected that {expectation}", reason="demo-failed", remedy="Run `headrace doctor`.")


_SQL = statements("samples", "demo.sql")

if __name__ == "__main__":
    main()
