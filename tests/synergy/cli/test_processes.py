import os
from pathlib import Path

import pytest

from synergy.cli.predict_images import ImageTask, Outcome
from synergy.cli.processes import AUTO_MIN_IMAGES, _groups, choose_workers, run_tasks
from synergy.errors import UserError

# What the worker does in its process. It cannot import this file.
PROGRAM = """lambda tasks: (
    __import__("os")._exit(9) if task.name in {deadly!r}
    else __import__("synergy.cli.predict_images", fromlist=["x"]).Outcome(task, [])
    for task in tasks
)"""


class Worker:
    """A worker whose process dies at some tasks."""

    def __init__(self, deadly=()):
        self.deadly = tuple(deadly)

    def __reduce__(self):
        return eval, (PROGRAM.format(deadly=self.deadly),)

    def __call__(self, tasks):
        return (Outcome(task, []) for task in tasks)


def tasks(n, content=None):
    return [ImageTask(f"{i:03}", "key", content or Path(f"{i}.jpg"), Path(f"stage{i}")) for i in range(n)]


def test_the_number_of_workers(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(8), raising=False)
    assert choose_workers(None, AUTO_MIN_IMAGES) == 8
    assert choose_workers(None, AUTO_MIN_IMAGES - 1) == 0
    assert choose_workers(3, 1) == 3
    assert choose_workers(0, 10**6) == 0
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(1), raising=False)
    assert choose_workers(None, 10**6) == 0


def test_groups_are_limited_by_number_and_bytes():
    assert [len(group) for group in _groups(iter(tasks(40)))] == [16, 16, 8]
    assert [len(group) for group in _groups(iter(tasks(5, bytes(20 * 2**20))))] == [2, 2, 1]
    assert list(_groups(iter([]))) == []


def test_tasks_are_taken_as_they_are_needed():
    taken = []
    source = (taken.append(task) or task for task in tasks(5))
    outcomes = run_tasks(Worker(), source, 0)
    assert next(outcomes).task.name == "000"
    assert len(taken) == 1


@pytest.mark.slow
def test_a_task_that_kills_its_process_fails_alone():
    found = list(run_tasks(Worker(deadly=["020", "033"]), iter(tasks(100)), 2))
    assert sorted(outcome.task.name for outcome in found) == [task.name for task in tasks(100)]
    failed = {outcome.task.name: outcome.failure for outcome in found if outcome.faces is None}
    message = ": the process that worked on it died (out of memory?)"
    assert failed == {name: name + message for name in ("020", "033")}


@pytest.mark.slow
def test_a_run_whose_processes_always_die_ends():
    with pytest.raises(UserError, match="worker processes die with every image; try --workers 0"):
        list(run_tasks(Worker(deadly=[task.name for task in tasks(30)]), iter(tasks(30)), 2))


@pytest.mark.slow
def test_memory_is_bounded_by_the_tasks_under_way():
    taken = []
    source = (taken.append(task) or task for task in tasks(1000))
    outcomes = run_tasks(Worker(), source, 2)
    next(outcomes)
    assert len(taken) <= (2 * 2 + 1) * 16
    outcomes.close()
