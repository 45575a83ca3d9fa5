"""Great Expectations suites for landed events and for chunks, and the function that runs a suite over a frame.

Great Expectations reads pandas and takes seconds to import, so it is imported at the first call; the context and the suites are cached for
the process. No text enters a suite (`quality.texts` measures texts before), and only counts come out.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from core.fates import FATES
from quality.check import Check, CheckError, Finding, Severity, conclude
from quality.texts import REPLACED

if TYPE_CHECKING:
    import polars as pl

OPERATIONS = ("upsert", "delete")

# a day: more than a time zone mistaken for UTC, less than a wrong clock
AHEAD_S = 86_400
# prose is at 0.95, source code at 0.75; below a half there are rules, dots or tables of signs
READABLE = 0.5

# required, except in dead letters
_REQUIRED = ["document", "operation", "sequence"]
_HEX_32 = "^[0-9a-f]{32}$"
_IS_HEX_32 = "is 32 hex characters"
_COUNTS_ONLY = {"result_format": "BASIC", "partial_unexpected_count": 0}

# a data source has one frame at a time: two threads would count each other's rows
_lock = Lock()


@cache
def landed_schema() -> dict[str, Any]:
    """The columns that `contract` reads, with their polars types. `event_time` may be null."""
    import polars as pl

    text = dict.fromkeys(("tenant", "topic", "document", "operation", "fate"), pl.String)
    time = dict.fromkeys(("event_time", "received_at"), pl.Datetime("us", "UTC"))
    return {**text, **dict.fromkeys(("partition", "offset", "sequence"), pl.Int64), **time}


@cache
def chunk_schema() -> dict[str, Any]:
    """The columns that `chunks` reads, with their polars types; one row for each stored chunk.

    `sources` is the number of a chunk's sources and `ordinal` the smallest among them (null without sources); `characters`, `readable` and
    `replaced` are the measures of `quality.texts.describe_texts`.
    """
    import polars as pl

    numbers = dict.fromkeys(("token_count", "ordinal", "sources", "characters"), pl.Int64)
    return {"text_hash": pl.String, **numbers, "readable": pl.Float64, "replaced": pl.Float64}


def contract(frame: pl.DataFrame) -> Check:
    """Do landed events keep the contract? One row for each event, with the columns of `landed_schema`; dead letters may lack some.

    Raises CheckError if the frame has other columns or types.
    """
    import polars as pl

    dead = pl.col("fate").fill_null("") == "dead-lettered"
    events = _conform(frame, landed_schema()).with_columns(
        event_time_ahead_s=(pl.col("event_time") - pl.col("received_at")).dt.total_seconds(),
        missing_fields=pl.when(dead).then(0).otherwise(pl.sum_horizontal(pl.col(_REQUIRED).is_null())),
    )
    fates = {fate: int((events["fate"] == fate).sum()) for fate in FATES}
    findings = _validate(events, _landed_suite)
    return conclude("contract", findings, {"rows": events.height, **fates}, f"All {events.height:,} landed events keep the contract.")


def chunk_quality(frame: pl.DataFrame, max_tokens: int) -> Check:
    """Are stored chunks fit to embed and to cite? One row for each chunk, with the columns of `chunk_schema`.

    Raises CheckError if the frame has other columns or types.
    """
    stored = _conform(frame, chunk_schema())
    tokens = stored["token_count"].drop_nulls().to_list()
    findings = _validate(stored, _chunk_suite, max_tokens)
    return conclude(
        "chunk_quality",
        findings,
        {"rows": stored.height, "tokens": sum(tokens), "tokens_max": max(tokens, default=0)},
        f"All {stored.height:,} chunks are fit to embed and to cite.",
    )


def _conform(frame: pl.DataFrame, schema: Mapping[str, Any]) -> pl.DataFrame:
    wrong = [column for column, dtype in schema.items() if frame.schema.get(column) != dtype]
    if wrong:
        raise CheckError(f"columns missing or of another type: {', '.join(wrong)}")
    return frame.select(list(schema))


@cache
def _landed_suite() -> Any:
    from great_expectations import expectations as gxe

    present = ("tenant", "topic", "partition", "offset", "fate", "received_at")
    place = ["topic", "partition", "offset"]
    return _suite(
        "landed_events",
        [
            *(gxe.ExpectColumnValuesToNotBeNull(column=column, description="is never null") for column in present),
            gxe.ExpectColumnValuesToBeBetween(column="missing_fields", max_value=0, description=f"is 0 (of {', '.join(_REQUIRED)})"),
            gxe.ExpectColumnValuesToMatchRegex(column="document", regex=_HEX_32, description=_IS_HEX_32),
            _at_least("partition", 0),
            _at_least("offset", 0),
            _at_least("sequence", 0),
            gxe.ExpectColumnValuesToBeInSet(
                column="operation", value_set=list(OPERATIONS), description=f"is one of {', '.join(OPERATIONS)}"
            ),
            gxe.ExpectColumnValuesToBeInSet(column="fate", value_set=list(FATES), description=f"is one of {', '.join(FATES)}"),
            gxe.ExpectColumnValuesToBeBetween(column="event_time_ahead_s", max_value=AHEAD_S, description="is at most a day"),
            gxe.ExpectCompoundColumnsToBeUnique(column_list=place, description="is unique"),
        ],
    )


@cache
def _chunk_suite(max_tokens: int) -> Any:
    from great_expectations import expectations as gxe

    within = f"is between 1 and {max_tokens}"
    readable = f"is at least {READABLE} in 95 of 100 chunks"
    replaced = f"is at most {REPLACED} in 99 of 100 chunks"
    return _suite(
        "chunks",
        [
            *(gxe.ExpectColumnValuesToNotBeNull(column=column, description="is never null") for column in ("text_hash", "token_count")),
            gxe.ExpectColumnValuesToMatchRegex(column="text_hash", regex=_HEX_32, description=_IS_HEX_32),
            gxe.ExpectColumnValuesToBeBetween(column="token_count", min_value=1, max_value=max_tokens, description=within),
            _at_least("characters", 1),
            _at_least("ordinal", 0),
            _at_least("sources", 1),
            gxe.ExpectColumnValuesToBeBetween(column="readable", min_value=READABLE, mostly=0.95, severity="warning", description=readable),
            gxe.ExpectColumnValuesToBeBetween(column="replaced", max_value=REPLACED, mostly=0.99, severity="warning", description=replaced),
        ],
    )


def _at_least(column: str, least: int) -> Any:
    from great_expectations import expectations as gxe

    return gxe.ExpectColumnValuesToBeBetween(column=column, min_value=least, description=f"is at least {least}")


def _suite(name: str, expectations: Sequence[Any]) -> Any:
    from great_expectations import ExpectationSuite

    return ExpectationSuite(name=name, expectations=list(expectations))


@cache
def _batch_definition() -> Any:
    """Turns frames into batches, in an in-memory context without output or network access.

    Importing Great Expectations redirects all warnings of the process to logging; this is undone.
    """
    shown = warnings.showwarning
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    if warnings.showwarning is not shown:
        logging.captureWarnings(capture=False)
    context = gx.get_context(mode="ephemeral")
    context.enable_analytics(enable=False)
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    return context.data_sources.add_pandas("frames").add_dataframe_asset("frame").add_batch_definition_whole_dataframe("whole")


def _validate(frame: pl.DataFrame, suite: Any, *arguments: int) -> list[Finding]:
    with _lock:
        batch = _batch_definition().get_batch({"dataframe": frame.to_pandas()})
        outcome = batch.validate(suite(*arguments), result_format=_COUNTS_ONLY)
    return [_finding(result) for result in outcome.results]


def _finding(result: Any) -> Finding:
    """Counts with our own wording. The exception of a broken expectation may quote a value, so it is not part of the CheckError."""
    expectation = result.expectation_config
    column = expectation.kwargs.get("column") or ", ".join(expectation.kwargs["column_list"])
    if result.exception_info.get("raised_exception", True):
        raise CheckError(f"Great Expectations could not evaluate: {column} {expectation.description}")
    severity: Severity = "warn" if expectation.severity == "warning" else "error"
    return Finding(column, expectation.description, int(result.result["unexpected_count"]), not result.success, severity)
