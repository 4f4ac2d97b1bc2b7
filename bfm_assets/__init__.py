"""Morphable face models: one data class, readers of the public formats, and the bundled open face."""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files

from bfm_assets.bfm68 import read_bfm68
from bfm_assets.detect import read_model
from bfm_assets.ict import read_ict
from bfm_assets.safe_files import ModelFileError
from bfm_assets.schema import MorphableModel

__all__ = ["ModelFileError", "MorphableModel", "open_face", "read_bfm68", "read_ict", "read_model"]


@cache
def open_face() -> MorphableModel:
    """Load the bundled morphable model, the open face. It is read once per process.

    Returns:
        A head with 68 landmark vertices, ARKit-named blendshapes and colours. Its licence is MIT; `notice` must go
        with copies of it.

    Example:
        >>> model = open_face()
        >>> model.is_dense, model.landmarks.shape, len(model.expression_names) == model.n_expression
        (True, (68,), True)
    """
    with as_file(files("bfm_assets") / "data" / "open_face.npz") as path:
        return MorphableModel.load(path)
