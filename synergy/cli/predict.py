"""`synergy predict`: images, folders, videos or standard input to landmarks, pose and meshes."""

from __future__ import annotations

import hashlib
import itertools
import json
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from synergy.cli.console import error_console, say
from synergy.cli.options import (
    BfmOption,
    EngineName,
    EngineOption,
    NetworkOption,
    Renderer,
    RendererOption,
    Roll,
    ThreadsOption,
)
from synergy.cli.predict_video import track_camera, track_video
from synergy.cli.sources import Source, find_sources, output_stem
from synergy.defaults import MAX_PIXELS, MIN_CONFIDENCE
from synergy.errors import UserError, describe, printable
from synergy.outputs import require_writable_folder
from synergy.result_formats import DEFAULT_FORMATS, MESH_FORMATS, PICTURE_FORMATS, RESULT_FORMATS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from rich.console import Console
    from rich.progress import Progress

    from synergy.face import Face
    from synergy.faces import Faces
    from synergy.predictor import FacePredictor
    from synergy.results import Finished, ResultFolder
    from synergy.video import Frame

    Image = NDArray[np.uint8]
    Painter = Callable[[Image, Sequence[Face]], Image]

_MAX_LISTED = 10


def predict(
    inputs: Annotated[
        list[str] | None, typer.Argument(metavar="IMAGE|DIR|VIDEO|-", help="What to read; - is one image on stdin.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("out"),
    formats: Annotated[
        str,
        typer.Option(
            "--format",
            help="Comma-separated list of: "
            + "; ".join(f"[bold]{one.name}[/] ({one.description})" for one in RESULT_FORMATS.values())
            + ".",
        ),
    ] = DEFAULT_FORMATS,
    boxes: Annotated[
        Path | None,
        typer.Option(
            help='JSON {"photos/a.jpg": [[x0, y0, x1, y1], ...]}: faces to use instead of the detector\'s. Keys are '
            "paths as given on the command line, or as found in a given folder."
        ),
    ] = None,
    model: NetworkOption = "synergynet",
    bfm: BfmOption = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    mirror: Annotated[
        bool, typer.Option("--mirror", help="Mean with the mirrored face: more accurate, twice the time.")
    ] = False,
    roll: Annotated[
        Roll,
        typer.Option(
            help="Faces that are rotated in the image plane: auto predicts them again in upright crops; any tries four "
            "orientations of every face, and of photos without a face; upright expects upright faces."
        ),
    ] = Roll.AUTO,
    min_confidence: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Lowest probability of a face by the network, for weights that predict it. Lower ones are "
            "removed. Given --boxes are kept.",
        ),
    ] = MIN_CONFIDENCE,
    engine: EngineOption = EngineName.AUTO,
    threads: ThreadsOption = None,
    threshold: Annotated[float, typer.Option(help="Lowest detector score that counts as a face.")] = 0.35,
    min_face: Annotated[
        float | None,
        typer.Option(
            help="Smallest face that is wanted: its longer side in pixels. Larger is faster. By default 32, or 1/48 of "
            "the longer side of large images."
        ),
    ] = None,
    max_pixels: Annotated[
        int,
        typer.Option(
            min=1,
            help="Images and video frames with more pixels (width times height) are skipped before they are decoded, "
            "because they can exhaust the memory. Memory is about 12 bytes per pixel.",
        ),
    ] = MAX_PIXELS,
    renderer: RendererOption = Renderer.BUILTIN,
    camera: Annotated[
        int | None,
        typer.Option(
            help="Instead of files, follow the faces that this camera sees (0 is the first). A window shows them; "
            "without a display, each frame is a line of JSON."
        ),
    ] = None,
) -> None:
    """Find faces and write their landmarks, pose and meshes.

    [bold]synergy predict photo.jpg[/]                      landmarks and mesh drawn, all numbers in predictions.json
    [bold]synergy predict photos/ --format csv,pts[/]      a table, and 300-W .pts files
    [bold]synergy predict photo.jpg --format pose,depth[/]   pictures of the head pose and of the depth
    [bold]synergy predict clip.mp4[/]                       tracked people: an annotated video, all numbers per frame
    [bold]synergy predict clip.mp4 --format glb[/]         an animated mesh of each person, with named expressions
    [bold]synergy predict --camera 0[/]                     live, until Ctrl-C or Q
    [bold]synergy predict photo.jpg --format glb[/]        a textured mesh for Blender

    The files of photos/a.jpg are called photos/a.jpg_overlay.jpg, photos/a.jpg_0.glb and so on; 0 is the face's number.
    Of a video, clip.mp4_1.glb is the person with id 1; pts, obj and ply are one file per face in clip.mp4_frames.
    All numbers of all runs with the same --out are in predictions.json and predictions.csv.

    A file that cannot be used is named and skipped; the exit status is then 2. Results are written as they come: the
    same command continues after it was stopped or killed, and skips what is finished.
    """
    from synergy.detect import CenterFace
    from synergy.device import require_device
    from synergy.draw import draw_picture, overlay
    from synergy.predictor import FacePredictor
    from synergy.raster import rasterizer
    from synergy.registry import open_network
    from synergy.results import ResultFolder

    wanted = [name.strip() for name in formats.split(",") if name.strip()]
    if unknown := sorted(set(wanted) - set(RESULT_FORMATS)):
        raise UserError(f"unknown format {', '.join(unknown)}; choose from {', '.join(RESULT_FORMATS)}")
    draw = partial(draw_picture, rasterizer=rasterizer(renderer.value))
    console = error_console()
    problems: list[str] = []

    def skip(problem: str) -> None:
        problems.append(problem)
        say(console, problem, "skipped:", "red")

    if (camera is None) == (not inputs):
        raise UserError("give files or folders, or --camera" + (", not both" if inputs else ""))
    sources = find_sources(inputs or [], skip)
    given = _read_boxes(boxes, sources)
    require_device(device)
    if camera is None:
        require_writable_folder(out)
    detector = CenterFace(threshold, min_face, threads=threads)
    predictor = FacePredictor(
        open_network(model, bfm),
        detector,
        device,
        mirror=mirror,
        roll=roll.value,
        min_confidence=min_confidence,
        engine=engine.value,
        threads=threads,
        max_pixels=max_pixels,
    )
    if camera is not None:
        track_camera(camera, predictor, overlay)
        return
    if unavailable := _unavailable(predictor, wanted):
        if formats != DEFAULT_FORMATS:
            raise UserError(f"--format {','.join(unavailable)}: {_no_mesh(predictor)}")
        say(console, f"no meshes are drawn: {_no_mesh(predictor)}")
        wanted = [name for name in wanted if name not in unavailable]
    with ResultFolder(out) as results:
        job = _Job(
            predictor,
            results,
            wanted,
            given,
            _settings_key(predictor, (threshold, min_face), renderer.value),
            draw,
            partial(say, console, label="incomplete:", style="yellow"),
        )
        done = _run_all(job, sources, console, skip)
    n_faces, n_images = sum(one.faces for one in done.values()), sum(one.images for one in done.values())
    removed = f"; {job.removed} with a confidence below {min_confidence:g} removed" if job.removed else ""
    say(console, f"{n_faces} face(s) in {n_images} image(s){removed}, results in {out}/")
    if job.kept:
        say(console, f"{job.kept} input(s) were finished before and were not repeated")
    if empty := [name for name, one in done.items() if not one.faces]:
        listed = ", ".join(empty[:_MAX_LISTED]) + " ..." * (len(empty) > _MAX_LISTED)
        say(console, listed, f"no face found in {len(empty)}:", "yellow")
    if problems:
        raise UserError(f"{len(problems)} of {len(done) + len(problems)} inputs could not be used")
    if job.incomplete:
        raise UserError(f"{job.incomplete} of {len(done)} inputs could be read in part only; those parts are kept")


