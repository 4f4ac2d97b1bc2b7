"""Morphable models by name."""

from __future__ import annotations

from bfm_assets import ModelFileError, MorphableModel, open_face, read_bfm68


def load_model(name: str) -> MorphableModel:
    """The morphable model called `name`: "open_face", a `MorphableModel` file or a 68-point basis."""
    if name == "open_face":
        return open_face()
    try:
        return MorphableModel.load(name)
    except ModelFileError:
        return read_bfm68(name)
