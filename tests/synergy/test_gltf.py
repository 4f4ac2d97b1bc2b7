"""Written .glb files in three.js, in headless Chromium; tests/synergy/test_export.py reads them with trimesh."""

import base64
import io
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import synergy
from synergy.animation import FaceAnimation
from synergy.demo import random_face
from synergy.draw import draw_mesh
from synergy.export import write_mesh
from synergy.texture import face_texture
from synergy.uv import texture_coordinates
from tests.browser import CHROMIUM, Browser

THREE = Path(synergy.__file__).parent / "app" / "static" / "vendor" / "three.js"
SIDE = 256
PAGE = """<!doctype html><meta charset="utf-8"><title>loading</title>
<canvas id="canvas" width="256" height="256"></canvas>
<script type="module">
import * as three from "./three.js";
const name = new URLSearchParams(location.search).get("file");
const loaded = await new three.GLTFLoader().parseAsync(await (await fetch(name)).arrayBuffer(), "");
const scene = new three.Scene();
scene.add(loaded.scene, new three.HemisphereLight(new three.Color("#ffffff"), new three.Color("#ffffff"), Math.PI));
scene.updateMatrixWorld(true);
const mesh = loaded.scene.getObjectByProperty("isMesh", true);
window.positions = (numbers) => numbers.map((number) => {
  const point = mesh.getVertexPosition(number, new three.Vector3());
  return mesh.localToWorld(point).toArray();
});
window.facts = {
  names: Object.keys(mesh.morphTargetDictionary), weights: [...mesh.morphTargetInfluences],
  uv: [...mesh.geometry.attributes.uv.array], texture: [mesh.material.map.image.width, mesh.material.map.image.height],
  animations: loaded.animations.map((one) => one.duration),
};
window.setTime = (seconds) => {
  const mixer = new three.AnimationMixer(loaded.scene);
  mixer.clipAction(loaded.animations[0]).play();
  mixer.setTime(seconds);
  scene.updateMatrixWorld(true);
};
window.render = () => {
  const renderer = new three.WebGLRenderer({ canvas: document.getElementById("canvas"), preserveDrawingBuffer: true });
  // 110 pixels high, from a distance: about the scaled orthographic camera of the photo.
  const camera = new three.PerspectiveCamera(2 * Math.atan(128 / 20000) * 180 / Math.PI, 1, 1000, 40000);
  camera.position.set(0, 0, 20000);
  renderer.render(scene, camera);
  return document.getElementById("canvas").toDataURL("image/png").split(",")[1];
};
document.title = "ready";
</script>"""


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without messages."""

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def face():
    return random_face((5, 25, 0), seed=6)


@pytest.fixture(scope="module")
def photo(face):
    backdrop = np.full((SIDE, SIDE, 3), (40, 90, 140), np.uint8)
    return draw_mesh(backdrop, face.vertices(), face.morphable_model.triangles, face.morphable_model.colours)


@pytest.fixture(scope="module")
def page(face, photo, tmp_path_factory):
    """Open a file by name in a page."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    folder = tmp_path_factory.mktemp("three")
    (folder / "index.html").write_text(PAGE)
    (folder / "three.js").write_bytes(THREE.read_bytes())
    write_mesh(folder / "face.glb", face, photo)
    write_mesh(folder / "neutral.glb", face, photo, neutral=True)
    animation = FaceAnimation()
    for i, one in enumerate((face, random_face((-10, -15, 20), seed=6))):
        animation.add(5 + i, one, photo)
    animation.write(folder / "clip.glb")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    browser = Browser(url, folder / "profile", "--use-angle=swiftshader", "--enable-unsafe-swiftshader")

    def open_file(name):
        browser.send("Page.navigate", url=f"{url}index.html?file={name}")
        browser.wait(f"document.title === 'ready' && location.search === '?file={name}'")
        return browser

    yield open_file
    browser.close()
    server.shutdown()


def expected_positions(face, neutral, origin):
    return (face.vertices(neutral) - [*origin, 0]) * [1, -1, 1]


NUMBERS = list(range(0, 8820, 97))


@pytest.mark.slow
@pytest.mark.parametrize("neutral", [False, True])
def test_three_js_shows_the_mesh_of_the_photo(page, face, neutral):
    browser = page("neutral.glb" if neutral else "face.glb")
    found = np.array(browser.value(f"positions({json.dumps(NUMBERS)})"))
    expected = expected_positions(face, neutral, face.landmarks68[:, :2].mean(0))[NUMBERS]
    # The mean depth of the landmarks is zero with the expression of the photo, and in the neutral face of numpy.
    difference = found - expected
    np.testing.assert_allclose(difference - [0, 0, difference[0, 2]], 0, atol=0.05)
    facts = browser.value("facts")
    assert facts["names"] == list(face.morphable_model.expression_names)
    wanted = [0.0 if neutral else weight for weight in face.blendshapes.values()]
    np.testing.assert_allclose(facts["weights"], wanted, atol=1e-6)
    uv = texture_coordinates(face.morphable_model)
    np.testing.assert_allclose(np.reshape(facts["uv"], (-1, 2)), np.stack([uv[:, 0], 1 - uv[:, 1]], 1), atol=1e-6)
    assert facts["animations"] == []


@pytest.mark.slow
def test_three_js_draws_the_face_of_the_photo(page, face, photo):
    """Rendered with even light, the textured mesh looks like the photo from which it was made."""
    browser = page("face.glb")
    assert browser.value("facts")["texture"] == [len(face_texture(face, photo))] * 2
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(browser.value("render()")))).convert("RGB")).astype(int)
    x, y = np.rint(face.landmarks68[:, :2].mean(0)).astype(int)
    # The middle of the picture is the mean of the landmarks.
    seen, true = picture[128 - 40 : 128 + 40, 128 - 30 : 128 + 30], photo[y - 40 : y + 40, x - 30 : x + 30].astype(int)
    assert np.median(np.abs(seen - true)) < 12
    correlation = np.corrcoef(seen.mean(-1).ravel(), true.mean(-1).ravel())[0, 1]
    assert correlation > 0.9


@pytest.mark.slow
def test_three_js_plays_the_animation(page, face):
    browser = page("clip.glb")
    assert browser.value("facts")["animations"] == [1]
    browser.value("setTime(0)")
    found = np.array(browser.value(f"positions({json.dumps(NUMBERS)})"))
    expected = expected_positions(face, False, [(SIDE - 1) / 2] * 2)[NUMBERS]
    np.testing.assert_allclose(found, expected, atol=0.05)
    browser.value("setTime(0.999)")
    later = np.array(browser.value(f"positions({json.dumps(NUMBERS)})"))
    moved = expected_positions(random_face((-10, -15, 20), seed=6), False, [(SIDE - 1) / 2] * 2)[NUMBERS]
    np.testing.assert_allclose(later, moved, atol=1)
