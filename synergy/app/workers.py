"""Threads that do the work of requests, with a limit on how many requests wait for them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from synergy.app.limits import Limits, RequestError

T = TypeVar("T")


class Workers:
    """Run functions in a few threads, and refuse them while too many others wait.

    All methods are called in the thread of the server's event loop.

    Args:
        limits: `workers` and `waiting` count.
    """

    def __init__(self, limits: Limits) -> None:
        self._executor = ThreadPoolExecutor(limits.workers, thread_name_prefix="synergy-app")
        self._places = limits.workers + limits.waiting
        self._n_uploads = 0
        self._n_running = 0

    @contextmanager
    def upload(self) -> Iterator[None]:
        """Reserve a place while a request's body is received.

        Raises:
            RequestError: too many requests are received, wait or run.
        """
        self._require_place()
        self._n_uploads += 1
        try:
            yield
        finally:
            self._n_uploads -= 1

    def start(self, work: Callable[[], T]) -> asyncio.Future[T]:
        """Start a function in one of the threads, as soon as one is free.

        Raises:
            RequestError: too many requests are received, wait or run.
        """
        self._require_place()
        future = asyncio.get_running_loop().run_in_executor(self._executor, work)
        self._n_running += 1
        future.add_done_callback(self._finish)
        return future

    async def run(self, work: Callable[[], T], seconds: float) -> T:
        """Run a function in one of the threads and return its result.

        Args:
            work: the function. A thread cannot be stopped, so it keeps its place after the time is over.
            seconds: time until the result, which includes waiting for a thread.

        Raises:
            RequestError: too many requests are received, wait or run; or the time is over.
        """
        try:
            return await asyncio.wait_for(asyncio.shield(self.start(work)), seconds)
        except TimeoutError:
            raise RequestError(503, f"The work took longer than {seconds:g} seconds and was given up.", 30) from None

    def close(self) -> None:
        """Let running functions end and drop the waiting ones."""
        self._executor.shutdown(wait=False, cancel_futures=True)

    def _require_place(self) -> None:
        if self._n_uploads + self._n_running >= self._places:
            raise RequestError(503, "The server is busy. Try again in a few seconds.", 5)

    def _finish(self, future: asyncio.Future[T]) -> None:
        self._n_running -= 1
        # An exception that nobody waits for any more is not reported as lost.
        if not future.cancelled():
            future.exception()
