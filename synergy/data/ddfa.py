"""3DDFA's training set: 120x120 crops, `train_aug_120x120.list.train` and `param_all_norm_v201.pkl` (Guo et al., 2018).

Row i of the pickle belongs to line i of the list. It holds 62 whitened parameters: 12 of the pose `[s R | t]` in crop
pixels, 40 of shape and 10 of expression. Pixels count from 1, as in MATLAB. The reader converts them (`to_zero_based`).
The code in the pickle is not run.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bfm_assets.schema import MorphableModel
from bfm_assets.unpickle import read_pickle
from synergy.compat.whitening import N_PARAMS, N_SHAPE, read_whitening, to_zero_based
from synergy.data.reader import CROP_SIZE, FaceReader, box_of_crop, checked_points
from synergy.data.sample import FaceSample
from synergy.data.w300lp_format import project_vertices, require_3ddfa_modes
from synergy.errors import UserError


class DDFAReader(FaceReader):
    """Read 3DDFA's crops and their parameters. The `box` of a sample is the one whose square crop is the whole image.

    Args:
        path: folder, tar or zip of the crops.
        list_file: text file with one image name per line.
        params_file: the pickle of (N, 62) whitened parameters.
        whitening_file: mean and standard deviation of the parameters (`param_whitening.pkl`).
        model: a BFM with 3DDFA's modes, dense or of 68 points, to compute the landmarks (68, 3) from the parameters.
            Without it the landmarks are NaN.

    Raises:
        UserError: there is nothing to read, a file is not what it should be, or the model has other modes.
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
        if model is not None:
            require_3ddfa_modes(model)
        self._model = model.landmark_model() if model is not None else None
        self._list_file = Path(list_file)
        self._params = _read_params(params_file, whitening_file)
        super().__init__(path)

    def _find(self) -> list[str]:
        try:
            names = self._list_file.read_text(encoding="utf-8").split("\n")
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
        """Return the first 16 hex digits of a SHA-256 over the list and the parameters."""
        sha = hashlib.sha256(self._list_file.read_bytes() + self._params.tobytes())
        return sha.hexdigest()[:16]

    def _read(self, name: str, image: bool) -> FaceSample:
        params = to_zero_based(self._params[self._rows[name]])
        checked_points(params[:, None], N_PARAMS, 1, f"{name}: parameters")
        landmarks = np.full((68, 2), np.nan, np.float32)
        if self._model is not None:
            landmarks = project_vertices(params, self._model, CROP_SIZE, n_shape=N_SHAPE)
        box = box_of_crop()
        return self._sample(name, self._image(name, image), landmarks, params=params, box=box)


def _read_params(params_file: str | Path, whitening_file: str | Path) -> NDArray[np.float32]:
    """Read the parameters (N, 62) in MATLAB's coordinates, without whitening."""
    whitening = read_whitening(whitening_file)
    params = read_pickle(params_file)
    if not isinstance(params, np.ndarray) or params.ndim != 2 or params.shape[1] != N_PARAMS:
        shape = getattr(params, "shape", type(params).__name__)
        raise UserError(f"{params_file}: expected parameters (N, {N_PARAMS}), found {shape}")
    return whitening.dewhiten(params).astype(np.float32)
