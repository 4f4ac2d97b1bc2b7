"""`synergy train fit --config train/configs/synergynet.yaml`: hands its arguments to `train.cli` (LightningCLI)."""

from __future__ import annotations

import sys

import typer

from synergy.errors import UserError

# LightningCLI parses everything itself, --help included.
PASS_THROUGH = {"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}


def train(context: typer.Context) -> None:
    """Train: fit | validate --config YAML (LightningCLI; try `synergy train fit --help`)."""
    try:
        from train.cli import main
    except ImportError as error:
        raise UserError(f"training needs the extra: pip install 'synergy-face[train]' ({error})") from None
    sys.argv = ["synergy train", *context.args]
    main()
