"""Landmarks and poses of named images, from our networks or from any other source: what protocols score.

They are stored in an `.npz` file with these arrays:

- `names` (N,): the image names.
- `landmarks68` (N, 68, 3) or (N, 68, 2): in image pixels. z has the same scale, larger z is nearer, and its mean has no
  effect.
- `pose_deg` (N, 3), optional: pitch, yaw and roll in degrees. Without it, they are those of `rotation`.
- `rotation` (N, 3, 3), optional: the predicted rotations.
- `landmarks68_std` (N, 68), optional: predicted standard deviations in pixels.
- `rotation_covariance` (N, 3, 3), optional, with `rotation`: predicted covariance of its error in radians squared.
- `model_id`, `crops` and `pose_from`, optional: texts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bfm_assets.safe_files import ModelFileError, read_arrays
from eval.baselines import TRUE_ROTATION, UNKNOWN
from synergy.errors import UserError
from synergy.geometry import matrix_to_euler

# Optional arrays and the shape of each of their N elements.
_OPTIONAL = {"pose_deg": (3,), "rotation": (3, 3), "landmarks68_std": (68,), "rotation_covariance": (3, 3)}

# Largest difference of R R^T from the identity. Rotations that were stored as float16 have about 1e-3.
_ROTATION_TOLERANCE = 5e-3


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions for N images.

    Attributes:
        names: names of the images in their data set.
        landmarks68: (N, 68, 3), or (N, 68, 2) from a predictor without depth, in image pixels.
        pose_deg: (N, 3) pitch, yaw and roll in degrees, or None.
        model_id: name of the predictor.
        crops: the crops that it was given, a value of `eval.baselines.Baseline.crops`.
        pose_from: how the angles were computed from its output, a value of `eval.baselines.Baseline.pose_from`.
        rotation: (N, 3, 3) predicted rotations from which `pose_deg` was computed, or None.
        landmarks68_std: (N, 68) standard deviation of x, and of y, in image pixels (`synergy.face.Face`), or None.
        rotation_covariance: (N, 3, 3) of the error of `rotation` in radians squared (`synergy.face.Face`), or None.

    Raises:
        UserError: arrays of wrong shapes, repeated names, values that are not finite, matrices that are not rotations,
            or uncertainties that are not positive.
    """

    names: tuple[str, ...]
    landmarks68: NDArray[np.float32]
    pose_deg: NDArray[np.float32] | None = None
    model_id: str = "unnamed"
    crops: str = UNKNOWN
    pose_from: str = UNKNOWN
    rotation: NDArray[np.float32] | None = None
    landmarks68_std: NDArray[np.float32] | None = None
    rotation_covariance: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if problem := self._problem():
            raise UserError(f"predictions of '{self.model_id}': {problem}")

    @property
    def has_depth(self) -> bool:
        """Whether the landmarks have a z coordinate."""
        return bool(self.landmarks68.shape[2] == 3)

    def select(self, names: Sequence[str]) -> Predictions:
        """Return the predictions of some images.

        Args:
            names: full names, or the last parts of names where these are unique.

        Returns:
            The predictions in the order of `names`.

        Raises:
            UserError: an image has no prediction. The score would be that of another data set.
        """
        rows = {name: row for row, name in enumerate(self.names)}
        last_parts = [PurePosixPath(name).name for name in self.names]
        row_of_part = {part: row for row, part in enumerate(last_parts)}
        stored, requested = Counter(last_parts), Counter(PurePosixPath(name).name for name in names)

        def row_of(name: str) -> int | None:
            part = PurePosixPath(name).name
            is_unique = stored[part] == 1 and requested[part] == 1
            return rows.get(name, row_of_part[part] if is_unique else None)

        indices = [row_of(name) for name in names]
        if missing := [name for name, index in zip(names, indices, strict=True) if index is None]:
            example = f"its names are like {self.names[0]}" if self.names else "it has no names"
            raise UserError(
                f"predictions of '{self.model_id}' lack {len(missing)} of {len(names)} images, the first of them "
                f"{missing[0]}; {example}"
            )
        taken = np.array(indices, np.intp)
        optional = {key: array[taken] for key, array in self._optional().items()}
        return replace(self, names=tuple(names), landmarks68=self.landmarks68[taken], **optional)

    def save(self, path: str | Path) -> None:
        """Write the `.npz` file of this module's docstring."""
        with Path(path).open("wb") as file:
            np.savez_compressed(
                file,
                names=np.array(self.names),
                landmarks68=self.landmarks68,
                model_id=np.array(self.model_id),
                crops=np.array(self.crops),
                pose_from=np.array(self.pose_from),
                **self._optional(),
            )

    @classmethod
    def load(cls, path: str | Path) -> Predictions:
        """Read the `.npz` file of this module's docstring.

        Raises:
            UserError: the file cannot be read, or its content is not valid.
        """
        try:
            arrays = read_arrays(path, ("names", "landmarks68"), "predictions file")
        except ModelFileError as error:
            raise UserError(str(error)) from None
        for key in ("landmarks68", *_OPTIONAL):
            if key in arrays and arrays[key].dtype.kind not in "iuf":
                raise UserError(f"{path}: {key} is not numeric")
        rotation = arrays.get("rotation")
        if rotation is not None and rotation.shape[1:] == (3, 3) and "pose_deg" not in arrays:
            arrays["pose_deg"] = matrix_to_euler(torch.from_numpy(rotation.astype(np.float64))).rad2deg().numpy()
            arrays.setdefault("pose_from", np.array(TRUE_ROTATION))
        return cls(
            tuple(str(name) for name in arrays["names"].ravel()),
            arrays["landmarks68"].astype(np.float32),
            model_id=str(arrays.get("model_id", Path(path).stem)),
            crops=str(arrays.get("crops", UNKNOWN)),
            pose_from=str(arrays.get("pose_from", UNKNOWN)),
            **{key: arrays[key].astype(np.float32) for key in _OPTIONAL if key in arrays},
        )

    def _optional(self) -> dict[str, Any]:
        """Return the optional arrays that are known, by name."""
        arrays = {key: getattr(self, key) for key in _OPTIONAL}
        return {key: array for key, array in arrays.items() if array is not None}

    def _problem(self) -> str | None:
        n, points = len(self.names), self.landmarks68
        if points.ndim != 3 or points.shape[1] != 68 or points.shape[2] not in (2, 3):
            return f"landmarks68 is {points.shape}, expected (N, 68, 3) or (N, 68, 2)"
        if len(points) != n:
            return f"{n} names but {len(points)} sets of landmarks"
        for key, array in self._optional().items():
            if array.shape != (n, *_OPTIONAL[key]):
                return f"{key} is {array.shape}, expected {(n, *_OPTIONAL[key])}"
        if repeated := [name for name, count in Counter(self.names).items() if count > 1]:
            return f"the name {repeated[0]} occurs more than once"
        for key, array in {"landmarks68": points, **self._optional()}.items():
            if not (finite := np.isfinite(array).reshape(n, -1).all(1)).all():
                return f"{key} of {self.names[int(np.argmin(finite))]} has values that are not finite"
        return self._wrong_rotation() or self._wrong_uncertainty()

    def _wrong_rotation(self) -> str | None:
        if self.rotation is None:
            return None if self.rotation_covariance is None else "rotation_covariance needs rotation"
        matrices = self.rotation.astype(np.float64)
        difference = np.abs(matrices @ matrices.swapaxes(1, 2) - np.eye(3)).max((1, 2))
        wrong = (difference > _ROTATION_TOLERANCE) | (np.linalg.det(matrices) < 0)
        return f"rotation of {self.names[int(np.argmax(wrong))]} is no rotation matrix" if wrong.any() else None

    def _wrong_uncertainty(self) -> str | None:
        std, covariance = self.landmarks68_std, self.rotation_covariance
        if std is not None and (wrong := (std <= 0).any(1)).any():
            return f"landmarks68_std of {self.names[int(np.argmax(wrong))]} has values that are not positive"
        if covariance is not None and (wrong := np.linalg.eigvalsh(covariance.astype(np.float64))[:, 0] <= 0).any():
            return f"rotation_covariance of {self.names[int(np.argmax(wrong))]} is not positive definite"
        return None