def _unavailable(predictor: FacePredictor, wanted: list[str]) -> list[str]:
    """List the wanted formats that need a mesh, where the weights' morphable model has none."""
    if predictor.net.morphable_model.is_dense:
        return []
    return sorted(name for name in wanted if RESULT_FORMATS[name].needs_mesh)


def _no_mesh(predictor: FacePredictor) -> str:
    """Say why there is no mesh."""
    return f"'{predictor.net.morphable_model.name}' has landmark vertices only, there is no mesh"


def _run_all(job: _Job, sources: list[Source], console: Console, skip: Callable[[str], None]) -> dict[str, Finished]:
    """Do all inputs, then write the tables, also after Ctrl-C and SIGTERM.

    Args:
        job: does one input.
        sources: the inputs.
        console: for progress and messages.
        skip: called with one line per input that could not be used.

    Returns:
        Input name to what is recorded of it.

    Raises:
        UserError: nothing can be written any more.
    """
    done: dict[str, Finished] = {}
    with _progress(console) as progress, _stop_on_sigterm():
        task = progress.add_task("Predicting", total=len(sources))
        try:
            for source in sources:
                try:
                    done[source.name] = job.run(source, progress)
                # Whatever is wrong with one file, even memory that does not suffice, the others are still done.
                except Exception as error:
                    job.results.drop_staged()
                    _stop_if_fatal(error, job.results.path)
                    text = describe(error)
                    skip(text if text.startswith(source.name) else f"{source.name}: {text}")
                progress.advance(task)
        except (KeyboardInterrupt, SystemExit):
            say(console, f"{len(done)} of {len(sources)} inputs are finished; the same command continues", "stopped:")
            raise
        finally:
            job.results.write_tables(json_file="json" in job.wanted, csv_file="csv" in job.wanted)
    return done


