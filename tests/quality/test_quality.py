"""Every check passes on good input, fails on each kind of bad input, and reveals no value of a document."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

import quality
from core.policy import Reading
from core.records import Signals
from quality import Check, CheckError

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
CANARY = "canary-7Q"


def failed(check: Check) -> dict[str, int]:
    """The violations by column, of the table's rows that have any."""
    return {column: count for column, _, count in check.table if count}


def shown(check: Check) -> str:
    return " ".join((check.name, check.markdown(), check.explanation, repr(check.measured), repr(check)))


def event(number: int, **changes: object) -> dict[str, object]:
    landed: dict[str, object] = {
        "tenant": "acme",
        "topic": "documents.acme",
        "partition": 0,
        "offset": number,
        "document": f"{number:032x}",
        "sequence": number,
        "operation": "upsert",
        "fate": "landed",
        "event_time": NOW,
        "received_at": NOW,
    }
    return landed | changes


def events(*changes: Mapping[str, object]) -> pl.DataFrame:
    rows = [event(number, **change) for number, change in enumerate(({}, {}, *changes))]
    return pl.DataFrame(rows, schema=quality.landed_schema())


def chunk(number: int, **changes: object) -> dict[str, object]:
    stored: dict[str, object] = {
        "text_hash": f"{number:032x}",
        "token_count": 120,
        "ordinal": number,
        "sources": 1,
        "characters": 600,
        "readable": 0.95,
        "replaced": 0.0,
    }
    return stored | changes


def chunks(*changes: Mapping[str, object]) -> pl.DataFrame:
    rows = [chunk(number, **change) for number, change in enumerate(({}, {}, *changes))]
    return pl.DataFrame(rows, schema=quality.chunk_schema())


def unit_vectors(n: int, dimension: int = 16, seed: int = 0) -> NDArray[np.float32]:
    drawn = np.random.default_rng(seed).normal(size=(n, dimension))
    unit: NDArray[np.float32] = (drawn / np.linalg.norm(drawn, axis=1, keepdims=True)).astype(np.float32)
    return unit


@pytest.mark.slow
class TestLandedEvents:
    def test_events_that_keep_the_contract_pass(self) -> None:
        check = quality.contract(events({"operation": "delete", "fate": "superseded"}, {"event_time": None}))
        assert check.passed
        assert not failed(check)
        assert check.measured == {"rows": 4, "landed": 3, "unchanged": 0, "superseded": 1, "unknown-document": 0, "dead-lettered": 0}

    @pytest.mark.parametrize(
        ("change", "column", "count"),
        [
            ({"tenant": None}, "tenant", 1),
            ({"topic": None}, "topic", 1),
            ({"received_at": None}, "received_at", 1),
            ({"document": None}, "missing_fields", 1),
            ({"document": CANARY}, "document", 1),
            ({"document": "A" * 32}, "document", 1),
            ({"document": "a" * 33}, "document", 1),
            ({"sequence": -1}, "sequence", 1),
            ({"sequence": None}, "missing_fields", 1),
            ({"operation": CANARY}, "operation", 1),
            ({"operation": None}, "missing_fields", 1),
            ({"fate": CANARY}, "fate", 1),
            ({"fate": None}, "fate", 1),
            ({"offset": -1}, "offset", 1),
            ({"partition": -1}, "partition", 1),
            ({"event_time": NOW + timedelta(days=2)}, "event_time_ahead_s", 1),
            ({"offset": 0}, "topic, partition, offset", 2),
        ],
    )
    def test_each_breach_is_an_error_and_counted_under_its_column(self, change: dict[str, object], column: str, count: int) -> None:
        check = quality.contract(events(change))
        assert not check.passed
        assert check.severity == "error"
        assert failed(check) == {column: count}
        assert column in check.explanation
        assert CANARY not in shown(check)

    def test_a_dead_letter_may_lack_required_fields(self) -> None:
        dead = {"fate": "dead-lettered", "document": None, "sequence": None, "operation": None}
        assert quality.contract(events(dead)).passed

    def test_a_past_event_time_and_a_slightly_fast_clock_pass(self) -> None:
        assert quality.contract(events({"event_time": NOW - timedelta(days=9000)}, {"event_time": NOW + timedelta(hours=14)})).passed

    def test_nothing_landed_passes(self) -> None:
        assert quality.contract(events().clear()).passed

    def test_a_result_does_not_depend_on_the_frame_before(self) -> None:
        bad, good = events({"sequence": -1}), events()
        assert [quality.contract(frame).passed for frame in (good, bad, good, bad)] == [True, False, True, False]

    def test_threads_count_their_own_rows(self) -> None:
        frames = [events(*[{"sequence": -1}] * bad) for bad in range(8)]
        with ThreadPoolExecutor(4) as pool:
            found = [failed(check).get("sequence", 0) for check in pool.map(quality.contract, frames)]
        assert found == list(range(8))

    @pytest.mark.parametrize(
        "frame",
        [
            events().drop("sequence"),
            events().with_columns(sequence=pl.lit(CANARY)),
            events().with_columns(received_at=pl.col("received_at").dt.replace_time_zone(None)),
        ],
    )
    def test_other_columns_than_agreed_are_refused_without_their_values(self, frame: pl.DataFrame) -> None:
        with pytest.raises(CheckError, match=r"sequence|received_at") as refused:
            quality.contract(frame)
        assert refused.value.reason == "check-not-measured"
        assert CANARY not in str(refused.value)


