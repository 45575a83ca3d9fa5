"""One server's state: threads that answer, rates, counts. How HTTP gets there is in `app` and `routes`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from starlette.responses import Response

from core.errors import HeadraceError
from retrieval.server.caller import Caller
from retrieval.server.doors import Doors
from retrieval.server.metrics import Metrics
from retrieval.server.rates import Rates
from retrieval.server.refusals import RateLimited, answer, status

T = TypeVar("T")

_log = logging.getLogger("headrace.serve")


class Service:
    """`readers`: requests that are worked on at once, the others wait. `timeout_s`: of one request, the wait included."""

    def __init__(self, doors: Doors, *, readers: int, timeout_s: float) -> None:
        self.doors = doors
        self.metrics = Metrics()
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(readers, "headrace-reader")
        self._rates = Rates()

    def close(self) -> None:
        """Answer nothing that has not begun."""
        self._threads.shutdown(cancel_futures=True)

    async def answered(self, work: Callable[[], T]) -> T:
        """What `work` returns, in a thread. Raises HeadraceError `timed-out`; work that has not begun by then never does."""
        try:
            return await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(self._threads, work), self._timeout_s)
        except TimeoutError:
            raise HeadraceError("it took too long", reason="timed-out") from None

    async def admitted(self, credential: str) -> Caller:
        """Who has this credential, if it may ask now. Raises Unauthenticated, RateLimited."""
        caller = await self.answered(lambda: self.doors.authenticate(credential))
        if wait_s := self._rates.wait_s(caller.name, caller.rate):
            raise RateLimited(wait_s)
        return caller

    def refusal(self, error: HeadraceError) -> Response:
        """The answer that says why there is none; what is ours to repair is logged."""
        self.metrics.refused(error.reason)
        if status(error) >= 500:
            _log.warning("%s: %s", error.reason, error.detail)
        return answer(error)
