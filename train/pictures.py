"""Pictures of the validation set for the logger: fixed faces over all yaws, the worst cases, and a mesh."""

from __future__ import annotations

import warnings
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback
from numpy.typing import NDArray
from torch import Tensor
from typing_extensions import override

from synergy.draw import draw_contours, draw_points
from synergy.errors import describe
from synergy.parameters import split_parameters
from train.batch import Batch
from train.face_module import FaceModule
from train.loggers import log_images, log_mesh
from train.packs.pack import CROP_SIZE

_SCALE = 2


class Pictures(Callback):
    """Log overlays of faces spread over |yaw| and of the worst faces, and the mesh of the worst.

    Contours are the prediction, points the label. Whatever goes wrong while drawing or logging is a warning: pictures
    never end a training run.

    Args:
        every: log at every so many validations.
        count: number of faces in each of the two groups.
    """

    def __init__(self, every: int = 5, count: int = 12) -> None:
        self.every, self.count, self._validations = every, count, 0
        self._seen: list[tuple[Batch, dict[str, Tensor]]] = []

    @override
    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._seen = []

    @override
    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        if self._validations % self.every == 0:
            self._seen.append((batch, outputs))

    @override
    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._validations += 1
        try:
            if self._seen:
                self._log(trainer, pl_module)
        except Exception as error:
            warnings.warn(f"no pictures of this validation: {describe(error)}", stacklevel=2)
        finally:
            self._seen = []

    def _log(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw and log what `on_validation_batch_end` has kept."""
        image, label, yaw = (
            torch.cat([getattr(batch, name) for batch, _ in self._seen]).cpu() for name in ("image", "landmarks", "yaw")
        )
        landmarks, params = (
            torch.cat([output[name] for _, output in self._seen]).cpu() for name in ("landmarks", "params")
        )
        error = (landmarks - label)[..., :2].norm(dim=-1).mean(1).nan_to_num()
        by_yaw = yaw.abs().argsort()
        fixed = by_yaw[torch.linspace(0, len(yaw) - 1, min(self.count, len(yaw))).long()]
        worst = error.argsort(descending=True)[: self.count]
        for key, rows in (("faces", fixed), ("worst", worst)):
            log_images(trainer, key, [overlay(image[i], landmarks[i], label[i]) for i in rows.tolist()])
        assert isinstance(pl_module, FaceModule)
        model = pl_module.net.morphable_model
        if model.is_dense:
            _pose, shape, expression = split_parameters(params[worst[0]].numpy(), model.n_shape)
            vertices = model.vertices(shape, expression)
            log_mesh(trainer, "worst_mesh", vertices, model.triangles)


def overlay(image: Tensor, predicted: Tensor, label: Tensor) -> NDArray[np.uint8]:
    """Draw a crop at twice its size with predicted contours and the label's points.

    Args:
        image: (3, H, W), RGB in 0..255.
        predicted: (68, 3) in pixels of a crop of 120 pixels.
        label: (68, 3) in pixels of such a crop, NaN where unknown.
    """
    picture = image.permute(1, 2, 0).to(torch.uint8).numpy().repeat(_SCALE, 0).repeat(_SCALE, 1)
    zoom = picture.shape[0] / CROP_SIZE
    # The centre of the first pixel lies at 0 in both frames.
    points, true = (zoom * (xyz.numpy() + 0.5) - 0.5 for xyz in (predicted, label[label[:, :2].isfinite().all(-1)]))
    picture = draw_contours(picture, points)
    return draw_points(picture, true, radius=1.0)