@pytest.mark.slow
class TestChunks:
    def test_chunks_fit_to_embed_pass(self) -> None:
        check = quality.chunk_quality(chunks({"token_count": 256}), 256)
        assert check.passed
        assert check.measured == {"rows": 3, "tokens": 496, "tokens_max": 256}

    @pytest.mark.parametrize(
        ("change", "column"),
        [
            ({"text_hash": CANARY}, "text_hash"),
            ({"text_hash": None}, "text_hash"),
            ({"token_count": 0}, "token_count"),
            ({"token_count": 257}, "token_count"),
            ({"token_count": None}, "token_count"),
            ({"characters": 0}, "characters"),
            ({"ordinal": -1}, "ordinal"),
            ({"sources": 0, "ordinal": None}, "sources"),
        ],
    )
    def test_each_breach_is_an_error_and_counted_under_its_column(self, change: dict[str, object], column: str) -> None:
        check = quality.chunk_quality(chunks(change), 256)
        assert (check.passed, check.severity) == (False, "error")
        assert failed(check) == {column: 1}
        assert CANARY not in shown(check)

    @pytest.mark.parametrize(("change", "column"), [({"readable": 0.2}, "readable"), ({"replaced": 0.3}, "replaced")])
    def test_illegible_chunks_warn(self, change: dict[str, object], column: str) -> None:
        check = quality.chunk_quality(chunks(change), 256)
        assert (check.passed, check.severity) == (False, "warn")
        assert failed(check) == {column: 1}

    def test_a_few_tables_of_signs_among_many_chunks_are_tolerated_and_shown(self) -> None:
        check = quality.chunk_quality(chunks({"readable": 0.2}, *[{}] * 40), 256)
        assert check.passed
        assert failed(check) == {"readable": 1}

    def test_an_error_outweighs_a_warning(self) -> None:
        assert quality.chunk_quality(chunks({"readable": 0.2, "sources": 0}), 256).severity == "error"

    def test_each_bound_on_tokens_has_its_own_suite(self) -> None:
        frame = chunks()
        assert [quality.chunk_quality(frame, bound).passed for bound in (256, 100, 256)] == [True, False, True]

    def test_no_chunks_pass(self) -> None:
        assert quality.chunk_quality(chunks().clear(), 256).passed


@pytest.mark.slow
class TestTexts:
    def test_measures_replace_the_text(self) -> None:
        measured = quality.describe_texts(pl.DataFrame({"text": ["ab 12", "-- \ufffd\ufffd", "", None, "né नमस्ते"]}))
        assert measured.columns == ["characters", "readable", "replaced"]
        assert measured["characters"].to_list() == [5, 5, 0, 0, 9]
        assert measured["readable"].to_list() == [1.0, 0.0, 0.0, 0.0, 1.0]
        assert measured["replaced"].to_list() == [0.0, 0.4, 0.0, 0.0, 0.0]

    def test_measures_fit_the_chunk_suite(self) -> None:
        texts = chunks().drop("characters", "readable", "replaced").with_columns(text=pl.lit(f"A legible text {CANARY}"))
        check = quality.chunk_quality(quality.describe_texts(texts), 256)
        assert check.passed
        assert CANARY not in shown(check)


