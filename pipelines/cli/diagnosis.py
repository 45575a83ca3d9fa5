"""`doctor`."""

from __future__ import annotations

from dataclasses import asdict

import typer

from pipelines.cli.output import out, print_json, progress

NOT_WELL = 6


def doctor(*, as_json: bool) -> None:
    """Print each finding as it is made; exit with 6 where one is not well."""
    from rich.markup import escape

    from core.config import load
    from pipelines.operations.doctor import diagnose

    findings = []
    with progress(quiet=as_json) as tell:
        tell("looking …")
        for finding in diagnose(load()):
            findings.append(finding)
            if not as_json:
                mark = "[green]✓[/green]" if finding.well else "[red]✗[/red]"
                out().print(f"{mark} [bold]{finding.what}[/bold]: {escape(finding.found)}")
                if finding.remedy:
                    out().print(f"  → {finding.remedy}", markup=False)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    if not all(finding.well for finding in findings):
        raise typer.Exit(NOT_WELL)
