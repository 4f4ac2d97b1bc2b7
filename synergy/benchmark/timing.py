"""Timing of candidates in turns, so that a change of the machine's speed meets all of them alike."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# Called with the number of finished steps and of all steps.
Progress = Callable[[int, int], None]
# Opens a candidate. What it returns is the call to time, and everything that the call needs lives as long as it does.
Opener = Callable[[], Callable[[], object]]

_WARM_UP_CALLS = 2
# A process is idle if its threads use less than this fraction of a core for this time in seconds.
_IDLE_FRACTION = 0.1
_IDLE_SECONDS = 0.02
# The longest time in seconds to wait for that.
_LONGEST_WAIT = 1.0
# The turn of a candidate with slow calls ends after this time in seconds, with fewer calls than others have.
_LONGEST_TURN = 1.0


# Times in seconds of the calls in each round.
Rounds = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Timing:
    """Times of one candidate, one tuple per round.

    Attributes:
        rounds: wall times of the calls in seconds.
        cpu_rounds: CPU times of the calls in seconds, of all threads together. Unlike the wall times they hardly depend
            on other work of the machine.
    """

    rounds: Rounds
    cpu_rounds: Rounds

    @property
    def median(self) -> float:
        """Median wall time over all calls in seconds."""
        return float(np.median(np.concatenate(self.rounds)))

    @property
    def p95(self) -> float:
        """95th percentile of the wall time over all calls in seconds."""
        return float(np.percentile(np.concatenate(self.rounds), 95))

    @property
    def cpu_median(self) -> float:
        """Median CPU time over all calls in seconds."""
        return float(np.median(np.concatenate(self.cpu_rounds)))


@dataclass(frozen=True)
class Ratio:
    """Ratio of the times of two candidates.

    Attributes:
        median: median over the rounds of the ratio of the rounds' medians.
        low: the smallest ratio of a round.
        high: the largest ratio of a round.
    """

    median: float
    low: float
    high: float


def measure_in_turns(
    openers: Mapping[str, Opener],
    rounds: int,
    seconds: float,
    progress: Progress = lambda _done, _total: None,
    min_calls: int = 5,
) -> dict[str, Timing]:
    """Time candidates in turns: each is opened, warmed up, timed and closed before the next, in every round.

    Only one candidate exists at a time. Sessions that exist together take time from each other, because threads that
    wait for work may keep a core busy.

    Args:
        openers: name to candidate.
        rounds: number of turns of each candidate.
        seconds: time for which a candidate is called in each round.
        progress: called after every turn.
        min_calls: least number of timed calls in each round (`time_calls`).

    Returns:
        Name to its times.
    """
    times: dict[str, list[Timing]] = {name: [] for name in openers}
    for number in range(rounds):
        for position, (name, opener) in enumerate(openers.items()):
            times[name].append(time_calls(opener(), seconds, min_calls))
            progress(number * len(openers) + position + 1, rounds * len(openers))
    return {name: join_timings(measured) for name, measured in times.items()}


def time_calls(call: Callable[[], object], seconds: float, min_calls: int) -> Timing:
    """Time calls for some seconds, after calls to warm up.

    Args:
        call: what is timed.
        seconds: for how long it is called.
        min_calls: least number of timed calls. Calls that take a second together are enough, however few they are.

    Returns:
        The times, as one round.
    """
    start = time.perf_counter()
    for _ in range(_WARM_UP_CALLS):
        call()
        if time.perf_counter() - start > _LONGEST_TURN:
            break
    wall: list[float] = []
    cpu: list[float] = []
    while sum(wall) < seconds or (len(wall) < min_calls and sum(wall) < _LONGEST_TURN):
        start, cpu_start = time.perf_counter(), time.process_time()
        call()
        cpu.append(time.process_time() - cpu_start)
        wall.append(time.perf_counter() - start)
    return Timing((tuple(wall),), (tuple(cpu),))


def wait_until_idle() -> None:
    """Wait until the threads of this process are idle, so that their work does not count as that of the next call.

    The CPU time of a call is that of all threads. numpy's threads for matrix products keep a core busy for some 30 ms
    after a product.
    """
    end = time.perf_counter() + _LONGEST_WAIT
    while time.perf_counter() < end:
        start = time.process_time()
        time.sleep(_IDLE_SECONDS)
        if time.process_time() - start < _IDLE_FRACTION * _IDLE_SECONDS:
            break


def join_timings(timings: Sequence[Timing]) -> Timing:
    """Join the rounds of several timings of the same candidate."""
    return Timing(
        tuple(one for timing in timings for one in timing.rounds),
        tuple(one for timing in timings for one in timing.cpu_rounds),
    )


def ratio(of: Rounds, to: Rounds) -> Ratio:
    """Compare the wall times, or the CPU times, of two candidates that were measured in the same turns.

    Example:
        >>> ratio(((2.0,), (4.0,)), ((1.0,), (4.0,)))
        Ratio(median=1.5, low=1.0, high=2.0)
    """
    per_round = [float(np.median(a) / np.median(b)) for a, b in zip(of, to, strict=True)]
    return Ratio(float(np.median(per_round)), min(per_round), max(per_round))


def linear_growth(counts: Sequence[int], values: Sequence[float]) -> float:
    """Return by how much the last value exceeds what the first one predicts, as a factor: 1 is linear growth.

    Example:
        >>> linear_growth([100, 1000], [2.0, 20.0])
        1.0
    """
    return values[-1] / values[0] * counts[0] / counts[-1]
