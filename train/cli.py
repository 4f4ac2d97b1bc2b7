"""`python -m train fit --config train/configs/synergynet.yaml`: training by LightningCLI."""

from __future__ import annotations

from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from train.loggers import LoggerName, make_logger
from train.module import SynergyModule


class TrainCLI(LightningCLI):
    """LightningCLI in which data and network share one morphable model, and `--logger` is a name."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--logger", type=LoggerName, default="wandb", help="wandb, csv or tensorboard.")
        parser.link_arguments("model.model", "data.init_args.model")

    def instantiate_trainer(self, **options: Any) -> pl.Trainer:
        folder = self._get(self.config, "trainer.default_root_dir") or "."
        logger = make_logger(self._get(self.config, "logger"), folder)
        return super().instantiate_trainer(logger=logger, **options)


def main() -> TrainCLI:
    """Run the command line."""
    return TrainCLI(
        SynergyModule,
        pl.LightningDataModule,
        subclass_mode_data=True,
        seed_everything_default=0,
        save_config_kwargs={"overwrite": True},
    )
