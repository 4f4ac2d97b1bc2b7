"""Formats are recognised by their content, not by the name of the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bfm_assets import ModelFileError, MorphableModel, detect, read_model


@pytest.mark.parametrize(
    ("writer", "expected", "has_3ddfa_modes"),
    [
        ("write_bfm2009", detect.BFM2009, False),
        ("write_bfm2017", detect.BFM2017, False),
        ("write_3dmm_data", detect.TDDFA, True),
        ("write_noneck", detect.TDDFA_V2, True),
        ("write_face3d", detect.FACE3D, True),
        ("write_ict_folder", detect.ICT_FOLDER, False),
        ("write_ict", detect.ICT, False),
        ("write_bfm68", detect.BFM68, True),
    ],
)
def test_every_format_is_recognised_read_and_saved(
    request: pytest.FixtureRequest, tmp_path: Path, writer: str, expected: detect.Format, has_3ddfa_modes: bool
) -> None:
    path = request.getfixturevalue(writer)()
    assert detect.detect_format(path) is expected
    assert expected.assumptions
    model = read_model(path)
    model.save(tmp_path / "out.npz")
    assert detect.detect_format(tmp_path / "out.npz") is detect.OWN
    saved = read_model(tmp_path / "out.npz")
    assert saved.digest == model.digest
    for same in (model, saved, saved.landmark_model()):
        assert detect.has_3ddfa_modes(same) is has_3ddfa_modes
    if path.is_file():
        renamed = path.rename(path.with_name("renamed.bin"))
        assert detect.detect_format(renamed) is expected


def test_the_mat_file_itself_is_bfm_2009(write_bfm2009) -> None:
    assert detect.detect_format(write_bfm2009() / "01_MorphableModel.mat") is detect.BFM2009


def test_own_format_with_other_landmarks(tiny_model: MorphableModel, tmp_path: Path) -> None:
    model = tiny_model
    model.save(tmp_path / "a.npz")
    np.save(tmp_path / "k.npy", np.arange(68))
    assert read_model(tmp_path / "a.npz").digest == model.digest
    np.testing.assert_array_equal(read_model(tmp_path / "a.npz", tmp_path / "k.npy").landmarks, np.arange(68))


@pytest.mark.parametrize("content", [b"", b"text", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04", b"\x80\x04.", b"MATLAB 5.0"])
def test_anything_else_is_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a").write_bytes(content)
    for path in (tmp_path / "a", tmp_path, tmp_path / "missing"):
        with pytest.raises(ModelFileError) as caught:
            read_model(path)
        assert "\n" not in str(caught.value)


def test_own_format_survives_damage(tiny_model: MorphableModel, tmp_path: Path, survives_damage) -> None:
    path = tmp_path / "a.npz"
    tiny_model.save(path)
    survives_damage(path, lambda: read_model(path))
