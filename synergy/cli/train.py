"""`synergy train`: LightningCLI on the training package, arguments passed through."""

from __future__ import annotations

import typer

from synergy.errors import UserError

PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def train(context: typer.Context) -> None:
    """Train or validate a network: [bold]synergy train fit --config train/configs/synergynet.yaml[/].

    Everything after `train` goes to LightningCLI: `fit`, `validate`, `--config FILE`, `--data.pack DIR`,
    `--trainer.max_epochs N`. `synergy train fit --help` lists it all.
    """
    if not context.args or context.args == ["--help"]:
        typer.echo(context.command.help)
        raise typer.Exit
    try:
        from train.cli import main
    except ModuleNotFoundError as error:
        raise UserError(f"training needs more packages ({error.name}): pip install 'synergy-face[train]'") from None
    main(context.args)
