"""The `synergy` command. Its modules import torch and other slow packages inside functions, so that help is fast."""

from __future__ import annotations

import shlex
import sys
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

import synergy
from bfm_assets import ModelFileError
from synergy.cli import app as web_app
from synergy.cli import assets, bench, demo, evaluate, export, label, predict, train
from synergy.cli.console import error_console, say
from synergy.errors import UserError, describe, is_fatal
from synergy.extras import explain_opencv


class _Commands(TyperGroup):
    """The commands of `synergy`. An input without a command gives the command line that was probably meant."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the first argument names."""
        if args[0] not in self.commands and Path(args[0]).exists():
            meant = shlex.join(["synergy", "predict", *args])
            ctx.fail(f"No such command '{args[0]}'. Did you mean: {meant}")
        return super().resolve_command(ctx, args)


app = typer.Typer(
    name="synergy",
    cls=_Commands,
    help="3D face landmarks, head pose and a face mesh from one image.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("demo")(demo.demo)
app.command("predict")(predict.predict)
app.command("app")(web_app.app)
app.command("export")(export.export)
app.add_typer(assets.app, name="assets")
app.add_typer(bench.app, name="bench")
app.add_typer(evaluate.app, name="eval")
app.add_typer(label.app, name="label")
app.add_typer(train.app, name="train")


def _version(value: bool) -> None:
    if value:
        typer.echo(f"synergy {synergy.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_version, is_eager=True, help="Print the version."),
) -> None:
    pass


def main() -> None:
    """Run the command line. What the user can fix is reported in one line, usually with exit status 2."""
    _prefer_own_packages()
    try:
        app()
    except (UserError, ModelFileError) as error:
        say(error_console(), str(error), "error:", "red")
        sys.exit(error.exit_status if isinstance(error, UserError) else UserError.exit_status)
    except OSError as error:
        if not is_fatal(error):
            raise
        place = f"{error.filename}: " if error.filename else ""
        say(error_console(), place + describe(error), "error:", "red")
        sys.exit(UserError.exit_status)
    except ImportError as error:
        if (explanation := explain_opencv(error)) is None:
            raise
        say(error_console(), explanation, "error:", "red")
        sys.exit(2)


def _prefer_own_packages() -> None:
    """Import this project's `eval` and `train`, even if the user's folder has an `eval.py` or `train.py`.

    With `python -m synergy`, or with PYTHONPATH, the folder of the user comes first on the path.
    """
    for name in ("eval", "train"):
        spec = PathFinder.find_spec(name, [str(Path(__file__).parents[2])])
        if name not in sys.modules and spec is not None and spec.loader is not None:
            sys.modules[name] = module_from_spec(spec)
            spec.loader.exec_module(sys.modules[name])