@dataclass
class _Job:
    """What is done with each input.

    Attributes:
        predictor: predicts the faces.
        results: takes the results.
        wanted: names from `RESULT_FORMATS`.
        given: input name to boxes that replace the detector's.
        settings: identifies everything but the input that decides about the result.
        draw: makes a picture of an image and its faces in the style of a name from `PICTURE_FORMATS`.
        warn: prints one line about an input of which a part is used.
        incomplete: number of inputs that could be read in part only.
        kept: number of inputs that an earlier run had finished.
        removed: number of detections that were removed because of a low confidence.
    """

    predictor: FacePredictor
    results: ResultFolder
    wanted: list[str]
    given: dict[str, object]
    settings: str
    draw: Callable[[Image, Sequence[Face], str], Image]
    warn: Callable[[str], None]
    incomplete: int = 0
    kept: int = 0
    removed: int = 0

    def run(self, source: Source, progress: Progress) -> Finished:
        """Predict one input, write its files and record it, unless that has been done."""
        key = _digest([self.settings, source.version(), self.given.get(source.name)])
        formats = sorted(set(self.wanted) - {"json", "csv"})
        finished = self.results.finished(source.name, key, formats)
        if finished is not None:
            self.kept += 1
        elif source.is_video:
            finished = self._video(source, key, formats, progress)
        else:
            finished = self._image(source, key, formats)
        if finished.problem:
            self.incomplete += 1
            self.warn(f"{source.name}: {finished.problem}")
        return finished

    def _image(self, source: Source, key: str, formats: list[str]) -> Finished:
        from synergy.export import write_mesh, write_pts
        from synergy.images import count_frames, read_image, write_image

        if (n_frames := count_frames(source.content)) > 1:
            self.warn(f"{source.name}: an animation, only the first of its {n_frames} pictures is used")
        image = read_image(source.content, source.name, self.predictor.max_pixels)
        faces = self.predictor(image, boxes=self.given.get(source.name))  # type: ignore[arg-type]
        self.removed += faces.n_removed
        stem = self._staged_stem(source)
        for kind in (kind for kind in PICTURE_FORMATS if kind in formats):
            # An image without a face has no picture but the overlay, which shows that none was found.
            if faces or kind == "overlay":
                write_image(f"{stem}_{kind}{PICTURE_FORMATS[kind].suffix}", self.draw(image, faces, kind))
        for i, face in enumerate(faces):
            if "pts" in formats:
                write_pts(f"{stem}_{i}.pts", face.landmarks68)
            for kind in MESH_FORMATS:
                if kind in formats:
                    write_mesh(f"{stem}_{i}.{kind}", face, image)
        return self.results.finish(source.name, key, formats, faces.to_dict()["faces"])

    def _video(self, source: Source, key: str, formats: list[str], progress: Progress) -> Finished:
        if source.name in self.given:
            raise UserError("boxes can be given for images, not for videos")
        assert isinstance(source.content, Path)
        painters = {kind: self._painter(kind) for kind in PICTURE_FORMATS if kind in formats}
        task = progress.add_task(f"{_plain(source.name)}, seconds", total=None)
        count = itertools.count()

        def record(frame: Frame, faces: Faces) -> None:
            name = f"{source.name}#{next(count):06d}"
            self.results.add_frame(source.name, key, name, frame.seconds, faces.to_dict()["faces"])
            progress.update(task, completed=frame.seconds)

        try:
            n_frames, n_faces, problem = track_video(
                source.content,
                self._staged_stem(source),
                self.predictor,
                painters,
                formats,
                record,
                lambda seconds: progress.update(task, total=seconds),
            )
        finally:
            progress.remove_task(task)
        return self.results.finish(source.name, key, formats, None, (n_frames, n_faces), problem)

    def _painter(self, kind: str) -> Painter:
        """Return the function that draws frames in one style."""
        return lambda image, faces: self.draw(image, faces, kind)

    def _staged_stem(self, source: Source) -> Path:
        """Return the path with which the staged files of an input begin."""
        stem = self.results.staging / output_stem(source.name)
        stem.parent.mkdir(parents=True, exist_ok=True)
        return stem


