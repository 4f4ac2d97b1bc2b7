"""Read the Basel Face Model 2009 (Paysan et al. 2009) with the expressions of Guo et al. (PAMI 2018).

Files of the folder:
    01_MorphableModel.mat   shapeMU (3V, 1), shapePC (3V, 199), shapeEV (199, 1) and texMU (3V, 1) in micrometres,
                            tl (F, 3) with indices from 1; V = 53,490
    Exp_Pca.bin             int32 E, then float32 mean (3W) and modes (E, 3W) of the W = 53,215 vertices of 3DDFA
    std_exp.txt             E standard deviations
    BFM_exp_idx.mat         trimIndex, the indices from 1 of the W vertices within the V
    model_info.mat          3DDFA's file with trimIndex and the landmarks (keypoints, indices from 1); replaces
                            BFM_exp_idx.mat
    keypoints_sim.npy       the landmarks, if there is no model_info.mat; see `bfm_assets.keypoints`
The first file and landmarks are required. Without `Exp_Pca.bin` the model has no expression modes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bfm_assets import convert
from bfm_assets.keypoints import find_keypoints
from bfm_assets.matfile import read_mat, variables
from bfm_assets.safe_files import ModelFileError, reading
from bfm_assets.schema import Floats, Ints, MorphableModel

NAME = "01_MorphableModel.mat"
# Also of 3DDFA's, 3DDFA_V2's and face3d's versions of the model.
LICENCE = "Basel Face Model 2009: non-commercial research under signed terms, https://faces.dmi.unibas.ch/bfm/"
_TRIM_FILES = ("model_info.mat", "BFM_exp_idx.mat")

ASSUMPTIONS = (
    "units are micrometres",
    "shapeEV and std_exp.txt are standard deviations",
    "the triangles of the file are inside out, and are reversed",
    "with a trim index the model is cut to its 53,215 vertices, and keypoints are indices into those",
    "the mean of Exp_Pca.bin is ignored, as in Deep3DFaceRecon: zero expression is the mean face of the scans",
)


def read_bfm2009(path: str | Path, keypoints: str | Path | None = None) -> MorphableModel:
    """Read BFM 2009.

    Args:
        path: the folder, or `01_MorphableModel.mat` in it.
        keypoints: keypoint file (`bfm_assets.keypoints`) that replaces the landmarks of the folder.

    Raises:
        ModelFileError: a file is missing, damaged or inconsistent, or there are no landmarks.
    """
    path = Path(path)
    file = path / NAME if path.is_dir() else path
    folder = file.parent
    arrays = read_mat(file, ("shapeMU", "shapePC", "shapeEV", "tl"), ("texMU",))
    with reading(file, "Basel Face Model 2009"):
        mean = convert.points(arrays["shapeMU"], "shapeMU")
        basis = convert.modes(arrays.pop("shapePC"), len(mean), "shapePC")
        std = convert.per_mode(arrays["shapeEV"], basis.shape[2], "shapeEV")
        triangles = convert.triangles(arrays["tl"], mean, 1, "tl")
        rgb = convert.colours(arrays["texMU"], len(mean), 255, "texMU") if "texMU" in arrays else None

    landmarks = None
    trim_file = next((folder / name for name in _TRIM_FILES if (folder / name).is_file()), None)
    if trim_file is not None:
        kept = _trim_index(trim_file, len(mean))
        triangles = _kept_triangles(triangles, kept, len(mean))
        mean, basis, rgb = mean[kept], basis[kept], None if rgb is None else rgb[kept]
        landmarks = _stored_landmarks(trim_file, len(mean))
    if landmarks is None or keypoints is not None:
        landmarks = find_keypoints(keypoints, folder, len(mean), "BFM 2009")
    expression_basis, expression_std = _expressions(folder, len(mean))
    with reading(file, "Basel Face Model 2009"):
        return MorphableModel(
            name="bfm-2009",
            licence=LICENCE,
            mean=mean,
            shape_basis=basis,
            shape_std=std,
            expression_basis=expression_basis,
            expression_std=expression_std,
            triangles=triangles,
            landmarks=landmarks,
            mm_per_unit=1e-3,
            colours=rgb,
        )


def _trim_index(path: Path, n_vertices: int) -> Ints:
    stored = read_mat(path, ("trimIndex",))["trimIndex"]
    with reading(path, "trim index"):
        kept = convert.indices(stored, n_vertices, 1, "trimIndex").ravel()
        if len(np.unique(kept)) != len(kept):
            raise ModelFileError("trimIndex holds a vertex twice")
        return kept


def _kept_triangles(triangles: Ints, kept: Ints, n_vertices: int) -> Ints:
    """Keep the triangles whose corners are all in `kept`, with indices into `kept`."""
    new_index = np.full(n_vertices, -1, np.int32)
    new_index[kept] = np.arange(len(kept), dtype=np.int32)
    renumbered = new_index[triangles]
    return np.ascontiguousarray(renumbered[(renumbered >= 0).all(1)])


def _stored_landmarks(path: Path, n_vertices: int) -> Ints | None:
    if "keypoints" not in variables(path):
        return None
    stored = read_mat(path, ("keypoints",))["keypoints"]
    with reading(path, "model_info.mat"):
        return convert.landmarks(stored, n_vertices, 1, "keypoints")


def _expressions(folder: Path, n_vertices: int) -> tuple[Floats, Floats]:
    """Read basis (V, 3, E) and standard deviations (E,) of Guo's files. Both are empty if the files are missing."""
    path = folder / "Exp_Pca.bin"
    if not path.is_file():
        return np.empty((n_vertices, 3, 0), np.float32), np.empty(0, np.float32)
    with reading(path, "Exp_Pca.bin"):
        size = path.stat().st_size
        with path.open("rb") as file:
            count = int(np.frombuffer(file.read(4), "<i4")[0])
            if count < 1 or size != 4 + 12 * n_vertices * (count + 1):
                raise ModelFileError(
                    f"{size} bytes with {count} modes do not match {n_vertices} vertices: the file is damaged, or "
                    f"{' or '.join(_TRIM_FILES)} is missing next to it"
                )
            file.seek(4 + 12 * n_vertices)
            rows = np.frombuffer(file.read(), "<f4").reshape(count, n_vertices, 3)
    text = folder / "std_exp.txt"
    with reading(text, "std_exp.txt"):
        std = convert.per_mode(np.array(text.read_text().split(), np.float64), count, "std_exp.txt")
    return np.ascontiguousarray(rows.transpose(1, 2, 0), np.float32), std
