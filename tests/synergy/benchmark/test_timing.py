import time

import pytest

from synergy.benchmark.timing import (
    join_timings,
    linear_growth,
    measure_in_turns,
    ratio,
    time_calls,
    wait_until_idle,
)


def sleeper(seconds):
    return lambda: time.sleep(seconds)


def test_turns_are_interleaved_and_one_candidate_lives_at_a_time():
    events = []

    class Call:
        def __init__(self, name):
            self.name = name
            events.append(("open", name))

        def __call__(self):
            events.append(("call", self.name))

        def __del__(self):
            events.append(("close", self.name))

    steps = []
    openers = {name: (lambda name=name: Call(name)) for name in "ab"}
    measured = measure_in_turns(openers, 2, 0, lambda *step: steps.append(step), min_calls=2)
    order = [event for event in events if event[0] != "call"]
    assert order == [(what, name) for _ in range(2) for name in "ab" for what in ("open", "close")]
    assert steps == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert {name: [len(one) for one in timing.rounds] for name, timing in measured.items()} == {
        "a": [2, 2],
        "b": [2, 2],
    }


def test_times_are_those_of_the_calls(monkeypatch):
    clock = {"now": 0.0}
    monkeypatch.setattr("time.sleep", lambda seconds: clock.update(now=clock["now"] + seconds))
    monkeypatch.setattr("time.perf_counter", lambda: clock["now"])
    monkeypatch.setattr("time.process_time", lambda: clock["now"] / 4)
    measured = measure_in_turns({"slow": lambda: sleeper(0.02), "fast": lambda: sleeper(0.005)}, 3, 0, min_calls=3)
    assert (measured["slow"].median, measured["slow"].p95) == (pytest.approx(0.02), pytest.approx(0.02))
    assert measured["slow"].cpu_median == pytest.approx(0.005)
    found = ratio(measured["fast"].rounds, measured["slow"].rounds)
    assert (found.low, found.median, found.high) == (pytest.approx(0.25), pytest.approx(0.25), pytest.approx(0.25))


def test_calls_go_on_for_the_given_time():
    timing = time_calls(sleeper(0.01), seconds=0.1, min_calls=1)
    assert sum(timing.rounds[0]) >= 0.1
    assert len(join_timings([timing, timing]).rounds) == 2


def test_slow_calls_end_the_turn_early(monkeypatch):
    monkeypatch.setattr("synergy.benchmark.timing._LONGEST_TURN", 0.015)
    calls = []
    timing = time_calls(lambda: calls.append(time.sleep(0.02)), seconds=0, min_calls=5)
    assert len(timing.rounds[0]) == 1
    assert len(calls) == 2  # one of them to warm up


def test_other_threads_are_waited_for(monkeypatch):
    clock = {"now": 0.0, "used": 0.0}

    def sleep(seconds):
        """The threads of the process use one core until 0.1 s have passed."""
        clock["used"] += seconds if clock["now"] < 0.1 else 0.0
        clock["now"] += seconds

    monkeypatch.setattr("time.sleep", sleep)
    monkeypatch.setattr("time.perf_counter", lambda: clock["now"])
    monkeypatch.setattr("time.process_time", lambda: clock["used"])
    wait_until_idle()
    assert 0.1 < clock["now"] < 0.2


def test_growth_beyond_linear():
    assert linear_growth([10, 100], [1.0, 15.0]) == pytest.approx(1.5)
