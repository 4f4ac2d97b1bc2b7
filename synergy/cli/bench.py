"""`synergy bench`: measure speed and size of networks, photos and folders on this machine."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from synergy.cli.options import BfmOption, MinFaceOption, positive_numbers
from synergy.errors import UserError
from synergy.registry import WEIGHTS_HELP

_KINDS = ("median_ms", "p95_ms", "cpu_ms")
# Default error of `bench models`.
FIGURE = "aflw_val/nme_mean"

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


app = typer.Typer()


@app.callback(invoke_without_command=True)
def bench(
    context: typer.Context,
    models: Annotated[
        list[str] | None,
        typer.Option("--model", help=f"{WEIGHTS_HELP} Can be repeated; all bundled weights by default."),
    ] = None,
    bfm: BfmOption = None,
    int8: Annotated[
        Path | None, typer.Option(help="The first network as a file of synergy export onnx --int8, to compare with.")
    ] = None,
    mediapipe: Annotated[
        Path | None,
        typer.Option(
            help="Compare the photo with MediaPipe, where it is installed: the model file face_landmarker.task, which "
            "MediaPipe's documentation of its Face Landmarker offers for download."
        ),
    ] = None,
    min_face: MinFaceOption = None,
    threads: Annotated[str, typer.Option(help="Numbers of CPU threads, separated by commas.")] = "1,2",
    batches: Annotated[str, typer.Option(help="Batch sizes of the networks, separated by commas.")] = "1,8,64",
    rounds: Annotated[int, typer.Option(min=1, help="Number of turns of each network.")] = 5,
    seconds: Annotated[float, typer.Option(min=0, help="Time of each network in one turn.")] = 0.3,
    repeats: Annotated[int, typer.Option(min=1, help="Number of timed photos.")] = 40,
    images: Annotated[
        str,
        typer.Option(
            help="Numbers of photos in the test folders, separated by commas; an empty text leaves them out. "
            "100,1000,10000 takes about 10 minutes."
        ),
    ] = "100,1000",
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write all results to this file.")] = None,
    errors: Annotated[
        list[Path] | None, typer.Option(help="Errors for --plot: a file of synergy eval --json. Can be repeated.")
    ] = None,
    error_key: Annotated[str, typer.Option(help="Dotted key of the error in these files.")] = "nme2d.visible68.mean",
    plot: Annotated[Path | None, typer.Option(help="Write a plot of error against milliseconds.")] = None,
) -> None:
    """Compare networks with those of other projects, and time the stages of a photo and whole folders.

    All networks are measured in turns in one run, because the speed of a machine changes. Compare the ratios, not times
    of different runs. The networks of other projects are built from their public descriptions with random weights,
    which take the same time as trained ones. The networks of the package face-alignment take part where it is
    installed, also with random weights.
    """
    if context.invoked_subcommand is not None:
        sources = map(context.get_parameter_source, context.params)
        given = [source for source in sources if source is not None and source.name == "COMMANDLINE"]
        if given:
            raise UserError(f"give options after `{context.invoked_subcommand}`, not before it")
        return
    import json

    from synergy.benchmark.report import Settings, measure, plot_errors, read_error
    from synergy.cli.console import table_console
    from synergy.registry import open_network
    from synergy.weights import DEFAULT, bundled_weights

    _require_outputs(json_file, plot)
    if bool(errors) != (plot is not None):
        raise UserError("--plot and --errors need each other")
    error_of = dict(read_error(path, error_key) for path in errors or [])
    settings = Settings(
        threads=positive_numbers("--threads", threads),
        batches=positive_numbers("--batches", batches),
        rounds=rounds,
        seconds=seconds,
        repeats=repeats,
        images=tuple(sorted(positive_numbers("--images", images))) if images else (),
        min_face=min_face,
    )
    specs = models or sorted(bundled_weights(), key=lambda name: (name != DEFAULT, name))
    networks = {spec: open_network(spec, bfm) for spec in specs}
    measured = sorted(net.model_id for net in networks.values())
    if plot is not None and not error_of.keys() & set(measured):
        raise UserError(f"--plot: no errors for the measured networks ({', '.join(measured)})")
    console = table_console()
    with _Bar(console) as bar:
        results = measure(networks, settings, bar.show, int8, mediapipe, bfm)
    for table in _tables(results):
        console.print(table)
    if json_file is not None:
        json_file.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    if plot is not None:
        plot_errors(plot, results, error_of, f"{error_key} in percent")


@app.command("models")
def bench_models(
    models: Annotated[
        list[str] | None,
        typer.Option("--model", help=f"{WEIGHTS_HELP} Can be repeated; all bundled weights are measured in any case."),
    ] = None,
    bfm: BfmOption = None,
    figure: Annotated[
        str, typer.Option(help="The error: a validation figure in the .json of weights from synergy train export.")
    ] = FIGURE,
    errors: Annotated[
        list[Path] | None,
        typer.Option(help="Take the errors from a file of synergy eval --json instead. Can be repeated."),
    ] = None,
    error_key: Annotated[str, typer.Option(help="Dotted key of the error in these files.")] = "nme2d.visible68.mean",
    rounds: Annotated[int, typer.Option(min=1, help="Number of turns of each network.")] = 3,
    seconds: Annotated[float, typer.Option(min=0, help="Time of each network in one turn.")] = 0.2,
    threads: Annotated[int, typer.Option(min=1, help="Number of CPU threads.")] = 1,
    only_trained: Annotated[bool, typer.Option("--only-trained", help="Leave out networks without weights.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Also write the table to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Write a plot of time against error and file size.")] = None,
) -> None:
    """Compare all models: parameters, multiply-adds, file size in fp32 and int8, time and error.

    Landmark networks without trained weights are built with random ones, which take the same time. The error of a
    network is a dash where it is not known.
    """
    import json
    from dataclasses import asdict

    from rich.table import Table

    from synergy.benchmark.models import described_error, measure_models, plot_models, untrained_models
    from synergy.benchmark.report import read_error
    from synergy.cli.console import table_console
    from synergy.registry import open_network
    from synergy.weights import bundled_weights

    if errors and figure != FIGURE:
        raise UserError("--figure and --errors are two sources of the error; leave out one of the two")
    _require_outputs(json_file, plot)
    by_id = dict(read_error(path, error_key) for path in errors or [])
    trained = {spec: open_network(spec, bfm) for spec in dict.fromkeys((*bundled_weights(), *(models or ())))}
    error_of = {
        spec: by_id.get(net.model_id) if errors else described_error(spec, figure) for spec, net in trained.items()
    }
    error_name = error_key if errors else figure
    untrained = {} if only_trained else untrained_models()
    console = table_console()
    with _Bar(console) as bar:
        progress = partial(bar.show, "models")
        rows = measure_models(trained, untrained, error_of, rounds, seconds, threads, progress)
    headings = ("model", "M weights", "M multiply-adds", "MB fp32", "MB int8", "median ms", f"{error_name} %")
    table = Table(*headings, title=f"Models, batch 1, {threads} threads; * has random weights")
    for row in rows:
        figures = (row.parameters, row.macs, row.fp32_mb, row.int8_mb, row.median_ms, row.error)
        cells = ("-" if figure is None else f"{figure:.4g}" for figure in figures)
        table.add_row(row.name + ("" if row.trained else " *"), *cells)
    console.print(table)
    if json_file is not None:
        json_file.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n", encoding="utf-8")
    if plot is not None:
        plot_models(plot, rows, f"{error_name} in percent")


def _require_outputs(json_file: Path | None, plot: Path | None) -> None:
    """Check that the JSON file and the plot can be written, before anything is measured.

    Raises:
        UserError: a file cannot be written, the plot's suffix is not one of a picture, or matplotlib is not installed.
    """
    from synergy.extras import needs_extra
    from synergy.outputs import require_writable_file

    for file in (json_file, plot):
        if file is not None:
            require_writable_file(file)
    if plot is None:
        return
    with needs_extra("eval", "--plot"):
        from matplotlib.backend_bases import FigureCanvasBase
    if plot.suffix.lstrip(".").lower() not in FigureCanvasBase.get_supported_filetypes():
        raise UserError(f"--plot {plot}: pictures end in .png, .svg or .pdf")


class _Bar:
    """A progress bar with one task for each part of the benchmark, on terminals."""

    def __init__(self, console: Console) -> None:
        from rich.progress import Progress

        self._progress = Progress(console=console, transient=True, disable=not console.is_terminal)
        self._tasks: dict[str, Any] = {}

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def show(self, part: str, done: int, total: int) -> None:
        """Show how far a part of the benchmark is."""
        if part not in self._tasks:
            self._tasks[part] = self._progress.add_task(part)
        self._progress.update(self._tasks[part], completed=done, total=total)


def _tables(results: dict[str, Any]) -> list[Table]:
    """Return the results as tables."""
    from rich.table import Table

    machine = results["machine"]
    packages = ", ".join(f"{name} {number}" for name, number in machine["packages"].items())
    networks = Table(
        *("network", "engine", "threads", "batch", "median ms", "p95 ms", "CPU ms", "ms per face", "faces per second"),
        title=f"Networks. {machine['processor']}, {machine['cores']} cores; {packages}",
    )
    for row in results["networks"]:
        names = ("median_ms", "p95_ms", "cpu_ms", "ms_per_face", "faces_per_second")
        counts = str(row["threads"]), str(row["batch"])
        networks.add_row(row["network"], row["engine"], *counts, *(f"{row[name]:.4g}" for name in names))
    ratios = Table(
        *("ratio", "threads", "median", "lowest", "highest", "of CPU times", "lowest", "highest", "target", ""),
        title="Ratios of times",
    )
    for row in results["ratios"]:
        figures = [f"{row[part + name]:.3f}" for part in ("", "cpu_") for name in ("median", "low", "high")]
        has_target = row["target_at_most"] is not None
        target = f"at most {row['target_at_most']:.3g}" if has_target else "none"
        verdict = ("reached" if row["reached"] else "missed") if has_target else ""
        ratios.add_row(row["ratio"], str(row["threads"]), *figures, target, verdict)
    headings = [f"{row['threads']} threads, {kind} ms" for row in results["photo"] for kind in ("median", "p95", "CPU")]
    photo = Table("stage", *headings, title="A photo of 640 x 480 pixels with one face")
    for name in results["photo"][0]["stages"]:
        stages = [row["stages"][name] for row in results["photo"]]
        photo.add_row(name, *(f"{stage[key]:.3g}" for stage in stages for key in _KINDS))
    totals = [row["to_landmarks"] for row in results["photo"]]
    photo.add_row("in memory to landmarks", *(f"{t[key]:.3g}" for t in totals for key in _KINDS))
    fractions = [cell for row in results["photo"] for cell in ("", "", f"{row['outside_networks']:.1%}")]
    photo.add_row("outside detector and network", *fractions)
    for name in results["photo"][0].get("in_turns", ()):
        turns = [row["in_turns"][name] for row in results["photo"]]
        photo.add_row(f"{name}, in turns", *(f"{t[key]:.3g}" for t in turns for key in _KINDS))
    folders = Table("photos", "seconds", "photos per second", "peak MiB", title="synergy predict, folders of photos")
    for run in results["folders"]["runs"]:
        folders.add_row(
            str(run["images"]), *(f"{run[key]:.4g}" for key in ("seconds", "images_per_second", "peak_mib"))
        )
    sizes = Table("network", "million weights", "million multiply-adds", title="Sizes")
    for name, size in results["sizes"].items():
        sizes.add_row(name, *(f"{value:.4g}" for value in size.values()))
    return [sizes, networks, ratios, photo, *([folders] if results["folders"]["runs"] else [])]
