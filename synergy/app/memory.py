"""Results that are kept in memory for a while, under names that cannot be guessed."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from synergy.app.limits import Limits, RequestError


class Sized(Protocol):
    """A result that states its size."""

    @property
    def n_bytes(self) -> int:
        """Return the memory that the result takes, in bytes."""
        ...


R = TypeVar("R", bound=Sized)


class ResultStore(Generic[R]):
    """Keep results for some minutes, the newest ones if the memory does not suffice for all.

    Args:
        limits: `result_minutes` and `result_megabytes` count.
        clock: returns the time in seconds.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = limits.result_minutes * 60
        self._max_bytes = limits.result_megabytes * 1e6
        self._clock = clock
        self._results: dict[str, tuple[float, R]] = {}

    def __len__(self) -> int:
        return len(self._results)

    def add(self, result: R) -> str:
        """Keep a result and return its name. The newest result is kept whatever its size."""
        name = secrets.token_urlsafe(16)
        self._results[name] = self._clock(), result
        self.remove_expired()
        while len(self._results) > 1 and sum(kept.n_bytes for _, kept in self._results.values()) > self._max_bytes:
            del self._results[next(iter(self._results))]
        return name

    def get(self, name: str) -> R:
        """Return a result.

        Raises:
            RequestError: it is no longer kept, or it never existed.
        """
        self.remove_expired()
        if name not in self._results:
            raise RequestError(404, "This result is no longer kept. Analyse the picture again.")
        return self._results[name][1]

    def remove(self, name: str) -> None:
        """Forget a result. A name that does not exist is ignored."""
        self._results.pop(name, None)

    def remove_expired(self) -> None:
        """Forget the results whose time is over."""
        oldest = self._clock() - self._seconds
        self._results = {name: kept for name, kept in self._results.items() if kept[0] > oldest}
