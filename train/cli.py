"""`python -m train fit --config train/configs/synergynet.yaml`: training by LightningCLI."""

from __future__ import annotations

from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from train.data import PackData
from train.module import SynergyModule


class TrainCLI(LightningCLI):
    """LightningCLI in which data and network share one morphable model, `--model.model`."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.link_arguments("model.model", "data.model")


def main() -> TrainCLI:
    """Run the command line."""
    return TrainCLI(SynergyModule, PackData, seed_everything_default=0, save_config_kwargs={"overwrite": True})
