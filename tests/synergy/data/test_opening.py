import numpy as np
import pytest

from bfm_assets import open_face
from synergy.data import AFLW2000Reader, AnnotatedCropsReader, PtsReader, W300LPReader, open_reader
from synergy.errors import UserError


def write_pts(path, points):
    lines = "\n".join(f"{x} {y}" for x, y in points + 1)
    path.write_text(f"version: 1\nn_points: 68\n{{\n{lines}\n}}\n")


def test_points_next_to_images_are_300_w(tmp_path, write_image, points68):
    write_image(tmp_path / "a.png")
    write_pts(tmp_path / "a.pts", points68)
    assert isinstance(open_reader(tmp_path), PtsReader)


def test_arrays_next_to_an_archive_are_annotated_crops(shared_data):
    reader = open_reader(shared_data / "cfp_train.tar", automatic=True)
    assert isinstance(reader, AnnotatedCropsReader)
    assert np.isfinite(reader.read(0).landmarks68).any()


@pytest.mark.parametrize(("folder", "kind"), [("aflw2000_3d_sample", AFLW2000Reader), ("300w_lp_sample", W300LPReader)])
def test_mat_files_are_told_apart(shared_data, folder, kind):
    assert type(open_reader(shared_data / folder)) is kind


def test_only_a_model_with_3ddfa_s_modes_gives_landmarks(tmp_path, write_pair, points68, tiny_bfm):
    write_pair(tmp_path / "AFW" / "AFW_1_0", pt2d=points68.T)
    for model, dimensions in ((tiny_bfm, 3), (open_face(), 2)):
        assert open_reader(tmp_path, model).read(0).landmarks68.shape == (68, dimensions)


def test_one_broken_file_does_not_hide_the_layout(tmp_path, write_image, points68):
    for name in ("a", "b"):
        write_image(tmp_path / f"{name}.png")
        write_pts(tmp_path / f"{name}.pts", points68)
    (tmp_path / "a.pts").write_text("version: 1\nn_points: 68\n{\n1 2\n}\n")
    assert isinstance(open_reader(tmp_path), PtsReader)


def test_nothing_readable_is_one_line(tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        open_reader(tmp_path / "gone")
    with pytest.raises(UserError, match="nothing to read"):
        open_reader(tmp_path)