@pytest.mark.slow
class TestLegibility:
    WELL = Signals(characters=900, wordlike=0.97, pages=3, grades={"layout": 2, "ocr": 1}, dropped={"footers": 3}, ocr_confidence=0.9)

    @pytest.mark.parametrize(
        ("signals", "column"),
        [
            (Signals(characters=100, replaced=2), "replaced"),
            (Signals(characters=100, wordlike=0.0), "wordlike"),
            (Signals(characters=100, pages=10, empty_pages=9), "empty_pages"),
            (Signals(characters=100, ocr_confidence=0.0), "ocr_confidence"),
        ],
    )
    def test_a_poorly_read_document_warns(self, signals: Signals, column: str) -> None:
        check = quality.parse_quality([self.WELL, signals], ["en", ""], Reading())
        assert (check.passed, check.severity) == (False, "warn")
        assert failed(check) == {column: 1}

    def test_the_tenants_own_thresholds_apply(self) -> None:
        poor = Signals(characters=100, replaced=2, wordlike=0.5)
        assert quality.parse_quality([poor], ["en"], Reading(most_replaced=0.05, least_wordlike=0.4)).passed

    def test_signals_are_added_up(self) -> None:
        check = quality.parse_quality([self.WELL, self.WELL], ["en", "de"], Reading())
        assert check.passed
        assert check.measured.items() >= {"documents": 2, "pages": 6, "pages/layout": 4, "pages/ocr": 2, "dropped/footers": 6}.items()
        assert check.measured.items() >= {"language/de": 1, "language/en": 1, "wordlike_least": 0.97}.items()

    def test_no_document_passes(self) -> None:
        assert quality.parse_quality([], [], Reading()).passed

    @given(pages=st.integers(0, 9), share=st.floats(0, 1))
    def test_an_empty_document_is_counted_and_is_not_badly_read(self, pages: int, share: float) -> None:
        reading = Reading(most_empty_pages=share, least_wordlike=share, most_replaced=share, least_ocr_confidence=share)
        check = quality.parse_quality([Signals(pages=pages, empty_pages=pages)] * 2, ["", ""], reading)
        assert (check.passed, check.measured["empty"]) == (True, 2)


def _spoil(vectors: NDArray[np.float32], row: int, how: str) -> NDArray[np.float32]:
    spoilt = vectors.copy()
    spoilt[row] = {"nan": spoilt[row] * np.nan, "inf": spoilt[row] + np.inf, "zero": spoilt[row] * 0, "long": spoilt[row] * 1.02}[how]
    return spoilt


@pytest.mark.slow
class TestEmbeddingHealth:
    @given(n=st.integers(0, 40), dimension=st.integers(8, 64), seed=st.integers(0, 9), precision=st.sampled_from([np.float16, np.float32]))
    @settings(deadline=None)
    def test_unit_vectors_always_pass_at_the_precision_they_are_stored_in(self, n: int, dimension: int, seed: int, precision: Any) -> None:
        check = quality.embedding_health(unit_vectors(n, dimension, seed).astype(precision), dimension)
        assert check.passed
        assert (check.measured["vectors"], check.measured["dimension"]) == (n, dimension)

    @given(data=st.data(), n=st.integers(1, 20), how=st.sampled_from(["nan", "inf", "zero", "long"]))
    @settings(deadline=None)
    def test_one_broken_vector_never_passes_wherever_it_is(self, data: st.DataObject, n: int, how: str) -> None:
        check = quality.embedding_health(_spoil(unit_vectors(n), data.draw(st.integers(0, n - 1)), how), 16)
        assert (check.passed, check.severity) == (False, "error")
        assert [count for *_, count in check.table if count] == [1]

    def test_another_dimension_fails_for_every_vector(self) -> None:
        check = quality.embedding_health(unit_vectors(5, 16), 384)
        assert not check.passed
        assert failed(check) == {"embedding": 5}

    def test_a_model_that_repeats_itself_fails(self) -> None:
        check = quality.embedding_health(np.repeat(unit_vectors(1), 3, axis=0), 16)
        assert not check.passed
        assert check.measured["mean_cosine"] == 1.0

    def test_a_single_repeat_is_tolerated_and_shown(self) -> None:
        vectors = unit_vectors(50)
        vectors[7] = vectors[3]
        check = quality.embedding_health(vectors, 16)
        assert check.passed
        assert failed(check) == {"embedding": 1}

    def test_the_mean_cosine_is_that_of_all_pairs(self) -> None:
        vectors = unit_vectors(12)
        pairs = (vectors @ vectors.T)[np.triu_indices(12, k=1)]
        assert quality.embedding_health(vectors, 16).measured["mean_cosine"] == pytest.approx(pairs.mean(), abs=1e-3)


