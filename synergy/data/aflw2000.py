"""AFLW2000-3D as published: `imageNNNNN.jpg` beside `imageNNNNN.mat` (Zhu et al., CVPR 2016).

`pt3d_68` is in MATLAB's 1-based pixels with larger z nearer: fitted vertices land on it at x = V_x, y = H + 1 - V_y
(measured on 48 files: 0.0 and 0.85 px from V_x and H - V_y, with a truncated basis), so one pixel is taken off here.
Published comparisons leave it on; `eval.protocols.aflw2000` puts it back where it repeats them.
"""

from __future__ import annotations

import numpy as np

from bfm_assets.matfile import read_mat_numbers
from synergy.data import zhu
from synergy.data.pairs import pair_up
from synergy.data.reader import FaceReader, checked_points, stem, visibility_of
from synergy.data.sample import FaceSample


class AFLW2000Reader(FaceReader):
    """The benchmark's samples; landmarks are (68, 3), the pose that of `Pose_Para`. Never for training."""

    source = "aflw2000-3d"
    licence = "AFLW2000-3D: academic research only, see http://www.cbsr.ia.ac.cn/users/xiangyuzhu/"

    def _find(self) -> list[str]:
        return pair_up(self, ".mat")

    def _wanted(self) -> str:
        return "pairs of .jpg and .mat files"

    def _read(self, name: str, image: bool) -> FaceSample:
        file = stem(name) + ".mat"
        mat = read_mat_numbers(self.tree.read(file), file, ("pt3d_68", *zhu.VARIABLES))
        landmarks = checked_points(mat["pt3d_68"].T, 68, (3,), f"{file}: pt3d_68 transposed")
        landmarks -= np.array([zhu.MATLAB_ORIGIN, zhu.MATLAB_ORIGIN, landmarks[:, 2].mean()], np.float32)
        return FaceSample(
            name=name,
            image=self._image(name, image),
            landmarks68=landmarks,
            visibility68=visibility_of(landmarks),
            params=zhu.parameters(mat, file),
            pose_deg=zhu.pose_deg(mat, file),
            source=self.source,
            licence=self.licence,
        )
