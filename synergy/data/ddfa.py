"""3DDFA's training set: 120x120 crops, `train_aug_120x120.list.train` and `param_all_norm_v201.pkl` (Guo et al., 2018).

Row i of the pickle belongs to line i of the list: 62 whitened parameters, 12 of pose `[s R | t]` row-major in crop
pixels, 40 of shape, 10 of expression. They are in MATLAB's pixels and converted to ours (`to_zero_based`). The pickle
is read without running it.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bfm_assets.schema import MorphableModel
from bfm_assets.unpickle import read_pickle
from synergy.compat.whitening import N_PARAMS, N_SHAPE, read_whitening, to_zero_based
from synergy.data import zhu
from synergy.data.reader import CROP_SIZE, FaceReader, box_of_crop, checked_points, visibility_of
from synergy.data.sample import FaceSample
from synergy.errors import UserError


class DDFAReader(FaceReader):
    """The crops with their parameters, de-whitened; `box` is the one whose sqrt(2) square is the whole crop.

    Args:
        path: folder, tar or zip of the crops.
        list_file: one image name per line.
        params_file: the pickle of (N, 62) whitened parameters.
        whitening_file: their mean and standard deviation (`param_whitening.pkl`).
        model: a BFM, dense or of 68 points, that landmarks (68, 3) are rebuilt from; without it they are unknown.
    """

    source = "3ddfa-train-aug"
    licence = "Derived from 300W-LP: academic research only"

    def __init__(
        self,
        path: str | Path,
        list_file: str | Path,
        params_file: str | Path,
        whitening_file: str | Path,
        model: MorphableModel | None = None,
    ) -> None:
        self._model = model.landmark_model() if model is not None else None
        self._list_file = Path(list_file)
        self._params = _read_params(params_file, whitening_file)
        super().__init__(path)

    def _find(self) -> list[str]:
        try:
            names = self._list_file.read_text().split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{self._list_file}: cannot be read as a list of images ({error})") from None
        names = [name.strip() for name in names if name.strip()]
        if len(names) != len(self._params):
            raise UserError(
                f"{self._list_file} names {len(names)} images, but there are {len(self._params)} parameters"
            )
        self._rows = {name: row for row, name in enumerate(names)}
        if not any(name in self.tree for name in names):
            return []
        for name in names:
            if name not in self.tree:
                self.skip(name, f"listed in {self._list_file.name}, but there is no such image")
        return [name for name in self._rows if name in self.tree]

    def _wanted(self) -> str:
        return f"the images that {self._list_file.name} names"

    def digest(self) -> str:
        sha = hashlib.sha256(self._list_file.read_bytes() + self._params.tobytes())
        return sha.hexdigest()[:16]

    def _read(self, name: str, image: bool) -> FaceSample:
        params = to_zero_based(self._params[self._rows[name]])
        checked_points(params[:, None], N_PARAMS, (1,), f"{name}: parameters")
        landmarks = np.full((68, 2), np.nan, np.float32)
        if self._model is not None:
            landmarks = zhu.project_vertices(params, self._model, CROP_SIZE, n_shape=N_SHAPE)
        return FaceSample(
            name=name,
            image=self._image(name, image),
            landmarks68=landmarks,
            visibility68=visibility_of(landmarks),
            params=params,
            box=box_of_crop(CROP_SIZE, CROP_SIZE),
            source=self.source,
            licence=self.licence,
        )


def _read_params(params_file: str | Path, whitening_file: str | Path) -> NDArray[np.float32]:
    whitening = read_whitening(whitening_file)
    params = read_pickle(params_file)
    if not isinstance(params, np.ndarray) or params.ndim != 2 or params.shape[1] != N_PARAMS:
        shape = getattr(params, "shape", type(params).__name__)
        raise UserError(f"{params_file}: expected parameters (N, {N_PARAMS}), found {shape}")
    return whitening.dewhiten(params).astype(np.float32)
