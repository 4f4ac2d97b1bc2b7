"""Which of the public formats a file or folder is, told by its content."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile

from bfm_assets import bfm68, bfm2009, bfm2017, face3d, ict, ict_folder, tddfa, tddfa_v2
from bfm_assets.errors import ModelFileError, reading
from bfm_assets.matfile import variables
from bfm_assets.schema import MorphableModel


def _load(path: Path, keypoints: Path | None) -> MorphableModel:
    """This project's own `.npz`, with other landmarks if a keypoint file is given."""
    from dataclasses import replace

    from bfm_assets.keypoints import read_keypoints

    model = MorphableModel.load(path)
    return model if keypoints is None else replace(model, landmarks=read_keypoints(keypoints, model.n_vertices))


@dataclass(frozen=True)
class Format:
    """A public format.

    Attributes:
        name: what people call it.
        read: its reader, of a path and of a keypoint file or None.
        assumed: what the reader takes for granted that the file does not say.
    """

    name: str
    read: Callable[[Path, Path | None], MorphableModel]
    assumed: tuple[str, ...] = ()


OWN = Format("MorphableModel .npz", _load)
BFM68 = Format("68-point basis .npz", bfm68.read_bfm68, bfm68.ASSUMED)
ICT = Format("packed ICT-FaceKit .npz", ict.read_ict, ict.ASSUMED)
ICT_FOLDER = Format("ICT-FaceKit OBJ folder", ict_folder.read_ict_folder, ict.ASSUMED)
BFM2009 = Format("Basel Face Model 2009 .mat", bfm2009.read_bfm2009, bfm2009.ASSUMED)
BFM2017 = Format("Basel Face Model 2017/2019 .h5", bfm2017.read_bfm2017, bfm2017.ASSUMED)
TDDFA = Format("3DDFA / SynergyNet 3dmm_data folder", tddfa.read_3dmm_data, tddfa.ASSUMED)
TDDFA_V2 = Format("3DDFA_V2 bfm_noneck_v3.pkl", tddfa_v2.read_noneck, tddfa_v2.ASSUMED)
FACE3D = Format("face3d BFM.mat", face3d.read_face3d, face3d.ASSUMED)

FORMATS = (OWN, BFM2009, BFM2017, TDDFA, TDDFA_V2, FACE3D, ICT_FOLDER, ICT, BFM68)

OPEN_FACE = "open_face"  # the name of the bundled model

# A folder is what the first of these files in it says.
_FOLDERS = ((ict_folder.NEUTRAL, ICT_FOLDER), ("u_shp.npy", TDDFA), (bfm2009.NAME, BFM2009))
_HDF5, _ZIP, _PICKLE = b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"\x80"
_MATLAB = b"MATLAB "


def detect_format(path: str | Path) -> Format:
    """The format of a model file or folder; `ModelFileError` when it is none of `FORMATS`."""
    path = Path(path)
    if path.is_dir():
        found = next((kind for name, kind in _FOLDERS if (path / name).is_file()), None)
    else:
        with reading(path, "file"), path.open("rb") as file:
            head = file.read(128)
        found = _format_of_file(path, head)
    if found is None:
        raise ModelFileError(f"{path}: no morphable model; known are {', '.join(kind.name for kind in FORMATS)}")
    return found


def read_model(path: str | Path, keypoints: str | Path | None = None) -> MorphableModel:
    """Read a morphable model of any public format.

    Args:
        path: "open_face" for the bundled model, or a file or folder; `docs/morphable-models.md` says what each format
            needs in addition to it.
        keypoints: a file of 68 vertex indices, for formats that carry none or to replace theirs.

    Raises:
        ModelFileError: unknown, incomplete, damaged or inconsistent; one line.
    """
    if str(path) == OPEN_FACE:
        from bfm_assets import open_face

        return open_face()
    return detect_format(path).read(Path(path), None if keypoints is None else Path(keypoints))


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
