"""AFLW2000-3D as published: `imageNNNNN.jpg` with `imageNNNNN.mat` (Zhu et al., CVPR 2016).

`pt3d_68` counts pixels from 1, as MATLAB does, and its larger z is nearer. The reader therefore subtracts one pixel
from x and y. Published comparisons do not. `eval.protocols.aflw2000` adds the pixel again where it repeats them.
"""

from __future__ import annotations

import numpy as np

from bfm_assets.matfile import read_mat_numbers
from synergy.data.pairs import pair_up
from synergy.data.reader import FaceReader, checked_points, stem
from synergy.data.sample import FaceSample
from synergy.data.w300lp_format import MATLAB_ORIGIN, VARIABLES, read_parameters, read_pose_deg


class AFLW2000Reader(FaceReader):
    """Read AFLW2000-3D. Landmarks are (68, 3) and the pose is that of `Pose_Para`. It must not be used for training.

    Args:
        path: folder, tar or zip of the data set.
    """

    source = "aflw2000-3d"
    licence = "AFLW2000-3D: academic research only, see http://www.cbsr.ia.ac.cn/users/xiangyuzhu/"

    def _find(self) -> list[str]:
        return pair_up(self, ".mat")

    def _wanted(self) -> str:
        return "pairs of .jpg and .mat files"

    def _read(self, name: str, image: bool) -> FaceSample:
        file = stem(name) + ".mat"
        mat = read_mat_numbers(self.tree.read(file), file, ("pt3d_68", *VARIABLES))
        landmarks = checked_points(mat["pt3d_68"].T, 68, 3, f"{file}: pt3d_68 transposed")
        landmarks -= np.array([MATLAB_ORIGIN, MATLAB_ORIGIN, landmarks[:, 2].mean()], np.float32)
        params, pose_deg = read_parameters(mat, file), read_pose_deg(mat, file)
        return self._sample(name, self._image(name, image), landmarks, params=params, pose_deg=pose_deg)
