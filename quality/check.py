"""A check's result, for people and for Dagster. What is measured is in the other modules.

A result contains counts, shares and column names, and never a value from a document: a `Finding` takes a column's name, our own wording
and a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from core.errors import HeadraceError

Severity = Literal["warn", "error"]
Measure = float | int | str
Row = tuple[str, str, int]


class CheckError(HeadraceError):
    """The check could not measure, because its input has another shape. Says nothing about the data's quality."""

    reason = "check-not-measured"


@dataclass(frozen=True, slots=True)
class Finding:
    """One expectation of a check: the number of rows that violate it, and whether that is more than tolerated."""

    column: str
    expectation: str
    unexpected: int
    failed: bool
    severity: Severity = "error"


@dataclass(frozen=True, slots=True)
class Check:
    """A check's result. `table` has a row for each expectation: the column, the expectation, the number of rows that violate it.

    `distribution`: how many of what was measured there are of each kind, for a plot; empty if a plot would show nothing more.
    `severity` is that of the worst failed expectation. It is `error`, without a meaning, for a check that passed.
    """

    name: str
    passed: bool
    severity: Severity
    measured: Mapping[str, Measure]
    explanation: str
    table: tuple[Row, ...]
    distribution: Mapping[str, int] = field(default_factory=dict)

    def markdown(self) -> str:
        """The table in Markdown."""
        lines = ["| Column | Expectation | Unexpected |", "| --- | --- | ---: |"]
        return "\n".join(lines + [f"| {column} | {expectation} | {count:,} |" for column, expectation, count in self.table])


def expect(column: str, expectation: str, unexpected: int, *, tolerated: int = 0, severity: Severity = "error") -> Finding:
    """A finding that fails if more than `tolerated` rows violate it."""
    return Finding(column, expectation, int(unexpected), int(unexpected) > tolerated, severity)


def conclude(
    name: str,
    findings: Iterable[Finding],
    measured: Mapping[str, Measure],
    passed_message: str,
    distribution: Mapping[str, int] | None = None,
) -> Check:
    """The check with these findings. `passed_message` is its explanation if none of them failed."""
    findings = tuple(findings)
    failed = [finding for finding in findings if finding.failed]
    return Check(
        name=name,
        passed=not failed,
        severity="warn" if failed and all(finding.severity == "warn" for finding in failed) else "error",
        measured=dict(measured),
        explanation=_failed_message(failed) if failed else passed_message,
        table=tuple((finding.column, finding.expectation, finding.unexpected) for finding in findings),
        distribution=dict(distribution or {}),
    )


def _failed_message(failed: list[Finding]) -> str:
    violations = "; ".join(f"{finding.column} {finding.expectation} ({finding.unexpected:,})" for finding in failed)
    return f"Expectations violated: {violations}."
