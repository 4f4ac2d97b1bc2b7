import json

import numpy as np
import pytest
from typer.testing import CliRunner

from eval.detection import (
    CROWD_SIZE,
    SIZES,
    Picture,
    Recall,
    crowds,
    match_detections,
    recall_table,
    rendered_faces,
    sweep,
)
from synergy.cli import app
from synergy.detect import Detection
from synergy.errors import UserError


class Square:
    """A detector whose boxes are those of the landmarks."""

    def crop_box(self, boxes):
        return boxes


@pytest.fixture(scope="module")
def faces():
    return rendered_faces(24, seed=0)


def test_a_crowd_holds_every_face_in_one_of_the_sizes(faces):
    made = crowds(faces, seed=1)
    assert sum(len(crowd.boxes) for crowd in made) == len(faces)
    for crowd in made:
        assert crowd.image.shape == (CROWD_SIZE[1], CROWD_SIZE[0], 3)
        assert np.abs(np.log(crowd.sides[:, None] / np.array(SIZES))).min(1).max() < 0.05
        assert (crowd.boxes[:, :2] >= -1).all()
        assert (crowd.boxes[:, 2:] <= np.array(CROWD_SIZE)).all()


MATCHES = [
    # detected boxes, found, false
    ([[10, 10, 50, 50]], True, 0),
    ([[20, 10, 60, 50]], True, 0),  # a quarter of the side away
    ([[30, 10, 70, 50]], False, 1),  # half of the side away
    ([[0, 0, 60, 60]], True, 0),  # 1.5 times as large
    ([[-10, -10, 70, 70]], False, 1),  # twice as large
    ([[10, 10, 50, 50], [90, 90, 130, 130]], True, 1),
    ([], False, 0),
]


@pytest.mark.parametrize(("boxes", "is_found", "false"), MATCHES)
def test_a_detection_is_a_face_at_its_place_with_its_size(boxes, is_found, false):
    picture = Picture(np.zeros((200, 200, 3), np.uint8), np.array([[10, 10, 50, 50]], np.float32))
    array = np.array(boxes, np.float32).reshape(-1, 4)
    mask, extra = match_detections(picture, Detection(array, np.ones(len(array), np.float32)), Square())
    assert mask.tolist() == [is_found]
    assert extra == false


def test_a_larger_input_finds_smaller_faces(faces):
    results = sweep(crowds(faces, seed=1), [320, 960])
    assert results[960].recall > results[320].recall + 0.2
    large = [share for share in results[960].by_size[6:] if not np.isnan(share)]
    assert np.mean(large) > 0.9
    assert recall_table("crowds", results).row_count == 2


def test_photos_are_at_most_count_and_broken_ones_are_reported(pts_folder, tmp_path, monkeypatch):
    tested = {}

    def count_pictures(pictures, sides):
        tested[len(tested)] = len(pictures)
        return {side: Recall(0.5, (float("nan"),) * len(SIZES), 0.0, 1.0, 1.0) for side in sides}

    monkeypatch.setattr("eval.detection.rendered_faces", lambda count, seed: [])
    monkeypatch.setattr("eval.detection.sweep", count_pictures)
    (pts_folder / "image00002.pts").write_text("")
    file = tmp_path / "recall.json"
    arguments = ["eval", "detector", "--count", "4", "--sides", "320", "--json", str(file), "--data", str(pts_folder)]
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, UserError)
    assert str(result.exception).startswith("1 files of")
    assert "skipped: image00002.jpg" in result.output
    assert tested[2] == 2  # of six photos every second one, without the broken one
    assert "NaN" not in file.read_text()
    assert json.loads(file.read_text())["photos"]["320"]["by_size"] == [None] * len(SIZES)
    for path in pts_folder.glob("*.pts"):
        path.write_text("")
    with pytest.raises(UserError, match="none of its photos can be used; image00000"):
        raise CliRunner().invoke(app, arguments).exception


def test_the_command_writes_its_figures(tmp_path):
    file = tmp_path / "recall.json"
    arguments = ["eval", "detector", "--count", "6", "--sides", "320", "--json", str(file)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert 0 <= json.loads(file.read_text())["rendered crowds"]["320"]["recall"] <= 1
