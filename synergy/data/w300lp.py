"""300W-LP as published: `SET/NAME_k.jpg` beside `NAME_k.mat`, and a `landmarks/` folder (Zhu et al., CVPR 2016).

Landmarks come from the first of these that there is:
- `landmarks/SET/NAME_k_pts.mat`, its `pts_3d` (68, 2): the fitted model's points in 1-based pixels;
- a BFM given by the caller: the fitted parameters projected, (68, 3). It also adds z to the points of `landmarks/`;
- `pt2d` of the `.mat`: the hand labels of the source photo, which hold only for the unrotated images `NAME_0`. In
  `_Flip` sets they are mirrored about W + 1, which shows them to be 1-based, but keep the source's order: undone here.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from bfm_assets.matfile import read_mat_numbers
from bfm_assets.schema import MorphableModel
from synergy.data import zhu
from synergy.data.pairs import pair_up
from synergy.data.reader import FaceReader, checked_points, stem, visibility_of
from synergy.data.sample import FaceSample
from synergy.landmarks import FLIP68, OUTER_EYE_CORNERS

_UNROTATED = re.compile(r"_0$")
_LANDMARKS = "landmarks/"


class W300LPReader(FaceReader):
    """300W-LP's samples, with the fitted pose and parameters of each.

    `model` is a BFM, dense or of 68 points, from which landmarks are rebuilt.
    """

    source = "300w-lp"
    licence = "300W-LP: academic research only, see http://www.cbsr.ia.ac.cn/users/xiangyuzhu/"

    def __init__(self, path: str | Path, model: MorphableModel | None = None) -> None:
        self._model = model.landmark_model() if model is not None else None
        super().__init__(path)

    def _find(self) -> list[str]:
        self._points = {
            name.rpartition(_LANDMARKS)[2][: -len("_pts.mat")]: name
            for name in self.tree.names
            if _LANDMARKS in name and name.endswith("_pts.mat")
        }
        names = [name for name in pair_up(self, ".mat") if not name.endswith("_pts.mat")]
        if self._model is not None:
            return names
        for name in names:
            if self._points_file(name) is None and not _UNROTATED.search(stem(name)):
                self.skip(name, "rotated, so its pt2d is another image's: its landmarks need landmarks/ or a BFM")
        return [name for name in names if name not in self._problems]

    def _label_files(self) -> list[str]:
        return [*super()._label_files(), *(file for name in self.names if (file := self._points_file(name)))]

    def _wanted(self) -> str:
        return "pairs of .jpg and .mat files in AFW, HELEN, IBUG, LFPW and their _Flip folders"

    def _points_file(self, name: str) -> str | None:
        return self._points.get("/".join(PurePosixPath(stem(name)).parts[-2:]))

    def _read(self, name: str, image: bool) -> FaceSample:
        file = stem(name) + ".mat"
        mat = read_mat_numbers(self.tree.read(file), file, zhu.VARIABLES, ("pt2d",))
        params = zhu.parameters(mat, file)
        pixels = self._image(name, image or self._model is not None)  # y of the model needs the image's height
        landmarks = self._landmarks(name, file, mat, params, len(pixels))
        return FaceSample(
            name=name,
            image=pixels,
            landmarks68=landmarks,
            visibility68=visibility_of(landmarks),
            params=params,
            pose_deg=zhu.pose_deg(mat, file),
            source=self.source,
            licence=self.licence,
        )

    def _landmarks(
        self, name: str, file: str, mat: dict[str, NDArray[np.float64]], params: NDArray[np.float32], height: int
    ) -> NDArray[np.float32]:
        rebuilt = None if self._model is None else zhu.project_vertices(params, self._model, height)
        if points_file := self._points_file(name):
            points = read_mat_numbers(self.tree.read(points_file), points_file, ("pts_3d",))["pts_3d"]
            flat = _in_order(checked_points(points, 68, (2,), f"{points_file}: pts_3d") - np.float32(zhu.MATLAB_ORIGIN))
            return flat if rebuilt is None else np.concatenate([flat, rebuilt[:, 2:]], 1)
        if rebuilt is not None:
            return rebuilt
        if "pt2d" not in mat:
            raise ValueError(f"{file} lacks pt2d")
        flat = checked_points(mat["pt2d"].T, 68, (2,), f"{file}: pt2d transposed")
        return _in_order(flat - np.float32(zhu.MATLAB_ORIGIN))


def _in_order(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """Points (68, 2) in iBUG order, also when they were mirrored without being renumbered.

    From the right eye's outer corner to the left's, the chin lies clockwise (y down) on any face seen from in front.
    """
    eyes, chin = points[OUTER_EYE_CORNERS[1]] - points[OUTER_EYE_CORNERS[0]], points[8] - points[OUTER_EYE_CORNERS[0]]
    return points if eyes[0] * chin[1] - eyes[1] * chin[0] > 0 else points[FLIP68]
