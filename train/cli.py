"""`python -m train fit --config train/configs/synergynet.yaml`: training by LightningCLI."""

from __future__ import annotations

from collections.abc import Sequence

from lightning.pytorch.cli import LightningCLI

from train.data import PackData
from train.module import SynergyModule


def main(arguments: Sequence[str] | None = None) -> LightningCLI:
    """Run LightningCLI on `arguments` (default: the command line)."""
    return LightningCLI(
        SynergyModule,
        PackData,
        args=list(arguments) if arguments is not None else None,
        seed_everything_default=0,
        save_config_kwargs={"overwrite": True},
    )
