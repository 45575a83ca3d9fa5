"""A caller is let in as often as its rate says, in any stretch of time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from retrieval.server import rates
from retrieval.server.rates import Rates

STEPS = st.lists(st.floats(0, 5), max_size=60)
RATES = st.floats(0.01, 50)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@given(rate=RATES, steps=STEPS)
def test_no_stretch_of_time_lets_in_more_than_the_rate_and_one_burst(rate: float, steps: list[float]) -> None:
    clock = Clock()
    buckets, admitted = Rates(clock), list[float]()
    for step in steps:
        clock.now += step
        if not buckets.wait_s("jo", rate):
            admitted.append(clock.now)
    for first, start in enumerate(admitted):
        for last in range(first, len(admitted)):
            assert last - first + 1 <= max(1, rate) + rate * (admitted[last] - start) + 1e-6


@given(rate=RATES, steps=STEPS)
def test_who_waits_as_long_as_it_is_told_is_let_in(rate: float, steps: list[float]) -> None:
    clock = Clock()
    buckets = Rates(clock)
    for step in steps:
        clock.now += step / 100
        if wait_s := buckets.wait_s("jo", rate):
            clock.now += wait_s * (1 + 1e-9) + 1e-9
            assert buckets.wait_s("jo", rate) == 0


def test_one_callers_requests_are_not_anothers() -> None:
    buckets = Rates(Clock())
    assert [buckets.wait_s("jo", 1) == 0 for _ in range(2)] == [True, False]
    assert buckets.wait_s("ann", 1) == 0


def test_callers_that_are_remembered_are_bounded() -> None:
    buckets = Rates(Clock())
    for number in range(rates.MOST_BUCKETS + 10):
        buckets.wait_s(str(number), 1)
    assert len(buckets._buckets) == rates.MOST_BUCKETS
