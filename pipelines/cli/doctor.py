"""`headrace doctor`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from pipelines.cli.exit_codes import NOT_WELL
from pipelines.cli.options import AsJson
from pipelines.cli.output import out, print_json, progress

if TYPE_CHECKING:
    from pipelines.operations.doctor import Finding


def doctor(as_json: AsJson = False) -> None:
    """Check every service, role, extension, key and model, and print remedies."""
    from core.config import load
    from pipelines.operations.doctor import diagnose

    findings = []
    with progress(quiet=as_json) as report:
        report("checking …")
        for finding in diagnose(load()):
            findings.append(finding)
            if not as_json:
                _print(finding)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    if not all(finding.well for finding in findings):
        raise typer.Exit(NOT_WELL)


def _print(finding: Finding) -> None:
    from rich.markup import escape

    mark = "[green]✓[/green]" if finding.well else "[red]✗[/red]"
    out().print(f"{mark} [bold]{finding.what}[/bold]: {escape(finding.found)}")
    if finding.remedy:
        out().print(f"  → {finding.remedy}", markup=False)