def _read_boxes(path: Path | None, sources: list[Source]) -> dict[str, object]:
    """Read the file of `--boxes`; every key must be the name of an input."""
    if path is None:
        return {}
    try:
        boxes = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({describe(error)})") from None
    if not isinstance(boxes, dict):
        raise UserError(f'{path}: expected {{"photos/a.jpg": [[x0, y0, x1, y1], ...]}}')
    names = {source.name for source in sources}
    if unmatched := [key for key in boxes if key not in names]:
        raise UserError(
            f"{path}: {len(unmatched)} of {len(boxes)} keys name no input, the first is '{unmatched[0]}'; "
            f"inputs are called as given, for example '{sources[0].name}'"
        )
    return boxes


def _settings_key(predictor: FacePredictor, detection: tuple[float, float | None], renderer: str) -> str:
    """Identify the program's version, the weights and the settings that decide about predicted faces."""
    import synergy
    from synergy.weights import decides_predictions

    weights = hashlib.sha256()
    if callable(state := getattr(predictor.net, "state_dict", None)):
        for name, tensor in state().items():
            if decides_predictions(name):
                weights.update(name.encode() + tensor.cpu().numpy().tobytes())
    digest = predictor.net.morphable_model.digest
    network = [predictor.net.model_id, getattr(predictor.net, "digest", weights.hexdigest()), digest]
    choices = [predictor.mirror, predictor.roll, predictor.min_confidence]
    return _digest([synergy.__version__, *network, *choices, *detection, renderer])


def _digest(value: object) -> str:
    """Return 16 hex digits of a SHA-256 over a value that JSON can hold."""
    return hashlib.sha256(json.dumps(value).encode()).hexdigest()[:16]


def _stop_if_fatal(error: Exception, out: Path) -> None:
    """Raise `UserError` where an error means that no other result can be written either, as on a full disk."""
    from synergy.results import is_fatal

    if isinstance(error, OSError) and is_fatal(error):
        raise UserError(f"{out}: cannot be written to ({describe(error)}); the same command continues") from None


@contextmanager
def _progress(console: Console) -> Iterator[Progress]:
    """Show a progress bar on the console where it is a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield progress


@contextmanager
def _stop_on_sigterm() -> Iterator[None]:
    """Leave in order on SIGTERM, with status 143, as after Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: object) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _plain(text: str) -> str:
    """Escape a text for rich's markup."""
    from rich.markup import escape

    return escape(printable(text))
