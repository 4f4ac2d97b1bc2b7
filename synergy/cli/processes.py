"""Image tasks in worker processes: bounded memory, and no task is lost with a process that dies."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from types import ModuleType

from synergy.cli.predict_images import BATCH_IMAGES, ImageTask, ImageWorker, Outcome
from synergy.errors import UserError
from synergy.threads import available_cores

# With fewer images, starting the processes takes longer than they save (docs/scale.md).
AUTO_MIN_IMAGES = 200
# A group of tasks is complete when its contents have this many bytes.
_GROUP_BYTES = 32 * 2**20
# Processes that die one after the other, each with only one task, before the run is given up.
_MAX_DEATHS = 3

_worker: ImageWorker | None = None


def choose_workers(wanted: int | None, n_images: int) -> int:
    """Return the number of worker processes.

    Args:
        wanted: what the user asked for; None chooses.
        n_images: number of images, as far as it is known.

    Returns:
        0 to work in this process, for few images or one processor; else one process per processor.
    """
    if wanted is not None:
        return wanted
    n_processors = available_cores()
    return n_processors if n_images >= AUTO_MIN_IMAGES and n_processors > 1 else 0


def run_tasks(worker: ImageWorker, tasks: Iterable[ImageTask], n_workers: int) -> Generator[Outcome, None, None]:
    """Yield the outcomes of tasks, which are taken as they are needed.

    A process that dies, for example because the system ended it for lack of memory, is replaced. The tasks that were
    under way are then done again one at a time. The one with which a process dies again fails, the others go on.

    Args:
        worker: does groups of tasks.
        tasks: the tasks.
        n_workers: number of processes; 0 works in this one.

    Raises:
        UserError: processes die with every task.
    """
    if n_workers == 0:
        yield from worker(tasks)
        return
    groups = _groups(tasks)
    suspects: deque[ImageTask] = deque()
    running: dict[Future[list[Outcome]], list[ImageTask]] = {}
    n_deaths = 0
    pool = _start_pool(worker, n_workers)
    try:
        while True:
            if suspects and not running:
                _submit(pool, running, [suspects.popleft()])
            elif not suspects:
                for group in itertools.islice(groups, 2 * n_workers - len(running)):
                    _submit(pool, running, group)
            if not running:
                return
            lost = []
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                group = running.pop(future)
                try:
                    yield from future.result()
                    n_deaths = 0
                except BrokenProcessPool:
                    lost.append(group)
            if not lost:
                continue
            # No other group of this pool will be finished, but some may have been before.
            pool.shutdown()
            for future, group in running.items():
                if future.exception() is None:
                    yield from future.result()
                else:
                    lost.append(group)
            running.clear()
            if len(lost) == 1 and len(lost[0]) == 1:
                n_deaths += 1
                if n_deaths == _MAX_DEATHS:
                    raise UserError("worker processes die with every image; try --workers 0")
                task = lost[0][0]
                yield Outcome(task, failure=f"{task.name}: the process that worked on it died (out of memory?)")
            else:
                suspects.extend(itertools.chain.from_iterable(lost))
            pool = _start_pool(worker, n_workers)
    finally:
        pool.shutdown(cancel_futures=True)


def _groups(tasks: Iterable[ImageTask]) -> Iterator[list[ImageTask]]:
    """Yield groups of tasks for one process at a time."""
    group: list[ImageTask] = []
    n_bytes = 0
    for task in tasks:
        group.append(task)
        n_bytes += len(task.content) if isinstance(task.content, bytes) else 0
        if len(group) == BATCH_IMAGES or n_bytes >= _GROUP_BYTES:
            yield group
            group, n_bytes = [], 0
    if group:
        yield group


def _start_pool(worker: ImageWorker, n_workers: int) -> ProcessPoolExecutor:
    """Start worker processes.

    They are no copies of this process, whose threads could hold locks. Where the system allows it, they are copies of a
    process that has imported the library and done nothing else, which starts them faster and shares memory.
    """
    is_unix = "forkserver" in multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context("forkserver" if is_unix else "spawn")
    if is_unix:
        context.set_forkserver_preload(["synergy.predictor", "synergy.cli.processes"])
    # The pickle of `multiprocessing` would open a file for each of the network's tensors.
    return ProcessPoolExecutor(n_workers, context, _start_process, (pickle.dumps(worker),))


def _start_process(pickled: bytes) -> None:
    """Prepare a worker process: it leaves Ctrl-C to its parent, and ends when its parent is killed."""
    global _worker
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    cv2.setNumThreads(1)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    _worker = pickle.loads(pickled)  # noqa: S301 - from our parent


def _submit(
    pool: ProcessPoolExecutor, running: dict[Future[list[Outcome]], list[ImageTask]], group: list[ImageTask]
) -> None:
    """Give a group of tasks to the pool."""
    try:
        with _without_main_module():
            future = pool.submit(_work, group)
    except BrokenProcessPool as error:
        future = Future()
        future.set_exception(error)
    running[future] = group


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Let processes that start here not run the program's main file, which may have no `if __name__ == "__main__"`."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _work(group: list[ImageTask]) -> list[Outcome]:
    """Do a group of tasks in a worker process."""
    assert _worker is not None
    return list(_worker(group))
