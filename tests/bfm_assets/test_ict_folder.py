"""ICT-FaceKit's OBJ files in their exact layout, and the real folder if SYNERGY_ICT_FOLDER names it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from bfm_assets import ModelFileError, read_ict
from bfm_assets.ict_folder import read_ict_folder

REAL = os.environ.get("SYNERGY_ICT_FOLDER", "")


def test_everything_arrives(write_ict_folder, reference) -> None:
    model = read_ict_folder(write_ict_folder())
    np.testing.assert_array_equal(model.mean, reference.mean)
    np.testing.assert_array_equal(model.landmarks, reference.landmarks)
    assert {tuple(t) for t in model.triangles} == {tuple(t) for t in reference.triangles}
    np.testing.assert_allclose(model.shape_basis, reference.shape_basis[..., :2], atol=1e-6)
    np.testing.assert_allclose(model.expression_basis, reference.expression_basis[..., :2], atol=1e-6)
    assert model.expression_names == ("jawOpen", "browDown_L")
    np.testing.assert_allclose(model.uv[7], [0.07, 0.035])
    assert model.mm_per_unit == 10


@pytest.mark.skipif(not REAL, reason="set SYNERGY_ICT_FOLDER to ICT-FaceKit's FaceXModel")
def test_the_real_folder_is_the_packed_model(shared_data: Path) -> None:
    packed, folder = read_ict(shared_data / "ict_facekit.npz"), read_ict_folder(REAL)
    for name in ("mean", "triangles", "landmarks", "uv"):
        np.testing.assert_array_equal(getattr(folder, name), getattr(packed, name), name)
    assert folder.expression_names == packed.expression_names
    # the packed one is in half precision
    np.testing.assert_allclose(folder.shape_basis, packed.shape_basis, atol=1e-3)
    np.testing.assert_allclose(folder.expression_basis, packed.expression_basis, atol=2e-3)


def test_files_that_do_not_fit_are_one_line(write_ict_folder) -> None:
    folder = write_ict_folder()
    lines = (folder / "jawOpen.obj").read_text().splitlines()
    (folder / "jawOpen.obj").write_text("\n".join(line for line in lines[:50] if line))
    with pytest.raises(ModelFileError, match=r"jawOpen\.obj: 48 vertices, the neutral mesh has 90"):
        read_ict_folder(folder)
    (folder / "jawOpen.obj").unlink()
    with pytest.raises(ModelFileError, match=r"jawOpen\.obj: no such file"):
        read_ict_folder(folder)
    with pytest.raises(ModelFileError, match="not file names"):
        read_ict_folder(write_ict_folder(names=("../jawOpen",)))
    with pytest.raises(ModelFileError, match="expected 68 landmarks"):
        read_ict_folder(write_ict_folder(idx_to_landmark_verts=[1, 2, 3]))


@pytest.mark.parametrize("name", ["generic_neutral_mesh.obj", "identity001.obj", "vertex_indices.json"])
def test_damage(write_ict_folder, survives_damage, name: str) -> None:
    folder = write_ict_folder()
    survives_damage(folder / name, lambda: read_ict_folder(folder))
