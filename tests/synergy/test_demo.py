import json
from html.parser import HTMLParser

import pytest
import trimesh

from bfm_assets import open_face
from synergy.demo import build_demo, random_face
from synergy.errors import UserError


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    return build_demo(tmp_path_factory.mktemp("demo"))


class Links(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found += [value for name, value in attrs if name in ("src", "href")]


def test_everything_the_page_shows_is_there(page):
    links = Links()
    links.feed(page.read_text())
    assert "landmarks.jpg" in links.found
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


def test_the_mesh_is_whole(page):
    mesh = trimesh.load(page.parent / "face.glb", force="mesh", process=False)
    assert len(mesh.faces) == len(open_face().triangles)


def test_random_faces_repeat_by_seed():
    assert (random_face((0, 0, 0), 4).landmarks68 == random_face((0, 0, 0), 4).landmarks68).all()
    assert (random_face((0, 0, 0), 4).landmarks68 != random_face((0, 0, 0), 5).landmarks68).any()


def test_a_folder_that_cannot_be_written_to_is_said_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setattr("synergy.demo.read_image", lambda *_: pytest.fail("work began"))
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written to"):
        build_demo(tmp_path / "file" / "out")
