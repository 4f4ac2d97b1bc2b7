import json
import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import trimesh
from PIL import Image

from bfm_assets import open_face
from synergy.demo import animated_face, build_demo, demo_photo, portrait, random_face
from synergy.demo.build import _write_clip
from synergy.demo.clip import rendered_person, track_clip, write_clip
from synergy.errors import UserError
from synergy.predictor import FacePredictor
from synergy.result_formats import PICTURE_FORMATS

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    pytest.importorskip("av", reason="needs PyAV; install the extra 'video' (docs/install.md)")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("synergy.demo.clip.SECONDS", 0.4)
        return build_demo(tmp_path_factory.mktemp("demo"))


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href") or str(value).endswith(".mp4")]


def test_everything_the_page_shows_is_there(page):
    links = Links()
    links.feed(page.read_text())
    assert {f"photo_{name}.jpg" for name in PICTURE_FORMATS} <= set(links.found)
    assert {"clip.mp4", "clip_overlay.mp4", "clip_wireframe.mp4", "clip_1.glb"} <= set(links.found)
    assert "face.glb" in links.found
    for name in links.found:
        assert (page.parent / name).stat().st_size > 0


def test_one_face_looking_almost_straight(page):
    (image,) = json.loads((page.parent / "predictions.json").read_text())["images"]
    (face,) = image["faces"]
    assert face["score"] > 0.5
    assert all(abs(angle) < 25 for angle in face["pose_deg"].values())
    eyes = [face["landmarks68"][i] for i in (36, 45)]
    assert 190 < eyes[0][0] < 225 < eyes[1][0] < 260


def test_the_enlarged_photo_has_the_same_faces():
    photo = demo_photo()
    faces = FacePredictor()(photo)
    large, moved = portrait(photo, faces)
    again = FacePredictor()(large, landmarks=moved.landmarks68)
    size = np.ptp(moved.landmarks68[0, :, 1])
    assert np.abs(again.landmarks68 - moved.landmarks68).mean() < 0.01 * size
    vertices, landmarks = moved[0].vertices(), moved[0].morphable_model.landmarks
    own = faces[0].vertices()[landmarks] - faces[0].landmarks68
    scale = moved[0].pose.scale / faces[0].pose.scale
    np.testing.assert_allclose(vertices[landmarks] - moved[0].landmarks68, scale * own, atol=0.01)
    assert moved[0].pose.yaw == pytest.approx(faces[0].pose.yaw, abs=1e-3)


def test_an_animated_face_moves_as_it_is_told():
    still, open_mouth = (animated_face(1, {"jawOpen": jaw}, (0, 0, 0), (300, 200), 120) for jaw in (0.0, 1.0))
    assert np.ptp(still.landmarks68[:, 1]) == pytest.approx(120, rel=1e-4)
    lips = [face.landmarks68[66, 1] - face.landmarks68[62, 1] for face in (still, open_mouth)]
    assert lips[1] > lips[0] + 10


def test_without_pyav_the_page_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    video, chart = _write_clip(tmp_path, FacePredictor())
    assert "needs av; install the extra &#x27;video&#x27; (docs/install.md)" in video
    assert chart == ""


@pytest.mark.slow
def test_the_people_of_the_clip_keep_their_ids(tmp_path):
    pytest.importorskip("av", reason="needs PyAV; install the extra 'video' (docs/install.md)")
    write_clip(tmp_path / "clip.mp4")
    tracks = track_clip(tmp_path / "clip.mp4", FacePredictor(), ["overlay"])
    assert [track.number for track in tracks] == [1, 2]
    errors = [
        np.subtract(track.yaw, [rendered_person(seconds).pose.yaw for seconds in track.seconds]) for track in tracks
    ]
    assert min(np.abs(error).mean() for error in errors) < 6
    # The person of the photo is covered for a while.
    assert min(len(track.seconds) for track in tracks) < max(len(track.seconds) for track in tracks) - 10


def test_the_picture_of_the_readme_is_made_by_its_script(tmp_path):
    command = [sys.executable, ROOT / "docs" / "scripts" / "overview.py", "--out", tmp_path / "a.jpg"]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    shown = ROOT / "docs" / "pictures" / "overview.jpg"
    assert shown.stat().st_size < 400_000
    sizes = [Image.open(path).size for path in (tmp_path / "a.jpg", shown)]
    assert sizes[0] == sizes[1]
    assert "](docs/pictures/overview.jpg)" in (ROOT / "README.md").read_text()


def test_the_mesh_is_whole(page):
    mesh = trimesh.load(page.parent / "face.glb", force="mesh", process=False)
    assert len(mesh.faces) == len(open_face().triangles)


def test_random_faces_repeat_by_seed():
    assert (random_face((0, 0, 0), 4).landmarks68 == random_face((0, 0, 0), 4).landmarks68).all()
    assert (random_face((0, 0, 0), 4).landmarks68 != random_face((0, 0, 0), 5).landmarks68).any()


def test_a_folder_that_cannot_be_written_to_is_said_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr("synergy.demo.build.demo_photo", lambda: pytest.fail("work began"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written to"):
        build_demo(tmp_path / "file" / "out")
