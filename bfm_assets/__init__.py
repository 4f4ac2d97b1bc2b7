"""Morphable face models: one schema, readers of the public formats, and the open face that ships with Synergy."""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files

from bfm_assets.bfm68 import read_bfm68
from bfm_assets.detect import read_model
from bfm_assets.errors import ModelFileError
from bfm_assets.ict import read_ict
from bfm_assets.schema import MorphableModel

__all__ = ["ModelFileError", "MorphableModel", "open_face", "read_bfm68", "read_ict", "read_model"]


@cache
def open_face() -> MorphableModel:
    """The bundled open face: a head with 68 landmarks on exact vertices and ARKit-named blendshapes, MIT licence."""
    with as_file(files("bfm_assets") / "data" / "open_face.npz") as path:
        return MorphableModel.load(path)
