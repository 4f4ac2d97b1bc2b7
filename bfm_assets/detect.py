"""Recognise the format of a morphable model by its content, and read it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from zipfile import ZipFile

from bfm_assets import bfm68, bfm2009, bfm2017, face3d, ict, ict_folder, tddfa, tddfa_v2
from bfm_assets.keypoints import read_keypoints
from bfm_assets.matfile import variables
from bfm_assets.safe_files import ModelFileError, reading
from bfm_assets.schema import MorphableModel


def _load(path: Path, keypoints: Path | None) -> MorphableModel:
    """Read the `.npz` format of this project; a keypoint file replaces its landmarks."""
    model = MorphableModel.load(path)
    return model if keypoints is None else replace(model, landmarks=read_keypoints(keypoints, model.n_vertices))


@dataclass(frozen=True)
class Format:
    """A format of morphable models.

    Attributes:
        name: its common name.
        read: the reader. It takes the path of the model, and a keypoint file or None (`bfm_assets.keypoints`).
        assumptions: facts that the reader assumes because the file does not state them, one phrase each.
    """

    name: str
    read: Callable[[Path, Path | None], MorphableModel]
    assumptions: tuple[str, ...] = ()


OWN = Format("MorphableModel .npz", _load)
BFM68 = Format("68-point basis .npz", bfm68.read_bfm68, bfm68.ASSUMPTIONS)
ICT = Format("packed ICT-FaceKit .npz", ict.read_ict, ict.ASSUMPTIONS)
ICT_FOLDER = Format("ICT-FaceKit OBJ folder", ict_folder.read_ict_folder, ict.ASSUMPTIONS)
BFM2009 = Format("Basel Face Model 2009 .mat", bfm2009.read_bfm2009, bfm2009.ASSUMPTIONS)
BFM2017 = Format("Basel Face Model 2017/2019 .h5", bfm2017.read_bfm2017, bfm2017.ASSUMPTIONS)
TDDFA = Format("3DDFA / SynergyNet 3dmm_data folder", tddfa.read_3dmm_data, tddfa.ASSUMPTIONS)
TDDFA_V2 = Format("3DDFA_V2 bfm_noneck_v3.pkl", tddfa_v2.read_noneck, tddfa_v2.ASSUMPTIONS)
FACE3D = Format("face3d BFM.mat", face3d.read_face3d, face3d.ASSUMPTIONS)

FORMATS = (OWN, BFM2009, BFM2017, TDDFA, TDDFA_V2, FACE3D, ICT_FOLDER, ICT, BFM68)

# Names of the models with 3DDFA's shape and expression modes. An imported .npz keeps the name, and the name of a
# `landmark_model` begins with it.
_WITH_3DDFA_MODES = (tddfa.MODEL_NAME, tddfa_v2.MODEL_NAME, face3d.MODEL_NAME, bfm68.MODEL_NAME)

OPEN_FACE = "open_face"  # the name of the bundled model

# The first of these files that is in a folder tells its format.
_FOLDERS = ((ict_folder.NEUTRAL, ICT_FOLDER), ("u_shp.npy", TDDFA), (bfm2009.NAME, BFM2009))
_HDF5, _ZIP, _PICKLE = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"\x80"
_MATLAB = b"MATLAB "


def detect_format(path: str | Path) -> Format:
    """Recognise the format of a model file or folder.

    Raises:
        ModelFileError: it is missing, or its format is not one of `FORMATS`.
    """
    path = Path(path)
    if path.is_dir():
        model_format = next((known for name, known in _FOLDERS if (path / name).is_file()), None)
    else:
        with reading(path, "file"), path.open("rb") as file:
            head = file.read(128)
        model_format = _format_of_file(path, head)
    if model_format is None:
        known_names = ", ".join(known.name for known in FORMATS)
        raise ModelFileError(f"{path}: not a morphable model; known formats are {known_names}")
    return model_format


def read_model(path: str | Path, keypoints: str | Path | None = None) -> MorphableModel:
    """Read a morphable model of any public format.

    Args:
        path: "open_face" for the bundled model, or a file or folder. Some formats need further files next to it, see
            `docs/morphable-models.md`.
        keypoints: keypoint file (`bfm_assets.keypoints`), for formats without landmarks or to replace theirs.

    Raises:
        ModelFileError: the format is unknown, or a file is missing, damaged, incomplete or inconsistent.

    Example:
        >>> model = read_model("open_face")
        >>> model.mean.shape == (model.n_vertices, 3), model.landmarks.shape
        (True, (68,))
    """
    if str(path) == OPEN_FACE:
        from bfm_assets import open_face

        return open_face()
    return detect_format(path).read(Path(path), None if keypoints is None else Path(keypoints))


def has_3ddfa_modes(model: MorphableModel) -> bool:
    """Return whether the coefficients of 3DDFA, 300W-LP and AFLW2000-3D describe faces of a model.

    They do for the forms of the Basel Face Model that have 3DDFA's modes, which are known by their names.
    """
    return model.name.startswith(_WITH_3DDFA_MODES)


def _format_of_file(path: Path, head: bytes) -> Format | None:
    if head.startswith(_ZIP):
        with reading(path, ".npz file"), ZipFile(path) as archive:
            names = {Path(name).stem for name in archive.namelist()}
        if {"shape_std", "landmarks"} <= names:
            return OWN
        if "param_std62" in names:
            return BFM68
        return ICT if {"neutral", "identity"} <= names else None
    if head.startswith(_HDF5):
        return BFM2017
    if head.startswith(_MATLAB):
        names = set(variables(path))
        if "shapePC" in names:
            return BFM2009
        return FACE3D if "model" in names else None
    return TDDFA_V2 if head.startswith(_PICKLE) else None
