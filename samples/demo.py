"""`make demo`: two tenants' documents from Kafka to cited answers, on real servers, in about a minute.

Every step shows what it found and fails the demo where that is not what it should be.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from core.config import Settings, load
from core.errors import HeadraceError
from core.tenancy import Row
from pipelines.app import Headrace
from samples import DOCUMENTS, FOLDER

TENANTS = ("acme", "globex")
PRIVATE = "board/minutes.md"
EDITED = "maintenance/t400.md"
SHARED = "policies/supplier-code.md"
ERASED = "letters/letter-jane.roe@example.com.txt"
BOARD = "group:board"

say = Console(highlight=False)


def main() -> None:
    os.environ.setdefault("HEADRACE_CONFIG", str(FOLDER / "headrace.toml"))
    started = time.perf_counter()
    try:
        run(load())
    except HeadraceError as error:
        say.print(f"[red]{error}[/red]")
        sys.exit(1)
    say.print(f"\nDone in {time.perf_counter() - started:.0f} s. The servers still run. Next:")
    say.print("  .venv/bin/headrace --config samples/headrace.toml ui       [dim]# Dagster: the way, run by run[/dim]")
    say.print('  .venv/bin/headrace --config samples/headrace.toml search --tenant acme "guide bearing grease"')
    say.print("  .venv/bin/headrace --config samples/headrace.toml down     [dim]# stop the servers[/dim]")


def run(settings: Settings) -> None:
    """The whole demo on these settings. Raises HeadraceError (`demo-failed`) where a step does not show what it should."""
    import services
    from core.schema.migrate import migrate

    step("Servers: Postgres, Kafka and Neo4j, real and local")
    endpoints = services.up(settings, lambda line: say.print(f"  [dim]{line}[/dim]"))
    migrate(endpoints.postgres_owner.get_secret_value())
    with Headrace(settings, endpoints) as headrace:
        fresh_tenants(headrace)
        sequence = publish_all(headrace)
        ingest_all(headrace)
        surrogates_differ(headrace)
        answers(headrace)
        private_document(headrace)
        edit_one_paragraph(headrace, sequence + 1)
        late_event(headrace, sequence)
        erase_one(headrace)
        corrupt_file(headrace)
        graph_counts(headrace)


def fresh_tenants(headrace: Headrace) -> None:
    from pipelines.governance import tenants

    step("Two tenants, each with its own roles, partitions, key, topic and publisher")
    there = {tenant.tenant for tenant in headrace.tenants()}
    for tenant in TENANTS:
        if tenant in there:
            tenants.remove(headrace, tenant)
        tenants.add(headrace, tenant)
        say.print(f"  {tenant}")


def publish_all(headrace: Headrace) -> int:
    """Every sample, by each tenant's own publisher. Gives their sequence."""
    step("Publish: CloudEvents on Kafka, by a principal that may write to its tenant's topic alone")
    sequence = int(time.time())
    for tenant in TENANTS:
        files = documents(tenant)
        publish(headrace, tenant, {name: path.read_bytes() for name, path in files.items()}, sequence)
        formats = sorted({path.suffix for path in files.values()})
        say.print(f"  {tenant}: {len(files)} documents, {len(formats)} formats ({' '.join(formats)})")
    return sequence


def documents(tenant: str) -> dict[str, Path]:
    """Document id → file."""
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
    step("Ingest: land, parse, redact, chunk, embed, index, graph")
    for tenant in TENANTS:
        landed, reports = headrace.ingest(tenant)
        say.print(f"  [bold]{tenant}[/bold]: {landed.events} events, {dict(landed.fates)}")
        show([stage_row(report) for report in reports.values()])
        expect(reports["index"].done > 0 and not any(report.unavailable for report in reports.values()), "documents were indexed")


def stage_row(report: Any) -> dict[str, Any]:
    counted = ", ".join(f"{name} {count}" for name, count in report.tally.items() if count)
    return {"stage": report.stage, "done": report.done, "failed": report.failed, "seconds": f"{report.seconds:.2f}", "counted": counted}


def surrogates_differ(headrace: Headrace) -> None:
    step("Redacted: one document of both tenants, one address in it, two surrogates")
    texts = {tenant: passages_of(headrace, tenant, SHARED) for tenant in TENANTS}
    found = {tenant: sorted({word for word in text.split() if "<EMAIL:" in word}) for tenant, text in texts.items()}
    for tenant, text in texts.items():
        line = next(line for line in text.splitlines() if "<EMAIL:" in line)
        say.print(f"  [bold]{tenant}[/bold]: {line}", markup=True)
    expect(bool(found["acme"]) and not set(found["acme"]) & set(found["globex"]), "the same address has a surrogate per tenant")


def passages_of(headrace: Headrace, tenant: str, name: str) -> str:
    """A document's chunks as the index holds them."""
    from core.sql import statements
    from pipelines.operations.explain import find

    document = find(headrace, tenant, name)[0]
    with headrace.session(tenant).transaction() as connection:
        rows: list[Row] = connection.execute(statements("samples", "demo.sql")["passages"], {"document": document}).fetchall()
    return "\n".join(row["text"] for row in rows)


