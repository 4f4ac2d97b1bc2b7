"""`python -m train fit --config train/configs/synergynet.yaml`: training by LightningCLI."""

from __future__ import annotations

import json
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback

from bfm_assets.npz import ModelFileError
from synergy.checkpoints import read_checkpoint
from synergy.errors import UserError
from train.checkpoint_io import SafeCheckpointIO
from train.loggers import LoggerName, make_logger
from train.module import SynergyModule


class LoggedConfig(SaveConfigCallback):
    """Gives the logger the whole configuration and what identifies the data; the file `config.yaml` is written too."""

    def save_config(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:  # noqa: ARG002
        facts = {"config": json.loads(self.parser.dump(self.config, skip_none=False, format="json"))}
        facts["data"] = trainer.datamodule.facts  # type: ignore[attr-defined]
        for logger in trainer.loggers:
            logger.log_hyperparams(facts)


class TrainCLI(LightningCLI):
    """LightningCLI with one morphable model for data and network, loggers by name, and safe checkpoints."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--logger", type=LoggerName, default="wandb", help="wandb, csv or tensorboard.")
        parser.link_arguments("model.model", "data.init_args.model")

    def instantiate_trainer(self, **options: Any) -> pl.Trainer:
        folder = self._get(self.config, "trainer.default_root_dir") or "."
        logger = make_logger(self._get(self.config, "logger"), folder)
        plugins = self._get(self.config_init, "trainer.plugins") or []
        plugins = [*(plugins if isinstance(plugins, list) else [plugins]), SafeCheckpointIO()]
        return super().instantiate_trainer(logger=logger, plugins=plugins, **options)

    def _parse_ckpt_path(self) -> None:
        """Refuse a wrong or unsafe `--ckpt_path` in one line, then take its hyperparameters as Lightning does."""
        chosen = self.config.get("subcommand")
        if chosen and (path := self.config[chosen].get("ckpt_path")):
            read_checkpoint(path)
        super()._parse_ckpt_path()


def main() -> TrainCLI:
    """Run the command line.

    Raises:
        UserError, ModelFileError: also where the parser has wrapped them in a report about types.
    """
    try:
        return TrainCLI(
            SynergyModule,
            pl.LightningDataModule,
            subclass_mode_data=True,
            seed_everything_default=0,
            save_config_callback=LoggedConfig,
            save_config_kwargs={"overwrite": True},
        )
    except ValueError as error:
        raise _own_error(error) from None


def _own_error(error: Exception) -> BaseException:
    """The one-line error that an exception was made of, or the exception."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, (UserError, ModelFileError)):
        cause = cause.__cause__ or cause.__context__
    return cause or error