class TestFreshness:
    @given(waits_s=st.integers(0, 10**6), target_s=st.integers(0, 10**6), lag=st.integers(1, 10**6))
    def test_it_fails_exactly_if_the_oldest_event_waits_longer_than_the_target(self, waits_s: int, target_s: int, lag: int) -> None:
        check = quality.freshness(NOW - timedelta(seconds=waits_s), NOW, target_s, lag)
        assert check.passed == (waits_s <= target_s)
        assert check.measured == {
            "lag_events": lag,
            "not_indexed": 0,
            "lag_s": waits_s,
            "target_s": target_s,
            "oldest": (NOW - timedelta(seconds=waits_s)).isoformat(),
            "breached": "no" if check.passed else "yes",
        }

    def test_a_breach_is_an_error_that_states_lag_age_and_target(self) -> None:
        check = quality.freshness(NOW - timedelta(seconds=90), NOW, 60, 12, 3)
        assert (check.passed, check.severity) == (False, "error")
        for part in ("at most 60 s", "waits 90 s", "12 events not landed", "3 documents not searchable"):
            assert part in check.explanation

    def test_nothing_waiting_is_fresh(self) -> None:
        assert quality.freshness(None, NOW, 60, 0).passed

    def test_a_clock_behind_the_sources_is_no_negative_lag(self) -> None:
        assert quality.freshness(NOW + timedelta(seconds=5), NOW, 60, 1).measured["lag_s"] == 0

    def test_events_that_wait_since_an_unknown_time_are_not_fresh(self) -> None:
        check = quality.freshness(None, NOW, 60, 12)
        assert (check.passed, check.severity) == (False, "warn")
        assert failed(check) == {"unprocessed events": 12}


class TestNothingLost:
    def test_no_loss_passes(self) -> None:
        assert quality.nothing_lost({}).passed

    def test_each_open_dead_letter_of_a_loss_is_an_error(self) -> None:
        check = quality.nothing_lost({"events-lost-to-retention": 2, "offset-out-of-range": 1})
        assert (check.passed, check.severity, check.measured["losses"]) == (False, "error", 3)
        assert "events-lost-to-retention" in check.explanation


class TestStreamSlots:
    @given(configured=st.integers(0, 20), alive=st.integers(0, 20), crashes=st.dictionaries(st.sampled_from("abc"), st.integers(3, 9)))
    def test_it_passes_exactly_if_enough_are_alive_and_none_keeps_crashing(
        self, configured: int, alive: int, crashes: dict[str, int]
    ) -> None:
        check = quality.stream_slots(configured, alive, crashes)
        assert check.passed == (alive >= configured and not crashes)
        assert check.severity == "error"
        assert {f"crashes of {slot}": count for slot, count in crashes.items()}.items() <= check.measured.items()


