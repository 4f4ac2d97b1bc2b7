"""Where a run's figures and pictures go: wandb by default, offline when nobody is logged in."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Literal

import lightning.pytorch as pl
import numpy as np
import trimesh
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from numpy.typing import NDArray

LoggerName = Literal["wandb", "csv", "tensorboard"]


def make_logger(name: LoggerName, folder: str | Path) -> Logger:
    """The logger called `name`, writing below `folder`."""
    if name == "csv":
        return CSVLogger(folder, name="", version="", flush_logs_every_n_steps=50)
    if name == "tensorboard":
        return TensorBoardLogger(folder, name="", version="")
    import wandb

    Path(folder).mkdir(parents=True, exist_ok=True)
    # wandb's own switch, WANDB_MODE, is stronger than this.
    return WandbLogger(project="synergy", save_dir=folder, offline=not wandb.login(prompt=False))


def log_images(trainer: pl.Trainer, key: str, images: list[NDArray[np.uint8]]) -> None:
    """Send (H, W, 3) RGB images to every logger that takes pictures."""
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key, list(images))
        elif isinstance(logger, TensorBoardLogger):
            for i, image in enumerate(images):
                logger.experiment.add_image(f"{key}/{i}", image, trainer.global_step, dataformats="HWC")


def log_mesh(trainer: pl.Trainer, key: str, vertices: NDArray[np.floating], triangles: NDArray[np.integer]) -> None:
    """Send a mesh, vertices (V, 3) and triangles (F, 3), to wandb as a turnable object."""
    import wandb

    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "mesh.obj"
                trimesh.Trimesh(vertices, triangles, process=False).export(path)
                logger.experiment.log({key: wandb.Object3D.from_file(str(path))})


def log_weights(trainer: pl.Trainer, checkpoint: Path) -> None:
    """Send a checkpoint and the run's `config.yaml` to wandb as an artifact with the data's hash."""
    import wandb

    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            facts = trainer.datamodule.facts  # type: ignore[attr-defined]
            artifact = wandb.Artifact("synergynet", type="model", metadata={"data": facts})
            for path in (checkpoint, Path(trainer.default_root_dir) / "config.yaml"):
                if path.exists():
                    artifact.add_file(str(path))
            logger.experiment.log_artifact(artifact)