def answers(headrace: Headrace) -> None:
    from pipelines.operations.search import ask

    step("Questions, answered with citations")
    questions = json.loads((FOLDER / "questions.json").read_text(encoding="utf-8"))
    for tenant in TENANTS:
        for question in questions[tenant]:
            passage = ask(headrace, tenant, question["question"], top=1)[0]
            cited = [citation.document for citation in passage.citations]
            say.print(f"  [bold]{tenant}[/bold]: {question['question']}")
            say.print(f"    {shortened(passage.text, question['answer'])}", markup=False)
            say.print(f"    [dim]— {', '.join(cited)}, chunk {passage.chunk}[/dim]")
            expect(bool(set(cited) & set(question["documents"])), "the best passage is cited from the right document")


def shortened(text: str, around: str) -> str:
    """The sentence or so that holds the answer, on one line."""
    flat = " ".join(text.split())
    at = max(0, flat.lower().find(around.lower()))
    start = max(0, at - 60)
    return ("…" if start else "") + flat[start : at + len(around) + 60] + "…"


def private_document(headrace: Headrace) -> None:
    step("A private document, and a principal who may not read it")
    strangers, board = (readable(headrace, principals) for principals in ([], [BOARD]))
    say.print(f"  as nobody in particular: {sorted(strangers)}")
    say.print(f"  as {BOARD}: {sorted(board)}")
    expect(PRIVATE not in strangers and PRIVATE in board, "only the board sees its minutes")


def readable(headrace: Headrace, principals: Sequence[str]) -> set[str]:
    from pipelines.operations.search import ask

    passages = ask(headrace, "acme", "minutes of the board meeting", principals, top=5)
    return {citation.document for passage in passages for citation in passage.citations}


def edit_one_paragraph(headrace: Headrace, sequence: int) -> None:
    step("Edit one paragraph: only what changed is embedded again")
    text = documents("acme")[EDITED].read_text(encoding="utf-8")
    paragraph = next(part for part in text.split("\n\n") if "250 operating hours" in part)
    edited = text.replace(paragraph, paragraph.replace("250 operating hours", "200 operating hours"))
    publish(headrace, "acme", {EDITED: edited.encode()}, sequence)
    _, reports = headrace.ingest("acme")
    chunks, embedded = reports["index"].tally["chunks"], reports["embed"].tally["embedded"]
    say.print(f"  {reports['parse'].done} document parsed, {chunks} chunks, [bold]{embedded}[/bold] embedded")
    expect(reports["parse"].done == 1 and 0 < embedded < chunks, "an edit embeds less than the document")


def late_event(headrace: Headrace, sequence: int) -> None:
    step("A late event: an older sequence does not overwrite a newer one")
    publish(headrace, "acme", {EDITED: b"# An older version\n\nIt arrives late."}, sequence - 1)
    landed, _ = headrace.ingest("acme")
    say.print(f"  fate: {dict(landed.fates)}")
    expect(landed.fates["superseded"] == 1, "a late event is superseded")


def erase_one(headrace: Headrace) -> None:
    from pipelines.governance.erasure import erase

    step("Erase a document: gone from every store, with a receipt")
    receipt = erase(headrace, "acme", ERASED)
    path = headrace.settings.data_dir / "receipt.json"
    path.write_text(json.dumps(receipt, indent=2) + "\n", encoding="utf-8")
    show([{"store": store, **counts} for store, counts in receipt["stores"].items()])
    say.print(f"  receipt: {path}")
    expect(receipt["complete"] and receipt["stores"]["chunks"]["before"] > 0, "nothing of the document is left")


def corrupt_file(headrace: Headrace) -> None:
    from pipelines.operations.explain import letters

    step("A corrupt file stopped nobody: it is a dead letter with a reason")
    rows = letters(headrace, "acme")
    show([{key: row[key] for key in ("position", "stage", "reason", "detail", "attempts")} for row in rows])
    expect([row["reason"] for row in rows] == ["corrupt-document"], "the corrupt file, and nothing else, is a dead letter")


def graph_counts(headrace: Headrace) -> None:
    step("The knowledge graph in Neo4j")
    for tenant in TENANTS:
        counts = headrace.models.projection.counts(tenant)
        say.print(f"  [bold]{tenant}[/bold]: " + ", ".join(f"{name} {count}" for name, count in counts.items()))
        expect(sum(counts.values()) > 0, "the graph holds something")


def step(title: str) -> None:
    say.print(f"\n[bold cyan]▸ {title}[/bold cyan]")


def show(rows: Sequence[dict[str, Any]]) -> None:
    from pipelines.cli.output import table

    say.print(table(rows))


def expect(held: bool, what: str) -> None:
    if not held:
        raise HeadraceError(f"the demo expected that {what}", reason="demo-failed", remedy="`headrace doctor` may say why.")


if __name__ == "__main__":
    main()