class TestCompleteness:
    def test_an_index_with_every_live_document_is_complete(self) -> None:
        assert quality.index_completeness({"live": 7, "indexed": 7, "failed": 0, "waiting": 0}).passed
        check = quality.index_completeness({"live": 7, "indexed": 7, "failed": 0, "waiting": 0, "empty": 7})
        assert (check.passed, check.measured["empty"]) == (True, 7)

    @pytest.mark.parametrize(
        ("counts", "severity"),
        [
            ({"live": 7, "indexed": 6, "failed": 0, "waiting": 0}, "error"),
            ({"live": 7, "indexed": 8, "failed": 0, "waiting": 0}, "error"),
            ({"live": 7, "indexed": 7, "failed": 0, "waiting": 0, "surplus": 1}, "error"),
            ({"live": 7, "indexed": 6, "failed": 1, "waiting": 0}, "warn"),
            ({"live": 7, "indexed": 6, "failed": 0, "waiting": 1}, "warn"),
        ],
    )
    def test_a_silently_lost_document_is_an_error_and_an_accounted_one_a_warning(self, counts: dict[str, int], severity: str) -> None:
        check = quality.index_completeness(counts)
        assert (check.passed, check.severity) == (False, severity)
        assert list(failed(check).values()) == [1]

    def test_a_missing_number_is_refused(self) -> None:
        with pytest.raises(CheckError, match="failed, waiting"):
            quality.index_completeness({"live": 1, "indexed": 1})


VERSIONS = st.dictionaries(st.integers(0, 12), st.integers(0, 3))


class TestGraphConsistency:
    @given(expected=VERSIONS, found=VERSIONS)
    def test_it_passes_exactly_if_both_are_equal_and_counts_every_difference_once(
        self, expected: dict[int, int], found: dict[int, int]
    ) -> None:
        check = quality.graph_consistency(expected, found)
        assert check.passed == (expected == found)
        different = sum(expected.get(key) != found.get(key) for key in expected.keys() | found.keys())
        assert sum(int(check.measured[kind]) for kind in ("missing", "surplus", "behind")) == different

    def test_missing_surplus_and_behind_are_distinguished_without_naming_a_document(self) -> None:
        check = quality.graph_consistency({f"{CANARY}-1": 1, f"{CANARY}-2": 1}, {f"{CANARY}-2": 0, f"{CANARY}-3": 1, f"{CANARY}-4": 1})
        assert {kind: check.measured[kind] for kind in ("missing", "surplus", "behind")} == {"missing": 1, "surplus": 2, "behind": 1}
        assert CANARY not in shown(check)


class TestCheck:
    def test_markdown_is_one_table_with_a_row_per_expectation(self) -> None:
        check = quality.index_completeness({"live": 1200, "indexed": 0, "failed": 0, "waiting": 0})
        header, rule, first, *others = check.markdown().splitlines()
        assert header == "| Column | Expectation | Unexpected |"
        assert rule.count("|") == 4
        assert first == "| live documents | are indexed, waiting or failed | 1,200 |"
        assert len(others) == len(check.table) - 1
        assert check.explanation == "Expectations violated: live documents are indexed, waiting or failed (1,200)."


def run_python(program: str) -> str:
    """The output of a fresh interpreter, both streams together."""
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=root, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


class TestLoading:
    def test_importing_quality_loads_nothing_beyond_the_standard_library_and_core(self) -> None:
        program = """
import sys
before = set(sys.modules)
import quality
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(sorted(loaded - sys.stdlib_module_names))
"""
        assert run_python(program).strip() == "['core', 'quality']"

    @pytest.mark.slow
    def test_great_expectations_stays_off_the_network_and_silent_and_leaves_warnings_alone(self) -> None:
        program = """
import sys, warnings
calls = []
sys.addaudithook(lambda name, _: calls.append(name) if name.startswith(("socket.connect", "socket.getaddrinfo", "urllib")) else None)
shown = warnings.showwarning
import polars, quality
row = {"text_hash": "x", "token_count": 9999, "ordinal": 0, "sources": 1, "characters": 9, "readable": 0.1, "replaced": 0.0}
check = quality.chunk_quality(polars.DataFrame([row], schema=quality.chunk_schema()), 256)
assert not check.passed
assert "great_expectations" in sys.modules
assert calls == [], calls
assert warnings.showwarning is shown, "warnings go to logging"
"""
        assert run_python(program) == ""


def test_an_index_that_misses_too_much_fails_its_check() -> None:
    assert quality.vector_recall([1.0, 0.9]).passed
    check = quality.vector_recall([1.0, 0.8])
    assert check.distribution == {"ten_found": 1, "nine_found": 0, "fewer_found": 1}
    assert (check.passed, check.measured) == (False, {"questions": 2, "recall_at_10": 0.9, "lowest": 0.8})
    assert quality.vector_recall([]).passed
