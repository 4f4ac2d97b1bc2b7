"""Read the Basel Face Models 2017 (Gerig et al. 2018) and 2019: HDF5 files in the layout of statismo.

shape/model, expression/model    mean (3V,), pcaBasis (3V, K), pcaVariance (K,) in millimetres
color/model/mean                 (3V,), optional
shape/representer/cells          (3, F), indices from 0
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from bfm_assets import convert
from bfm_assets.keypoints import find_keypoints
from bfm_assets.safe_files import ModelFileError, check_bytes, reading
from bfm_assets.schema import Floats, MorphableModel

LICENCE = (
    "Basel Face Model 2017/2019: non-commercial research under its terms, https://faces.dmi.unibas.ch/bfm/bfm2019.html"
)
ASSUMPTIONS = (
    "units are millimetres",
    "pcaVariance holds variances: their square roots are the standard deviations",
    "the face is the mean shape plus the mean expression",
    "the landmarks of the file are not the 68, which come from a keypoint file",
)


def read_bfm2017(path: str | Path, keypoints: str | Path | None = None) -> MorphableModel:
    """Read BFM 2017 or 2019.

    Args:
        path: the `.h5` file.
        keypoints: keypoint file (`bfm_assets.keypoints`); by default the one next to the model.

    Raises:
        ModelFileError: a file is missing, damaged or inconsistent, or there is no keypoint file.
    """
    try:
        import h5py
    except ModuleNotFoundError:
        raise ModelFileError(f"{path}: an .h5 file needs h5py; install the extra 'bfm' (docs/install.md)") from None

    path = Path(path)
    with reading(path, "Basel Face Model .h5 file"):
        with h5py.File(path, "r") as file:
            names = ("shape/model/mean", "expression/model/mean")
            mean = convert.joined_mean(_array(file, names[0]), _array(file, names[1]), names)
            shape_basis, shape_std = _modes(file, "shape", len(mean))
            expression_basis, expression_std = _modes(file, "expression", len(mean))
            triangles = convert.triangles(_array(file, "shape/representer/cells"), mean, 0, "shape/representer/cells")
            rgb = _array(file, "color/model/mean") if "color/model/mean" in file else None
        peak = 1 if rgb is None or rgb.max() <= 1 else 255
        return MorphableModel(
            name=path.stem,
            licence=LICENCE,
            mean=mean,
            shape_basis=shape_basis,
            shape_std=shape_std,
            expression_basis=expression_basis,
            expression_std=expression_std,
            triangles=triangles,
            landmarks=find_keypoints(keypoints, path.parent, len(mean), "BFM 2017/2019"),
            mm_per_unit=1.0,
            colours=None if rgb is None else convert.colours(rgb, len(mean), peak, "color/model/mean"),
        )


def _modes(file: Any, name: str, n_vertices: int) -> tuple[Floats, Floats]:
    """Read basis (V, 3, K) and standard deviations (K,) of one of the models in the file."""
    basis = convert.modes(_array(file, f"{name}/model/pcaBasis"), n_vertices, f"{name}/model/pcaBasis")
    what = f"{name}/model/pcaVariance"
    variance = convert.per_mode(_array(file, what), basis.shape[2], what)
    if not (variance > 0).all():
        raise ModelFileError(f"{what} has variances that are not positive")
    return basis, np.sqrt(variance)


def _array(file: Any, name: str) -> Any:
    import h5py

    dataset = file.get(name)
    if not isinstance(dataset, h5py.Dataset):
        raise ModelFileError(f"it lacks {name}")
    check_bytes(dataset.size * 8, name)
    return dataset[()]
