"""A check's result, as a person and Dagster read it. What is measured, and how, stands in the other modules.

A result holds counts, shares and column names. A value that came out of a document has no way in: a `Finding` takes a column's
name, our own wording and a number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from core.errors import HeadraceError

Severity = Literal["warn", "error"]
Measure = float | int | str
Row = tuple[str, str, int]


class CheckError(HeadraceError):
    """The check could not measure: its input is not of the shape that it reads. Says nothing about the data's quality."""

    reason = "check-not-measured"


@dataclass(frozen=True, slots=True)
class Finding:
    """One expectation of a check: how many rows go against it, and whether that is more than it tolerates."""

    column: str
    expectation: str
    unexpected: int
    failed: bool
    severity: Severity = "error"


@dataclass(frozen=True, slots=True)
class Check:
    """What a check found. `table` has a row per expectation: the column, what is expected of it, how many rows are not so.

    `severity` is that of the worst failed expectation; of a check that passed it is `error`, and says nothing.
    """

    name: str
    passed: bool
    severity: Severity
    measured: Mapping[str, Measure]
    explanation: str
    table: tuple[Row, ...]

    def markdown(self) -> str:
        """The table in Markdown."""
        lines = ["| Column | Expectation | Unexpected |", "| --- | --- | ---: |"]
        return "\n".join(lines + [f"| {column} | {expectation} | {count:,} |" for column, expectation, count in self.table])


def expect(column: str, expectation: str, unexpected: int, *, tolerated: int = 0, severity: Severity = "error") -> Finding:
    """A finding that fails where more than `tolerated` rows go against it."""
    return Finding(column, expectation, int(unexpected), int(unexpected) > tolerated, severity)


def conclude(name: str, findings: Iterable[Finding], measured: Mapping[str, Measure], well: str) -> Check:
    """The check that these findings amount to; `well` is its sentence where none of them failed."""
    findings = tuple(findings)
    failed = [finding for finding in findings if finding.failed]
    return Check(
        name=name,
        passed=not failed,
        severity="warn" if failed and all(finding.severity == "warn" for finding in failed) else "error",
        measured=dict(measured),
        explanation=_complaint(failed) if failed else well,
        table=tuple((finding.column, finding.expectation, finding.unexpected) for finding in findings),
    )


def _complaint(failed: list[Finding]) -> str:
    said = "; ".join(f"{finding.column} {finding.expectation}: {finding.unexpected:,} not so" for finding in failed)
    return f"Not as expected: {said}."
