"""`synergy train fit` and `synergy train validate`: LightningCLI over the classes of `train.face_module.FaceModule`."""

from __future__ import annotations

import argparse
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from typing_extensions import override

from bfm_assets import ModelFileError
from synergy.checkpoints import read_checkpoint
from synergy.errors import TimeLimitError, UserError
from train.callbacks import RunProgressBar, TimeLimit
from train.checkpoint_io import SafeCheckpointIO
from train.face_module import FaceModule, last_checkpoint
from train.loggers import LoggerName, make_logger

# jsonargparse's report about an option of the model's or the data's class, which is an alternative to None.
_CLASS_REPORT = re.compile(
    r"""Parser key "(\w+)": .* given class_path '([\w.]+)': """
    r"""(?:Option '([\w.]+)' is not accepted|Parser key "([\w.]+)": (.*?)) - Expected a <class 'NoneType'>"""
)
_CONFIGS = Path(__file__).parent / "configs"
# Options of the model that name files, which may have moved since a checkpoint was written.
_FILES = ("model", "start", "teacher", "teacher_bfm")


class LoggedConfig(SaveConfigCallback):
    """Send the whole configuration and the facts about the data to the logger, next to writing `config.yaml`.

    `validate` does neither, so that the `config.yaml` of a training in the same folder stays.
    """

    @override
    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        if stage == "fit":
            super().setup(trainer, pl_module, stage)

    @override
    def save_config(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        facts = {"config": json.loads(self.parser.dump(self.config, skip_none=False, format="json"))}
        facts["data"] = trainer.datamodule.facts  # type: ignore[attr-defined]
        for logger in trainer.loggers:
            logger.log_hyperparams(facts)


class TrainCLI(LightningCLI):
    """LightningCLI with shipped configurations and loggers by name, one morphable model, and safe checkpoints."""

    @override
    @staticmethod
    def subcommands() -> dict[str, set[str]]:
        return {name: LightningCLI.subcommands()[name] for name in ("fit", "validate")}

    @override
    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--logger", type=LoggerName, default="wandb", help="wandb, csv or tensorboard.")
        parser.add_argument(
            "--wandb",
            type=Literal["offline", "online"],
            default="offline",
            help="offline keeps the run, with its images of faces, in its folder; online sends it to wandb's server.",
        )
        parser.add_argument(
            "--time_limit",
            type=float | None,
            default=None,
            help="Stop after so many seconds with a checkpoint, to be resumed with --ckpt_path.",
        )
        # Configurations of SynergyNet name no class.
        parser.set_defaults({"model": {"class_path": "train.module.SynergyModule"}})
        parser.link_arguments("model.init_args.model", "data.init_args.model")

    @override
    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        self.begun = time.monotonic()
        self.config = parser.parse_args(args)

    @override
    def instantiate_trainer(self, **kwargs: Any) -> pl.Trainer:
        folder = self._get(self.config, "trainer.default_root_dir") or "."
        is_online = self._get(self.config, "wandb") == "online"
        is_continued = bool(self._get(self.config, "ckpt_path"))
        logger = make_logger(self._get(self.config, "logger"), folder, is_online, is_continued)
        plugins = [*_as_list(self._get(self.config_init, "trainer.plugins")), SafeCheckpointIO()]
        callbacks = _as_list(self._get(self.config_init, "trainer.callbacks"))
        has_bar = any(isinstance(callback, ProgressBar) for callback in callbacks)
        if self._get(self.config, "trainer.enable_progress_bar") is not False and not has_bar:
            callbacks.append(RunProgressBar())
        if (seconds := self._get(self.config, "time_limit")) is not None:
            callbacks.append(TimeLimit(seconds, self.begun))
        try:
            return super().instantiate_trainer(logger=logger, plugins=plugins, callbacks=callbacks, **kwargs)
        except (MisconfigurationException, ValueError) as error:
            raise UserError(f"trainer: {' '.join(str(error).split())}") from None

    def _parse_ckpt_path(self) -> None:
        """Refuse an unsafe `--ckpt_path` in one line before Lightning takes its hyperparameters.

        Lightning replaces the options of the model by those of the checkpoint. A training that is continued must have
        the same options, but the files that they name may have moved, so these are the given ones.

        Raises:
            UserError: the checkpoint cannot be read or is unsafe, or a training would continue with another option.
        """
        chosen = self.config.get("subcommand")
        path = self.config[chosen].get("ckpt_path") if chosen else None
        if not path:
            return
        read_checkpoint(path)
        given = self.config.clone()
        super()._parse_ckpt_path()
        if chosen != "fit":
            return
        for name, stored in vars(self.config[chosen].model.init_args).items():
            value = given[chosen].model.init_args.get(name)
            if name not in _FILES and value != stored:
                raise UserError(
                    f"model.{name} is {value}, but {stored} in the run of {path}; a run continues with its own options"
                )
        self.config = given

    @override
    def before_instantiate_classes(self) -> None:
        """Refuse to overwrite the checkpoint of another run, before the data are loaded."""
        last = last_checkpoint(self._get(self.config, "trainer.default_root_dir") or ".")
        if self.subcommand == "fit" and not self._get(self.config, "ckpt_path") and last.exists():
            raise UserError(
                f"{last} is of an earlier run; continue it with --ckpt_path {last}, or choose another "
                "--trainer.default_root_dir"
            )

    def before_validate(self) -> None:
        """Refuse to score the initial weights. `--model.start` is read when training begins."""
        if not self._get(self.config, "ckpt_path"):
            raise UserError("validate scores a checkpoint; give it with --ckpt_path")


def main(arguments: Sequence[str]) -> TrainCLI:
    """Run `synergy train`.

    Args:
        arguments: what follows `synergy train` on the command line: fit or validate, and their options.

    Raises:
        UserError: an option is wrong or a file cannot be read. The message is one line.
        ModelFileError: the morphable model cannot be read.
        TimeLimitError: the run has stopped at `--time_limit`.
    """
    options = {"exit_on_error": False}
    try:
        cli = TrainCLI(
            FaceModule,
            pl.LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            seed_everything_default=0,
            save_config_callback=LoggedConfig,
            save_config_kwargs={"overwrite": True},
            parser_kwargs={"prog": "synergy train", **options, "fit": options, "validate": options},
            args=_with_config_files(arguments),
        )
    except (ValueError, argparse.ArgumentError) as error:
        raise _own_error(error) from None
    is_limited = any(isinstance(item, TimeLimit) and item.is_reached for item in cli.trainer.callbacks)  # type: ignore[attr-defined]
    if is_limited and cli.model.progress() < 1:
        raise TimeLimitError(
            f"stopped by --time_limit at {cli.model.progress():.0%} of the run; continue with the same command and "
            f"--ckpt_path {last_checkpoint(cli.trainer.default_root_dir)}"
        )
    return cli


def _with_config_files(arguments: Sequence[str]) -> list[str]:
    """Replace the names of shipped configurations after `--config` by their paths.

    Raises:
        UserError: there is neither a file nor a shipped configuration of that name.
    """
    result: list[str] = []
    for argument in arguments:
        flag, separator, value = argument.partition("=")
        if result and result[-1] in ("--config", "-c"):
            result.append(_config_file(argument))
        elif separator and flag in ("--config", "-c"):
            result.append(f"{flag}={_config_file(value)}")
        else:
            result.append(argument)
    return result


def _config_file(name: str) -> str:
    """Return the path of a configuration: an existing file, or a shipped one by its name without `.yaml`."""
    shipped = {path.stem: path for path in sorted(_CONFIGS.glob("*.yaml"))}
    if not Path(name).is_file() and name in shipped:
        return str(shipped[name])
    if not Path(name).is_file():
        raise UserError(f"--config {name}: no such file; shipped configurations are {', '.join(shipped)}")
    return name


def _as_list(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, list) else [value]


def _own_error(error: Exception) -> Exception:
    """Return the one-line error that an exception was made of.

    jsonargparse reports an error of ours, for example about a missing file, inside a longer report about types. Errors
    of its own about options become one line.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, (UserError, ModelFileError)):
            return cause
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, argparse.ArgumentError):
        return UserError(_shortened(" ".join(str(error).split())))
    return error


def _shortened(message: str) -> str:
    """Reduce jsonargparse's report about an option of a class to the option and the reason."""
    found = _CLASS_REPORT.search(message)
    if found is None:
        return message
    part, class_path, unknown, option, reason = found.groups()
    return f"{part}.{unknown}: {class_path} has no such option" if unknown else f"{part}.{option}: {reason}"
