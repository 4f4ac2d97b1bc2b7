"""Image tasks on a Ray cluster: Ray Data divides and restarts the work, this program records the results.

The machines of the cluster need this package, and the files under the same paths. They read the images. The faces come
back to this process, which alone writes results.
"""

from __future__ import annotations

import logging
import os
import pickle
from collections.abc import Generator, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from synergy.cli.predict_images import BATCH_IMAGES, ImageTask, ImageWorker, Outcome, input_key
from synergy.cli.sources import Source
from synergy.errors import UserError, describe
from synergy.extras import needs_extra
from synergy.shards import Shard

if TYPE_CHECKING:
    import pyarrow as pa

# Files that one task of Ray reads.
_FILES_PER_UNIT = 64
# Bytes of images that wait in one block. Small blocks spread over the workers, and little is repeated when one dies.
_BLOCK_BYTES = 2 * 2**20
# Processors that a worker and a reading task ask for. Together they leave room for reading on every processor.
_WORKER_CPUS = 0.9
_READER_CPUS = 0.1


@dataclass(frozen=True)
class ArchiveTask:
    """An archive whose images are to be predicted.

    Attributes:
        source: the archive.
        shard: the part of its images that is done.
        settings: identifies everything but the image that determines the result.
        boxes: image name to boxes that replace the detector's.
        finished: image name to the key of its recorded result.
    """

    source: Source
    shard: Shard
    settings: str
    boxes: Mapping[str, object]
    finished: Mapping[str, str]


@dataclass(frozen=True)
class ArchiveOutcome:
    """What became of an archive, or of an image in it that was finished before.

    Attributes:
        name: the archive, or the image.
        key: the key of the finished image; empty for an archive.
        n_images: number of images that could be read from the archive.
        failure: why it could not be read to its end; empty if it could.
    """

    name: str
    key: str = ""
    n_images: int = 0
    failure: str = ""


def run_on_ray(
    worker: ImageWorker, tasks: Iterable[ImageTask | ArchiveTask], n_workers: int | None
) -> Generator[Outcome | ArchiveOutcome, None, None]:
    """Yield the outcomes of tasks from a Ray cluster: that of RAY_ADDRESS, or one that is started on this machine.

    Ray starts workers and reading tasks that died again and repeats what they did. It does so without end, also if an
    image makes every worker die.

    Args:
        worker: does groups of images. It writes no files.
        tasks: the tasks. All of them are listed before the work begins.
        n_workers: number of worker processes in the cluster; by default one per processor.

    Raises:
        UserError: Ray is not installed, cannot be reached, or gives up.
    """
    with needs_extra("ray", "--on ray"):
        import ray
        import ray.data
        import ray.exceptions
    try:
        _connect()
        units = [{"unit": pickle.dumps(unit)} for unit in _units(tasks)]
        if not units:
            return
        count = n_workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        images = ray.data.from_items(units, override_num_blocks=len(units)).flat_map(_read, num_cpus=_READER_CPUS)
        outcomes = images.map_batches(
            _Predict,
            fn_constructor_args=(pickle.dumps(worker),),
            batch_size=BATCH_IMAGES,
            batch_format="pyarrow",
            compute=ray.data.ActorPoolStrategy(size=count),
            num_cpus=_WORKER_CPUS,
        )
        for row in outcomes.iter_rows():
            yield _decode(row)
    except (ray.exceptions.RayError, ConnectionError) as error:
        raise UserError(f"--on ray: {describe(error)}; the same command continues") from None
    finally:
        ray.shutdown()


def _connect() -> None:
    """Connect to the cluster, without Ray's messages, progress bars and usage reports.

    Raises:
        UserError: the cluster cannot be reached or started.
    """
    import ray
    import ray.data

    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR, ignore_reinit_error=True)
    # Ray has no common class for what goes wrong here; it raises even plain `Exception`.
    except Exception as error:
        raise UserError(f"--on ray: Ray did not start or could not be reached ({describe(error)})") from None
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.target_max_block_size = _BLOCK_BYTES


def _units(tasks: Iterable[ImageTask | ArchiveTask]) -> Iterator[list[ImageTask] | ArchiveTask]:
    """Yield groups of files and single archives, each for one task of Ray."""
    files: list[ImageTask] = []
    for task in tasks:
        if isinstance(task, ArchiveTask):
            yield task
            continue
        files.append(task)
        if len(files) == _FILES_PER_UNIT:
            yield files
            files = []
    if files:
        yield files


def _read(row: Mapping[str, bytes]) -> Iterator[dict[str, bytes]]:
    """Yield one row per image of a unit, and rows about its archive. Runs in Ray."""
    unit = pickle.loads(row["unit"])  # noqa: S301 - from our own process
    items = _read_archive(unit) if isinstance(unit, ArchiveTask) else unit
    for item in items:
        # The content of an image is a column of its own, so that it is not copied into the pickle.
        if isinstance(item, ImageTask) and isinstance(item.content, bytes):
            yield {"item": pickle.dumps(replace(item, content=b"")), "content": item.content}
        else:
            yield {"item": pickle.dumps(item), "content": b""}


def _read_archive(task: ArchiveTask) -> Iterator[ImageTask | ArchiveOutcome]:
    """Yield the images of an archive that have to be done, and what is known of the others and of the archive."""
    n_images = 0
    failure = ""
    try:
        for image in task.source.images():
            n_images += 1
            if image.name not in task.shard:
                continue
            boxes = task.boxes.get(image.name)
            key = input_key(task.settings, image.version(), boxes)
            if task.finished.get(image.name) == key:
                yield ArchiveOutcome(image.name, key)
            else:
                yield ImageTask(image.name, key, image.content, None, boxes)
    except UserError as error:
        failure = str(error)
    yield ArchiveOutcome(task.source.name, "", n_images, failure)


class _Predict:
    """What a worker process of Ray does: predict the images of a batch of rows."""

    def __init__(self, pickled: bytes) -> None:
        import cv2

        cv2.setNumThreads(1)
        self.worker: ImageWorker = pickle.loads(pickled)  # noqa: S301 - from our own process

    def __call__(self, batch: pa.Table) -> dict[str, list[bytes]]:
        items = [(pickle.loads(row["item"]), row["content"]) for row in batch.to_pylist()]  # noqa: S301
        tasks = [
            replace(item, content=content) if content else item
            for item, content in items
            if isinstance(item, ImageTask)
        ]
        others = [item for item, _ in items if not isinstance(item, ImageTask)]
        done = [replace(outcome, task=replace(outcome.task, content=b"")) for outcome in self.worker(tasks)]
        return {"outcome": [pickle.dumps(outcome) for outcome in [*others, *done]]}


def _decode(row: Mapping[str, Any]) -> Outcome | ArchiveOutcome:
    """Read a row that a worker gave back."""
    outcome: Outcome | ArchiveOutcome = pickle.loads(row["outcome"])  # noqa: S301 - from our own workers
    return outcome
