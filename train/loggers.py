"""Loggers of a run, and what is sent to them: figures, images, a mesh and the weights."""

from __future__ import annotations

import tempfile
import warnings
from pathlib import Path
from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
import trimesh
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger, WandbLogger
from numpy.typing import NDArray
from typing_extensions import override

from synergy.errors import UserError

LoggerName = Literal["wandb", "csv", "tensorboard"]


class _ContinuedCSVLogger(CSVLogger):
    """Lightning's CSVLogger, but the `metrics.csv` of the run that is continued stays, and new rows follow its rows.

    Lightning deletes the file. A run that was killed repeats the steps since its last checkpoint, so these steps occur
    twice in the file.
    """

    @property
    @override
    @rank_zero_experiment
    def experiment(self) -> Any:
        if self._experiment is None:
            path = Path(self.log_dir, "metrics.csv")
            before = path.read_bytes() if path.is_file() else b""
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of files that will be deleted
                writer = super().experiment
            if before:
                path.write_bytes(before)
                writer.metrics_keys = before.decode().splitlines()[0].split(",")
        return self._experiment


def make_logger(name: LoggerName, folder: str | Path, online: bool = False, is_continued: bool = False) -> Logger:
    """Create a logger.

    Args:
        name: which logger.
        folder: folder of the run; the logger writes there.
        online: let wandb send the run to its server. Runs contain images of faces, so they stay in the folder by
            default.
        is_continued: a run in this folder is continued. A CSV file then keeps its rows.

    Raises:
        UserError: `online`, but nobody is logged in at wandb.
    """
    if name == "csv":
        logger = _ContinuedCSVLogger if is_continued else CSVLogger
        return logger(folder, name="", version="", flush_logs_every_n_steps=50)
    if name == "tensorboard":
        return TensorBoardLogger(folder, name="", version="")
    import wandb

    if online and not wandb.login(prompt=False):
        raise UserError("--wandb online: nobody is logged in at wandb; run `wandb login` first")
    Path(folder).mkdir(parents=True, exist_ok=True)
    return WandbLogger(project="synergy", save_dir=folder, offline=not online)


def log_images(trainer: pl.Trainer, key: str, images: list[NDArray[np.uint8]]) -> None:
    """Send images to the loggers that accept them.

    Args:
        trainer: trainer of the run.
        key: name of the group of images.
        images: each (H, W, 3) uint8 RGB.
    """
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            logger.log_image(key, list(images))
        elif isinstance(logger, TensorBoardLogger):
            for i, image in enumerate(images):
                logger.experiment.add_image(f"{key}/{i}", image, trainer.global_step, dataformats="HWC")


def log_mesh(trainer: pl.Trainer, key: str, vertices: NDArray[np.floating], triangles: NDArray[np.integer]) -> None:
    """Send a mesh to wandb as an interactive 3D object.

    Args:
        trainer: trainer of the run.
        key: name of the object.
        vertices: (V, 3).
        triangles: (F, 3) vertex indices.
    """
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "mesh.obj"
                trimesh.Trimesh(vertices, triangles, process=False).export(path)
                logger.experiment.log({key: wandb.Object3D.from_file(str(path))})


def log_weights(trainer: pl.Trainer, checkpoint: Path) -> None:
    """Send a checkpoint and the `config.yaml` of the run to wandb as an artifact.

    Args:
        trainer: trainer of the run.
        checkpoint: the file.
    """
    for logger in trainer.loggers:
        if isinstance(logger, WandbLogger):
            import wandb

            facts = trainer.datamodule.facts  # type: ignore[attr-defined]
            artifact = wandb.Artifact("synergynet", type="model", metadata={"data": facts})
            for path in (checkpoint, Path(trainer.default_root_dir) / "config.yaml"):
                if path.exists():
                    artifact.add_file(str(path))
            logger.experiment.log_artifact(artifact)
