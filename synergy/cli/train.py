"""`synergy train`: training by LightningCLI, export and conversion of its checkpoints, and recipes of all steps."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated

import typer

from synergy.cli.options import BfmOption, RedoOption, TimeLimitOption
from synergy.errors import TimeLimitError, UserError
from synergy.extras import needs_extra
from synergy.outputs import require_writable_file

app = typer.Typer(no_args_is_help=True, help="Train networks, export and convert their weights, and run recipes.")

# LightningCLI parses the options, --help included.
_PASS_ON = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


@app.command(context_settings=_PASS_ON)
def fit(context: typer.Context) -> None:
    """Train: --config NAME|FILE and the options of LightningCLI (synergy train fit --help)."""
    _run_lightning(["fit", *context.args])


@app.command(context_settings=_PASS_ON)
def validate(context: typer.Context) -> None:
    """Score a checkpoint on validation data: --config NAME|FILE --ckpt_path FILE (synergy train validate --help)."""
    _run_lightning(["validate", *context.args])


@app.command()
def export(
    checkpoint: Annotated[Path, typer.Argument(help="Checkpoint of a run, for example checkpoints/last.ckpt.")],
    out: Annotated[Path, typer.Option(help="The .safetensors file to write; its .json is written next to it.")],
    pack: Annotated[Path | None, typer.Option(help="Pack whose validation sets score the network.")] = None,
    command: Annotated[str, typer.Option(help="Command that started the run, for the .json.")] = "",
    model: Annotated[str, typer.Option(help="Morphable model; by default the one that the checkpoint names.")] = "",
    refit_expression: Annotated[
        Path | None,
        typer.Option(help="Pack to whose training labels the expression head is fitted once more (docs/training.md)."),
    ] = None,
) -> None:
    """Export the averaged weights of a checkpoint, with validation figures, for --model of the other commands."""
    with needs_extra("train", "training"):
        from train.export import export_checkpoint
    from rich.console import Console

    with Console(stderr=True).status("scoring the validation sets"):
        figures = export_checkpoint(checkpoint, pack, out, command, model, refit_expression).get("validation", {})
    for name, values in figures.items():
        typer.echo(f"{name}: " + ", ".join(f"{key} {value}" for key, value in values.items() if key.endswith("_all")))
    typer.echo(f"written: {out} and {out.with_suffix('.json')}")


@app.command()
def convert(
    weights: Annotated[str, typer.Argument(help="Name or .safetensors file of the weights to convert.")],
    data: Annotated[list[Path], typer.Option(help="Data set with typical faces (300-W, AFLW); may be repeated.")],
    out: Annotated[Path, typer.Option(help="The .safetensors file to write; its .json is written next to it.")],
    bfm: BfmOption = None,
    model: Annotated[str, typer.Option(help="Morphable model to change to: name or file.")] = "open_face",
    count: Annotated[int, typer.Option(min=1, help="Largest number of crops from each data set.")] = 4000,
) -> None:
    """Give trained weights another morphable model, without further training."""
    with needs_extra("train", "training"):
        from train.convert import convert_weights
    if out.suffix != ".safetensors":
        raise UserError(f"--out {out}: weights are written as .safetensors")
    require_writable_file(out)
    residual = convert_weights(weights, data, out, bfm, model, count).residual
    typer.echo(f"written: {out}; coarse landmarks differ by {residual:.2f} % of the face")


@app.command()
def table(
    sources: Annotated[list[Path], typer.Argument(help="The .json files of exported weights, or their folders.")],
    out: Annotated[Path | None, typer.Option(help="Write the table to this Markdown file too.")] = None,
) -> None:
    """Compare the validation figures of exported weights in a Markdown table."""
    from train.table import make_table

    if out is not None:
        require_writable_file(out)
    text = make_table(sources)
    typer.echo(text)
    if out is not None:
        out.write_text(text, encoding="utf-8")


@app.command()
def recipe(
    data: Annotated[Path, typer.Option(help="Folder of the data files.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the run. The same command continues it.", show_default=False)],
    plan: Annotated[str, typer.Option(help="The recipe: cpu, gpu, ablation, baselines, or a YAML file.")] = "cpu",
    scale: Annotated[str, typer.Option(help="small: the same steps on few faces, for a test of some minutes.")] = "",
    only: Annotated[list[str] | None, typer.Option(help="Only this step; * for any characters; repeatable.")] = None,
    redo: RedoOption = False,
    time_limit: TimeLimitOption = None,
    list_: Annotated[bool, typer.Option("--list", help="Print the steps and their commands, and run nothing.")] = False,
) -> None:
    """Run all steps from data files to weights (docs/training.md). Finished steps are skipped."""
    with needs_extra("train", "training"):
        from train.recipe import read_recipe
        from train.recipe_run import RecipeRun
    run = RecipeRun(read_recipe(plan, scale), data, out, execute, typer.echo, redo, time_limit)
    if list_:
        run.show(only or ())
    elif not run.run(only or ()):
        raise typer.Exit(TimeLimitError.exit_status)


def execute(arguments: list[str]) -> None:
    """Run a command of `synergy` in this process, or, if it trains with several devices, in a process of its own.

    Lightning starts the other processes of a training by repeating the command line of this one. The command line must
    therefore be that of the training.

    Raises:
        UserError: an option of the command is wrong, or what the command raises.
        TimeLimitError: training has stopped at its time limit.
    """
    from synergy.cli import app as root

    has_devices = any(argument.partition("=")[0] == "--trainer.devices" for argument in arguments)
    if arguments[:2] == ["train", "fit"] and has_devices:
        _execute_apart(arguments)
        return
    try:
        status = root(arguments, standalone_mode=False)
    except Exception as error:
        # Typer contains its own copy of click, or uses the package click. Only their exceptions have this method.
        if not hasattr(error, "format_message"):
            raise
        raise UserError(error.format_message()) from None
    _check_status(status, "the command")


def _check_status(status: int | None, what: str) -> None:
    """Raise the error that an exit status of `synergy` means; None and 0 mean none."""
    if status == TimeLimitError.exit_status:
        raise TimeLimitError(f"{what} has stopped at its time limit")
    if status:
        raise UserError(f"{what} has failed with exit status {status}; the reason is printed above")


def _execute_apart(arguments: list[str]) -> None:
    """Run a command of `synergy` in a new process. If this process is terminated, so is the new one.

    Raises:
        UserError: the command has failed. It has printed the reason.
        TimeLimitError: training has stopped at its time limit.
    """
    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with subprocess.Popen([sys.executable, "-m", "synergy", *arguments]) as process:
            try:
                status = process.wait()
            finally:
                process.terminate()
    finally:
        signal.signal(signal.SIGTERM, previous)
    _check_status(status, "training")


def _run_lightning(arguments: list[str]) -> None:
    with needs_extra("train", "training"):
        from train.cli import main
    main(arguments)
