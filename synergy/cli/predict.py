"""`synergy predict`: images, folders, videos or standard input to landmarks, pose and meshes."""

from __future__ import annotations

import hashlib
import json
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Annotated

import typer

from synergy.cli.console import error_console, say
from synergy.cli.options import (
    BfmOption,
    EngineName,
    EngineOption,
    MinFaceOption,
    MirrorOption,
    NetworkOption,
    Place,
    Renderer,
    RendererOption,
    Roll,
    ThreadsOption,
)
from synergy.cli.predict_video import track_camera
from synergy.cli.processes import AUTO_MIN_IMAGES, choose_workers
from synergy.cli.sources import Source, find_sources
from synergy.defaults import MAX_PIXELS, MIN_CONFIDENCE, THRESHOLD
from synergy.errors import UserError, describe
from synergy.extras import needs_extra
from synergy.outputs import require_writable_folder
from synergy.result_formats import DEFAULT_FORMATS, RESULT_FORMATS, TABLE_FORMATS
from synergy.shards import ALL, Shard

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from synergy.cli.predict_job import Job, Tally
    from synergy.predictor import FacePredictor


def predict(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="IMAGE|DIR|VIDEO|LIST|ARCHIVE|-",
            help="What to read. LIST is a .txt file with one path per line, relative to the current folder, without "
            "quotes and comments. ARCHIVE is a tar, zip or Parquet file with images, - is one image on stdin.",
        ),
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
            help='JSON {"photos/a.jpg": \\[\\[x0, y0, x1, y1], ...]}: faces to use instead of the detector\'s. A box '
            "goes around the 68 landmarks, from the brows to the chin, in pixels of the upright image. Keys are paths "
            "as given on the command line, or as found in a given folder."
        ),
    ] = None,
    model: NetworkOption = "synergynet",
    bfm: BfmOption = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    mirror: MirrorOption = False,
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
            help="Detected faces that the network takes for faces with a lower probability are removed, for weights "
            "that predict it. Faces of --boxes are kept.",
        ),
    ] = MIN_CONFIDENCE,
    engine: EngineOption = EngineName.AUTO,
    threads: ThreadsOption = None,
    threshold: Annotated[
        float, typer.Option(min=0.01, max=1, help="Lowest score of the detector that counts as a face.")
    ] = THRESHOLD,
    min_face: MinFaceOption = None,
    max_pixels: Annotated[
        int,
        typer.Option(
            min=1,
            help="Images and video frames with more pixels (width times height) are skipped before they are decoded, "
            "because they can exhaust the memory. Memory is about 12 bytes per pixel.",
        ),
    ] = MAX_PIXELS,
    renderer: RendererOption = Renderer.BUILTIN,
    workers: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Processes that work on images; 0 uses no further process. By default 0 for fewer than 200 images, "
            "and else one per processor. Each needs about 400 MB of memory.",
            show_default=False,
        ),
    ] = None,
    on: Annotated[
        Place,
        typer.Option(
            help="local, or ray: the machines of a Ray cluster, that of RAY_ADDRESS, or one on this computer. "
            "It needs the extra ray and writes tables only. --workers is the number of processes in the cluster."
        ),
    ] = Place.LOCAL,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N",
            help="Process only one of N parts of the inputs, for example 2/8. An input's name determines its part.",
        ),
    ] = None,
    neutral: Annotated[
        bool, typer.Option("--neutral", help="Write meshes with a neutral expression; pictures keep the expression.")
    ] = False,
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
    [bold]synergy predict faces-*.tar --format parquet[/]   archives; a table for pandas, DuckDB or Spark
    [bold]synergy predict --camera 0[/]                     live, until Ctrl-C or Q
    [bold]synergy predict photo.jpg --format glb[/]        a textured mesh for Blender

    The files of photos/a.jpg are called photos/a.jpg_overlay.jpg, photos/a.jpg_0.glb and so on; 0 is the face's number.
    Of a video, clip.mp4_1.glb is the person with id 1; pts and other meshes are one file per face in clip.mp4_frames.
    The numbers of all runs with the same --out are in predictions.jsonl. A run makes the tables of its --format from
    it, predictions.json and so on; other tables stay as they are.

    A file that cannot be used is named, listed in skipped.csv and skipped; the exit status is then 2. Results are
    written as they come: the same command continues after it was stopped or killed, and skips what is finished.
    """
    from synergy.cli.predict_job import Job, Tally
    from synergy.detect import CenterFace
    from synergy.draw import draw_picture, overlay
    from synergy.predictor import FacePredictor
    from synergy.raster import rasterizer
    from synergy.registry import open_network
    from synergy.results import ResultFolder

    wanted = _wanted_formats(formats, on)
    draw = partial(draw_picture, rasterizer=rasterizer(renderer.value))
    console = error_console()
    tally = Tally()

    def skip(problem: str) -> None:
        tally.skipped += 1
        say(console, problem, "skipped:", "red")

    def leave_out(problem: str) -> None:
        tally.left_out += 1
        say(console, problem, "skipped:", "red")

    if (camera is None) == (not inputs):
        raise UserError("give files or folders, or --camera" + (", not both" if inputs else ""))
    part = ALL if shard is None else Shard.parse(shard)
    sources = find_sources(inputs or [], leave_out, partial(say, console), part)
    given = _read_boxes(boxes, sources, part)
    if camera is None:
        require_writable_folder(out)
    on_ray = on is Place.RAY
    n_workers = workers if on_ray else choose_workers(workers, _count_images(sources)) if camera is None else 0
    # Worker processes share the processors, so each gets one thread.
    threads = 1 if threads is None and (on_ray or n_workers) else threads
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
    if not predictor.net.morphable_model.is_dense:
        reason = f"'{predictor.net.morphable_model.name}' has landmark vertices only, there is no mesh"
        with_mesh = {name for name in wanted if RESULT_FORMATS[name].needs_mesh}
        wanted = _without(wanted, with_mesh, formats, reason)
        if with_mesh:
            say(console, f"no meshes are drawn: {reason}")
    with ResultFolder(out) as results, _progress(console) as progress:
        job = Job(
            predictor=predictor,
            results=results,
            wanted=wanted,
            shard=part,
            given=given,
            settings=_settings_key(predictor, (threshold, min_face), renderer.value, neutral),
            draw=draw,
            neutral=neutral,
            n_workers=n_workers,
            on_ray=on_ray,
            skip=skip,
            warn=partial(say, console, label="incomplete:", style="yellow"),
            progress=progress,
            tally=tally,
        )
        _run_all(job, sources, console)
    _summarise(tally, console, out, min_confidence)


def _wanted_formats(formats: str, on: Place) -> list[str]:
    """Return the names in `--format` that can be written.

    Raises:
        UserError: no name, an unknown name, a package that it needs is not installed, or Ray is to write more than
            tables.
    """
    wanted = [name.strip() for name in formats.split(",") if name.strip()]
    if not wanted:
        raise UserError(f"--format: give at least one format, of {', '.join(RESULT_FORMATS)}")
    if unknown := sorted(set(wanted) - set(RESULT_FORMATS)):
        raise UserError(f"unknown format {', '.join(unknown)}; choose from {', '.join(RESULT_FORMATS)}")
    if "parquet" in wanted:
        with needs_extra("scale", "--format parquet"):
            import_module("pyarrow")
    if on is Place.RAY:
        files = {name for name in wanted if name not in TABLE_FORMATS}
        wanted = _without(wanted, files, formats, f"--on ray writes tables only ({','.join(TABLE_FORMATS)})")
        with needs_extra("ray", "--on ray"):
            import_module("ray")
    return wanted


def _without(wanted: Sequence[str], unavailable: set[str], formats: str, reason: str) -> list[str]:
    """Leave out formats that cannot be written, if they were wanted by default only.

    Raises:
        UserError: `--format` names one of them.
    """
    left_out = sorted(set(wanted) & unavailable)
    if left_out and formats != DEFAULT_FORMATS:
        raise UserError(f"--format {','.join(left_out)}: {reason}")
    return [name for name in wanted if name not in unavailable]


def _summarise(tally: Tally, console: Console, out: Path, min_confidence: float) -> None:
    """Say what was done.

    Raises:
        UserError: some inputs could not be used, or in part only, or were left out.
    """
    from synergy.cli.predict_job import MAX_LISTED
    from synergy.results import SKIPPED

    removed = f"; {tally.removed} with a confidence below {min_confidence:g} removed" if tally.removed else ""
    say(console, f"{tally.faces} face(s) in {tally.images} image(s){removed}, results in {out}/")
    if tally.kept:
        say(console, f"{tally.kept} input(s) were finished before and were not repeated")
    if tally.empty:
        listed = ", ".join(tally.first_empty) + " ..." * (tally.empty > MAX_LISTED)
        say(console, listed, f"no face found in {tally.empty}:", "yellow")
    if tally.skipped:
        total = tally.inputs + tally.skipped
        raise UserError(f"{tally.skipped} of {total} inputs could not be used, see {out / SKIPPED}")
    if tally.incomplete:
        raise UserError(f"{tally.incomplete} of {tally.inputs} inputs could be read in part only; those parts are kept")
    if tally.left_out:
        raise UserError(f"{tally.left_out} folder(s) or file(s) were left out, see the lines above")


def _count_images(sources: Sequence[Source]) -> int:
    """Count images, for the choice of workers; the number in archives is not known and taken as large."""
    return sum(AUTO_MIN_IMAGES if source.is_archive else not source.is_video for source in sources)


def _run_all(job: Job, sources: Sequence[Source], console: Console) -> None:
    """Do all inputs, then write the tables, also after Ctrl-C and SIGTERM.

    Args:
        job: does the inputs.
        sources: the inputs.
        console: for messages.

    Raises:
        UserError: nothing can be written any more.
    """
    with _stop_on_sigterm():
        try:
            job.run(sources)
        except (KeyboardInterrupt, SystemExit):
            total = "" if any(source.is_archive for source in sources) else f" of {len(sources)}"
            say(console, f"{job.tally.inputs}{total} inputs are finished; the same command continues", "stopped:")
            raise
        finally:
            job.write_tables()


def _read_boxes(path: Path | None, sources: Sequence[Source], shard: Shard) -> dict[str, object]:
    """Read the file of `--boxes`; every key must be the name of an input, in an archive, or in another shard."""
    if path is None:
        return {}
    try:
        # Some editors of Windows write a byte order mark first.
        boxes = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON ({describe(error)})") from None
    if not isinstance(boxes, dict):
        raise UserError(f'{path}: expected {{"photos/a.jpg": [[x0, y0, x1, y1], ...]}}')
    boxes = {PurePath(key).as_posix(): value for key, value in boxes.items()}
    names = {source.name for source in sources if not source.is_archive}
    folders = tuple(f"{source.name}/" for source in sources if source.is_archive)
    if unmatched := [key for key in boxes if key in shard and key not in names and not key.startswith(folders)]:
        example = f", for example '{sources[0].name}'" if sources else ""
        raise UserError(
            f"{path}: {len(unmatched)} of {len(boxes)} keys name no input, the first is '{unmatched[0]}'; "
            f"inputs are called as given{example}"
        )
    if absent := [key for key, value in boxes.items() if value is None]:
        raise UserError(f"{path}: '{absent[0]}' has null instead of a list of boxes; leave it out to use the detector")
    return boxes


def _settings_key(
    predictor: FacePredictor, detection: tuple[float, float | None], renderer: str, neutral: bool = False
) -> str:
    """Identify the program's version, the weights and the settings that determine the predicted faces."""
    import synergy
    from synergy.cli.predict_images import digest
    from synergy.weights import decides_predictions

    weights = hashlib.sha256()
    if callable(state := getattr(predictor.net, "state_dict", None)):
        for name, tensor in state().items():
            if decides_predictions(name):
                weights.update(name.encode() + tensor.cpu().numpy().tobytes())
    model_digest = predictor.net.morphable_model.digest
    network = [predictor.net.model_id, getattr(predictor.net, "digest", weights.hexdigest()), model_digest]
    choices = [predictor.mirror, predictor.roll, predictor.min_confidence]
    return digest([synergy.__version__, *network, *choices, *detection, renderer, neutral])


def _progress(console: Console) -> Progress:
    """Return progress bars, which are shown on the console where it is a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


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
