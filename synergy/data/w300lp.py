"""300W-LP as published: `SET/NAME_k.jpg` with `SET/NAME_k.mat`, and a folder `landmarks/` (Zhu et al., CVPR 2016).

Landmarks are read from the first of these sources that exists:
- `pts_3d` (68, 2) in `landmarks/SET/NAME_k_pts.mat`: points of the fitted model. A BFM adds z to them.
- A BFM given by the caller: the landmark vertices of the fitted parameters (68, 3).
- `pt2d` in the `.mat`: manual annotations of the original photo. They are valid only for the images `NAME_0`, which are
  not rotated.

All pixels in the files count from 1, as in MATLAB. In the `_Flip` sets `pt2d` is mirrored but not renumbered. The
reader corrects both.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from bfm_assets.matfile import read_mat_numbers
from bfm_assets.schema import MorphableModel
from synergy.data.pairs import pair_up
from synergy.data.reader import FaceReader, checked_points, stem
from synergy.data.sample import FaceSample
from synergy.data.w300lp_format import (
    MATLAB_ORIGIN,
    VARIABLES,
    project_vertices,
    read_parameters,
    read_pose_deg,
    require_3ddfa_modes,
)
from synergy.landmarks import FLIP68, OUTER_EYE_CORNERS

_UNROTATED = re.compile(r"_0$")
_LANDMARKS = "landmarks/"


class W300LPReader(FaceReader):
    """Read 300W-LP with its fitted poses and parameters.

    Args:
        path: folder, tar or zip of the data set.
        model: a BFM with 3DDFA's modes, dense or of 68 points, to compute landmarks from the parameters.

    Raises:
        UserError: there is nothing to read, or the model has other modes.
    """

    source = "300w-lp"
    licence = "300W-LP: academic research only, see http://www.cbsr.ia.ac.cn/users/xiangyuzhu/"

    def __init__(self, path: str | Path, model: MorphableModel | None = None) -> None:
        if model is not None:
            require_3ddfa_modes(model)
        self._model = model.landmark_model() if model is not None else None
        super().__init__(path)

    def _find(self) -> list[str]:
        self._points = {
            name.rpartition(_LANDMARKS)[2][: -len("_pts.mat")]: name
            for name in self.tree.names
            if _LANDMARKS in name and name.endswith("_pts.mat")
        }
        names = pair_up(self, ".mat")
        if self._model is not None:
            return names
        for name in names:
            if self._points_file(name) is None and not _UNROTATED.search(stem(name)):
                self.skip(name, "the image is rotated but its pt2d is not: its landmarks need landmarks/ or a BFM")
        return [name for name in names if name not in self._problems]

    def _label_files(self) -> list[str]:
        return [*super()._label_files(), *(file for name in self.names if (file := self._points_file(name)))]

    def _wanted(self) -> str:
        return "pairs of .jpg and .mat files in AFW, HELEN, IBUG, LFPW and their _Flip folders"

    def _points_file(self, name: str) -> str | None:
        return self._points.get("/".join(PurePosixPath(stem(name)).parts[-2:]))

    def _read(self, name: str, image: bool) -> FaceSample:
        file = stem(name) + ".mat"
        mat = read_mat_numbers(self.tree.read(file), file, VARIABLES, ("pt2d",))
        params = read_parameters(mat, file)
        pixels = self._image(name, image or self._model is not None)  # the projection needs the height
        landmarks = self._landmarks(name, file, mat, params, len(pixels))
        return self._sample(name, pixels, landmarks, params=params, pose_deg=read_pose_deg(mat, file))

    def _landmarks(
        self, name: str, file: str, mat: dict[str, NDArray[np.float64]], params: NDArray[np.float32], height: int
    ) -> NDArray[np.float32]:
        projected = None if self._model is None else project_vertices(params, self._model, height)
        if points_file := self._points_file(name):
            points = read_mat_numbers(self.tree.read(points_file), points_file, ("pts_3d",))["pts_3d"]
            xy = _in_ibug_order(checked_points(points, 68, 2, f"{points_file}: pts_3d") - np.float32(MATLAB_ORIGIN))
            return xy if projected is None else np.concatenate([xy, projected[:, 2:]], 1)
        if projected is not None:
            return projected
        if "pt2d" not in mat:
            raise ValueError(f"{file} lacks pt2d")
        xy = checked_points(mat["pt2d"].T, 68, 2, f"{file}: pt2d transposed")
        return _in_ibug_order(xy - np.float32(MATLAB_ORIGIN))


def _in_ibug_order(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Renumber points (68, 2) if they were mirrored without being renumbered.

    The direction from the right to the left outer eye corner and the direction from there to the chin have a positive
    cross product (y down) in every image that shows the front of a face.
    """
    right_eye, left_eye = points[list(OUTER_EYE_CORNERS)]
    eyes, chin = left_eye - right_eye, points[8] - right_eye
    return points if eyes[0] * chin[1] - eyes[1] * chin[0] > 0 else points[FLIP68]
