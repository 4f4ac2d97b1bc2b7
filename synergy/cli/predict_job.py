"""The inputs of one run of `synergy predict`, from the list of sources to the record of results."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from synergy.cli.predict_images import ImageTask, ImageWorker, Outcome, input_key, named
from synergy.cli.predict_ray import ArchiveOutcome, ArchiveTask, run_on_ray
from synergy.cli.predict_video import track_video
from synergy.cli.processes import run_tasks
from synergy.cli.sources import Source, output_stem
from synergy.errors import UserError, describe, is_fatal, printable
from synergy.result_formats import PICTURE_FORMATS, TABLE_FORMATS
from synergy.results import Finished, ResultFolder
from synergy.shards import Shard

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

    from synergy.cli.predict_images import Draw
    from synergy.cli.predict_video import Painter
    from synergy.faces import Faces
    from synergy.predictor import FacePredictor
    from synergy.video import Frame

# Inputs without a face that are named at the end of a run.
MAX_LISTED = 10


@dataclass
class Tally:
    """Numbers of a run.

    Attributes:
        inputs: inputs that are finished: images, also those in archives, and videos.
        images: images and frames of videos in them.
        faces: faces in them.
        removed: detections that were removed because of a low confidence.
        kept: inputs that an earlier run had finished.
        empty: inputs without a face.
        first_empty: names of the first of them.
        skipped: inputs that could not be used.
        left_out: folders and files that were left out while inputs were searched.
        incomplete: inputs that could be read in part only.
    """

    inputs: int = 0
    images: int = 0
    faces: int = 0
    removed: int = 0
    kept: int = 0
    empty: int = 0
    first_empty: list[str] = field(default_factory=list)
    skipped: int = 0
    left_out: int = 0
    incomplete: int = 0

    def add(self, name: str, finished: Finished) -> None:
        """Count a finished input."""
        self.inputs += 1
        self.images += finished.images
        self.faces += finished.faces
        if not finished.faces:
            self.empty += 1
            self.first_empty += [name] * (self.empty <= MAX_LISTED)


@dataclass
class Job:
    """What is done with the inputs.

    Attributes:
        predictor: predicts the faces.
        results: takes the results.
        wanted: names from `RESULT_FORMATS`.
        shard: the part of the inputs that is done.
        given: input name to boxes that replace the detector's.
        settings: identifies everything but the input that determines the result.
        draw: makes a picture of an image and its faces in the style of a name from `PICTURE_FORMATS`.
        neutral: write meshes without the expression.
        n_workers: number of processes that work on images; 0 for this process. On Ray, None for one per processor.
        on_ray: work on a Ray cluster.
        skip: prints one line about an input that cannot be used, and counts it.
        warn: prints one line about an input of which a part is used.
        progress: bars on the terminal.
        tally: the numbers of the run.
        formats: the wanted picture and mesh formats.
    """

    predictor: FacePredictor
    results: ResultFolder
    wanted: list[str]
    shard: Shard
    given: dict[str, object]
    settings: str
    draw: Draw
    neutral: bool
    n_workers: int | None
    on_ray: bool
    skip: Callable[[str], None]
    warn: Callable[[str], None]
    progress: Progress
    tally: Tally
    formats: list[str] = field(init=False)
    _bar: TaskID = field(init=False)

    def __post_init__(self) -> None:
        self.formats = sorted(set(self.wanted).difference(TABLE_FORMATS))

    def run(self, sources: Sequence[Source]) -> None:
        """Predict the inputs, write their files and record them, unless that has been done.

        Whatever is wrong with one input, the others are still done.

        Raises:
            UserError: nothing can be written any more.
        """
        has_archives = any(source.is_archive for source in sources)
        self._bar = self.progress.add_task("Predicting", total=None if has_archives else len(sources))
        worker = ImageWorker(self.predictor, self.formats, self.draw, self.neutral)
        if self.on_ray:
            with closing(run_on_ray(worker, self._tasks_for_ray(sources), self.n_workers)) as found:
                for one in found:
                    if isinstance(one, ArchiveOutcome):
                        self._record_archive(one)
                    else:
                        self._record(one)
            return
        with closing(run_tasks(worker, self._tasks(self._expand(sources)), self.n_workers or 0)) as outcomes:
            for outcome in outcomes:
                self._record(outcome)

    def _tasks_for_ray(self, sources: Iterable[Source]) -> Iterator[ImageTask | ArchiveTask]:
        """Yield the images that have to be done, and the archives, after the videos between them were done here."""
        for source in sources:
            if source.is_archive:
                prefix = f"{source.name}/"
                boxes = {name: one for name, one in self.given.items() if name.startswith(prefix)}
                keys = self.results.finished_keys(prefix)
                yield ArchiveTask(source, self.shard, self.settings, boxes, keys)
            else:
                yield from self._tasks([source])

    def _record_archive(self, outcome: ArchiveOutcome) -> None:
        """Record what became of an archive, or of an image in it that was finished before."""
        if outcome.key:
            finished = self.results.finished(outcome.name, outcome.key, self.formats)
            assert finished is not None
            self.tally.kept += 1
            self._finish(outcome.name, finished)
        else:
            self._close_archive(outcome.name, outcome.n_images, outcome.failure)

    def _expand(self, sources: Sequence[Source]) -> Iterator[Source]:
        """Yield the sources, and instead of archives the images in them that belong to the shard."""
        for source in sources:
            if not source.is_archive:
                yield source
                continue
            n_images = 0
            failure = ""
            try:
                for image in source.images():
                    n_images += 1
                    if image.name in self.shard:
                        yield image
            except UserError as error:
                failure = str(error)
            self._close_archive(source.name, n_images, failure)

    def _close_archive(self, name: str, n_images: int, failure: str) -> None:
        """Report and record an archive that could not be read to its end, or has no images."""
        if not failure and n_images:
            self.results.forget_failure(name)
            return
        failure = failure or f"{name}: no images in this archive"
        if n_images:
            self.tally.incomplete += 1
            self.warn(failure)
        else:
            self.skip(failure)
        self._record_failure(name, "", failure)

    def _tasks(self, sources: Iterable[Source]) -> Iterator[ImageTask]:
        """Yield the images that have to be done, after the videos between them were done here."""
        for source in sources:
            key = ""
            try:
                key = input_key(self.settings, source.version(), self.given.get(source.name))
                finished = self.results.finished(source.name, key, self.formats)
                if finished is not None:
                    self.tally.kept += 1
                elif source.is_video:
                    finished = self._video(source, key)
            except Exception as error:
                self._stop_if_fatal(error)
                self._fail(source.name, key, named(source.name, error))
                continue
            if finished is None:
                boxes = self.given.get(source.name)
                yield ImageTask(source.name, key, source.content, self.results.stage(), boxes)
            else:
                self._finish(source.name, finished)

    def _record(self, outcome: Outcome) -> None:
        """Record what became of an image."""
        task = outcome.task
        if outcome.is_fatal:
            raise self._cannot_write(outcome.failure.removeprefix(f"{task.name}: "))
        if outcome.warning:
            self.warn(f"{task.name}: {outcome.warning}")
        if outcome.faces is None:
            self._fail(task.name, task.key, outcome.failure, task.stage)
            return
        self.tally.removed += outcome.n_removed
        try:
            finished = self.results.finish(task.name, task.key, self.formats, outcome.faces, staged=task.stage)
        except Exception as error:
            self._stop_if_fatal(error)
            self._fail(task.name, task.key, named(task.name, error))
        else:
            self._finish(task.name, finished)

    def _finish(self, name: str, finished: Finished) -> None:
        """Count a finished input."""
        if finished.problem:
            self.tally.incomplete += 1
            self.warn(f"{name}: {finished.problem}")
        self.tally.add(name, finished)
        self.progress.advance(self._bar)

    def _fail(self, name: str, key: str, failure: str, staged: Path | None = None) -> None:
        """Report and record an input that cannot be used."""
        self.skip(failure)
        self._record_failure(name, key, failure, staged)
        self.progress.advance(self._bar)

    def _record_failure(self, name: str, key: str, failure: str, staged: Path | None = None) -> None:
        """Record an input that cannot be used."""
        try:
            self.results.fail(name, key, failure.removeprefix(f"{name}: "), staged)
        except OSError as error:
            raise self._cannot_write(describe(error)) from None

    def _stop_if_fatal(self, error: Exception) -> None:
        """Raise `UserError` where an error means that no other result can be written either, as on a full disk."""
        if is_fatal(error):
            raise self._cannot_write(describe(error)) from None

    def _cannot_write(self, reason: str) -> UserError:
        """Return the error that ends a run."""
        return UserError(f"{self.results.path}: cannot be written to ({reason}); the same command continues")

    def write_tables(self) -> None:
        """Write the wanted tables.

        Raises:
            UserError: they cannot be written, for example because the disk is full.
        """
        try:
            self.results.write_tables([name for name in TABLE_FORMATS if name in self.wanted])
        except OSError as error:
            raise self._cannot_write(describe(error)) from None

    def _video(self, source: Source, key: str) -> Finished:
        """Predict a video, write its files and record it."""
        if source.name in self.given:
            raise UserError("boxes can be given for images, not for videos")
        assert isinstance(source.content, Path)
        painters = {kind: self._painter(kind) for kind in PICTURE_FORMATS if kind in self.formats}
        bar = self.progress.add_task(f"{escape(printable(source.name))}, seconds", total=None)
        count = itertools.count()

        def record(frame: Frame, faces: Faces) -> None:
            name = f"{source.name}#{next(count):06d}"
            self.results.add_frame(source.name, key, name, frame.seconds, faces.to_dict()["faces"])
            self.progress.update(bar, completed=frame.seconds)

        staged = self.results.stage()
        stem = staged / output_stem(source.name)
        stem.parent.mkdir(parents=True)
        try:
            n_frames, n_faces, problem = track_video(
                source.content,
                stem,
                self.predictor,
                painters,
                self.formats,
                self.neutral,
                record,
                lambda seconds: self.progress.update(bar, total=seconds),
            )
        except BaseException:
            self.results.drop(staged)
            raise
        finally:
            self.progress.remove_task(bar)
        return self.results.finish(source.name, key, self.formats, None, (n_frames, n_faces), problem, staged)

    def _painter(self, kind: str) -> Painter:
        """Return the function that draws frames in one style."""
        return lambda image, faces: self.draw(image, faces, kind)
