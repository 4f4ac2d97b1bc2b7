"""Landmarks and poses of named images, ours or anyone's: the one thing that protocols score.

The `.npz` form: `names` (N,), `landmarks68` (N, 68, 3) or (N, 68, 2) in image pixels, z in the same scale with larger z
nearer (its mean does not matter), `pose_deg` (N, 3) pitch, yaw, roll in degrees if there are any, and, if they are
known, `rotation` (N, 3, 3) and the texts `model_id`, `crops` and `pose_from`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bfm_assets.safe_files import ModelFileError, read_arrays
from eval.published import UNKNOWN
from synergy.errors import UserError


@dataclass(frozen=True, eq=False)
class Predictions:
    """Predictions for N images.

    Attributes:
        names: the images' names in their data set.
        landmarks68: (N, 68, 3) or, from a predictor without depth, (N, 68, 2), in image pixels.
        pose_deg: (N, 3) pitch, yaw, roll in degrees, or None.
        model_id: which predictor made them.
        crops: which crops it was given, and `pose_from` how the angles were taken from its output, in the words of
            `eval.published`.
        rotation: (N, 3, 3) predicted rotations from which `pose_deg` was taken, or None.
    """

    names: tuple[str, ...]
    landmarks68: NDArray[np.float32]
    pose_deg: NDArray[np.float32] | None = None
    model_id: str = "unnamed"
    crops: str = UNKNOWN
    pose_from: str = UNKNOWN
    rotation: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        if problem := self._problem():
            raise UserError(f"predictions of '{self.model_id}': {problem}")

    @property
    def has_depth(self) -> bool:
        return bool(self.landmarks68.shape[2] == 3)

    def of(self, names: Sequence[str]) -> Predictions:
        """The predictions for these images in this order; others that there may be are left out.

        Names are matched whole, or by their last part where that is unambiguous.

        Raises:
            UserError: an image has no prediction, which would make the figure one of another data set.
        """
        rows = {name: row for row, name in enumerate(self.names)}
        last_parts = [PurePosixPath(name).name for name in self.names]
        unique = {part for part, count in Counter(last_parts).items() if count == 1}
        by_part = {part: row for row, part in enumerate(last_parts) if part in unique}
        wanted = Counter(PurePosixPath(name).name for name in names)
        found = [
            rows.get(name, by_part.get(part) if wanted[part := PurePosixPath(name).name] == 1 else None)
            for name in names
        ]
        if missing := [name for name, row in zip(names, found, strict=True) if row is None]:
            raise UserError(
                f"predictions of '{self.model_id}' lack {len(missing)} of {len(names)} images, the first of them "
                f"{missing[0]}; theirs are named like {self.names[0] if self.names else 'nothing, there are none'}"
            )
        take = np.array(found, np.intp)
        return Predictions(
            tuple(names),
            self.landmarks68[take],
            None if self.pose_deg is None else self.pose_deg[take],
            self.model_id,
            self.crops,
            self.pose_from,
            None if self.rotation is None else self.rotation[take],
        )

    def save(self, path: str | Path) -> None:
        """Write the `.npz` form."""
        optional: dict[str, Any] = {"pose_deg": self.pose_deg, "rotation": self.rotation}
        arrays = {key: array for key, array in optional.items() if array is not None}
        with Path(path).open("wb") as file:
            np.savez_compressed(
                file,
                names=np.array(self.names),
                landmarks68=self.landmarks68,
                model_id=np.array(self.model_id),
                crops=np.array(self.crops),
                pose_from=np.array(self.pose_from),
                **arrays,
            )

    @classmethod
    def load(cls, path: str | Path) -> Predictions:
        """Read the `.npz` form; `UserError` in one line when it is not one."""
        try:
            arrays = read_arrays(path, ("names", "landmarks68"), "predictions file")
        except ModelFileError as error:
            raise UserError(str(error)) from None
        for key in ("landmarks68", "pose_deg", "rotation"):
            if key in arrays and arrays[key].dtype.kind not in "iuf":
                raise UserError(f"{path}: {key} is not numeric")
        pose, rotation = arrays.get("pose_deg"), arrays.get("rotation")
        return cls(
            tuple(str(name) for name in arrays["names"].ravel()),
            arrays["landmarks68"].astype(np.float32),
            None if pose is None else pose.astype(np.float32),
            str(arrays.get("model_id", Path(path).stem)),
            str(arrays.get("crops", UNKNOWN)),
            str(arrays.get("pose_from", UNKNOWN)),
            None if rotation is None else rotation.astype(np.float32),
        )

    def _problem(self) -> str | None:
        n, points, pose = len(self.names), self.landmarks68, self.pose_deg
        if points.ndim != 3 or points.shape[1] != 68 or points.shape[2] not in (2, 3):
            return f"landmarks68 is {points.shape}, expected (N, 68, 3)"
        if len(points) != n:
            return f"{n} names but {len(points)} sets of landmarks"
        if pose is not None and pose.shape != (n, 3):
            return f"pose_deg is {pose.shape}, expected {(n, 3)}"
        if self.rotation is not None and self.rotation.shape != (n, 3, 3):
            return f"rotation is {self.rotation.shape}, expected {(n, 3, 3)}"
        if repeated := [name for name, count in Counter(self.names).items() if count > 1]:
            return f"{repeated[0]} is there more than once"
        for key, array in (("landmarks68", points), ("pose_deg", pose), ("rotation", self.rotation)):
            if array is not None and not (good := np.isfinite(array).reshape(n, -1).all(1)).all():
                return f"{key} of {self.names[int(np.argmin(good))]} has values that are not finite"
        return None
