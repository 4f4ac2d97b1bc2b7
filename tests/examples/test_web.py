"""The browser example, in headless Chromium."""

import json
import shutil
import subprocess
import sys
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from importlib.resources import files
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import cv2
import numpy as np
import pytest

from synergy import FacePredictor
from synergy.crop import transform_points
from synergy.deploy.detector import DETECTOR_FORMAT, write_detector
from synergy.deploy.exported import description_path
from synergy.errors import UserError
from synergy.images import read_image
from tests.browser import CHROMIUM, Browser

WEB = Path(__file__).parent.parent.parent / "examples" / "web"


@pytest.fixture(scope="module")
def builder():
    """The module examples/web/build.py."""
    pytest.importorskip("onnx", reason="needs onnx; install the extra 'onnx' (docs/install.md)")
    spec = spec_from_file_location("web_build", WEB / "build.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_detectors_description_names_its_outputs(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    path = tmp_path / "centerface.onnx"
    write_detector(path)
    facts = json.loads(description_path(path).read_text())
    assert facts["format"] == DETECTOR_FORMAT
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [output["name"] for output in facts["outputs"]]
    outputs = session.run(names, {facts["input"]["name"]: np.zeros((1, 3, 64, 96), np.float32)})
    for output, described in zip(outputs, facts["outputs"], strict=True):
        assert output.shape == (1, described["shape"][1], 64 // facts["decoding"]["stride"], 24)


@pytest.mark.parametrize("content", [None, b"nonsense", "without the files"])
def test_a_wrong_package_of_onnxruntime_web_is_one_line(content, builder, tmp_path):
    package = tmp_path / "package.tgz"
    if content == "without the files":
        with tarfile.open(package, "w:gz") as archive:
            archive.add(WEB / "index.html", "package/dist/other")
    elif content is not None:
        package.write_bytes(content)
    with pytest.raises(UserError, match="no such file" if content is None else "not the npm package") as error:
        builder.build(tmp_path / "out", runtime=package)
    assert "\n" not in str(error.value)


def test_without_npm_the_error_says_what_to_do(builder, tmp_path, monkeypatch):
    monkeypatch.setattr(builder.shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="give it as --onnxruntime-web"):
        builder.build(tmp_path / "out")


class Page(Browser):
    """The page of the example."""

    def status(self):
        return self.value("document.getElementById('status')?.textContent")

    def choose(self, path):
        """Give a file to the page's file picker and wait for the end of its processing."""
        before = self.status()
        self.choose_file(path)
        done = "['ready', 'error'].includes(document.body?.dataset.state)"
        self.wait(f"{done} && document.getElementById('status').textContent !== {json.dumps(before)}")

    def numbers(self):
        return json.loads(self.value("document.getElementById('json').textContent"))


class QuietHandler(SimpleHTTPRequestHandler):
    """Serves files without messages, and without a cache: tests change files within the cache's resolution of 1 s."""

    def end_headers(self):
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built page and its address."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    if shutil.which("npm") is None:
        pytest.skip("needs onnxruntime-web: npm is not installed")
    pytest.importorskip("onnxruntime", reason="needs onnxruntime; install the extra 'onnx' (docs/install.md)")
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, WEB / "build.py", "--out", folder]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    if "npm cannot download" in built.stderr:
        pytest.skip("needs onnxruntime-web, which npm cannot download here")
    assert built.returncode == 0, built.stderr
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(QuietHandler, directory=str(folder)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()


@pytest.fixture(scope="module")
def photo():
    return read_image(str(files("skimage") / "data" / "astronaut.png"))


@pytest.fixture
def open_page(site, tmp_path):
    browsers = []

    def start(*options):
        browsers.append(Page(site[1], tmp_path / "profile", *options))
        browsers[0].wait("['ready', 'error'].includes(document.body?.dataset.state)")
        return browsers[0]

    yield start
    for browser in browsers:
        browser.close()


def write_pictures(folder, photo):
    """Write the photo as it is, twice as large, enlarged to a close-up, and twice next to itself."""
    large = cv2.resize(photo, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    pictures = {
        "photo": photo,
        "large": large,
        "close-up": large[150:600, 480:900],
        "two": np.concatenate([photo, photo[:, ::-1]], 1),
        "small": cv2.resize(photo, None, fx=0.4, fy=0.4, interpolation=cv2.INTER_AREA),
    }
    for name, picture in pictures.items():
        cv2.imwrite(str(folder / f"{name}.png"), picture[..., ::-1])
    return pictures


@pytest.mark.slow
def test_the_page_predicts_what_the_package_predicts(open_page, photo, tmp_path):
    page = open_page()
    assert page.status().startswith("Choose a photo")
    predictor = FacePredictor()
    for name, picture in write_pictures(tmp_path, photo).items():
        page.choose(tmp_path / f"{name}.png")
        faces, result = predictor(picture), page.numbers()
        assert result["image"] == f"{name}.png"
        assert len(result["faces"]) == len(faces) == (2 if name == "two" else 1), name
        for face in faces:
            # Faces of equal scores may be in another order.
            distances = [np.abs(np.subtract(other["box"], face.box)).max() for other in result["faces"]]
            other = result["faces"][int(np.argmin(distances))]
            assert other["score"] == pytest.approx(face.score, abs=0.02)
            in_crop = transform_points(face.crop, face.landmarks68)
            theirs = transform_points(face.crop, np.array(other["landmarks68"]))
            assert np.linalg.norm(in_crop - theirs, axis=-1).max() < 0.5, name
            expected = [face.pose.pitch, face.pose.yaw, face.pose.roll]
            np.testing.assert_allclose([other["pose_deg"][n] for n in ("pitch", "yaw", "roll")], expected, atol=0.5)


@pytest.mark.slow
def test_the_page_computes_the_mesh_and_draws(open_page, photo, tmp_path):
    page = open_page()
    write_pictures(tmp_path, photo)
    page.choose(tmp_path / "photo.png")
    pixels = "Array.from(document.getElementById('canvas').getContext('2d').getImageData(0, 0, 512, 512).data)"
    drawn = np.reshape(page.value(pixels), (512, 512, 4))[..., :3]
    points = np.array(page.numbers()["faces"][0]["landmarks68"])
    x, y = points[8, :2].round().astype(int)  # the chin is far from the axes
    assert drawn[y, x].min() > 200  # a white point
    changed = np.abs(drawn - photo).max(-1) > 8
    assert 300 < changed.sum() < 20000
    page.value("document.getElementById('mesh').click()")
    page.wait("document.body.dataset.state === 'ready'")
    with_mesh = np.reshape(page.value(pixels), (512, 512, 4))[..., :3]
    assert (np.abs(with_mesh - drawn).max(-1) > 8).sum() > 2000
    script = """(async () => {
        const { Network } = await import('./network.js');
        const network = await Network.open('models/face.onnx');
        await network.loadMesh();
        return network.mesh(JSON.parse(document.getElementById('json').textContent).faces[0]);
    })()"""
    mesh = np.array(page.value(script))
    expected = FacePredictor()(photo)[0].vertices()
    assert np.abs(mesh - expected).max() < 1


@pytest.mark.slow
def test_errors_of_the_page_are_readable(open_page, site, photo, tmp_path):
    page = open_page()
    (tmp_path / "notes.png").write_text("no picture")
    page.choose(tmp_path / "notes.png")
    assert page.status() == "notes.png cannot be read as an image by this browser"
    write_pictures(tmp_path, photo)
    page.choose(tmp_path / "photo.png")  # the page goes on
    assert page.status().startswith("1 face: detector ")
    cv2.imwrite(str(tmp_path / "grey.png"), np.full((60, 90, 3), 128, np.uint8))
    page.choose(tmp_path / "grey.png")
    assert page.status().startswith("No face found")
    description = site[0] / "models" / "face.onnx.json"
    content = description.read_text()
    try:
        for wrong, message in (
            ("{", "models/face.onnx.json is not JSON"),
            (content.replace('"sha256": "', '"sha256": "0'), "models/face.onnx is not the file that its description"),
            ('{"format": "other"}', "is not the description of a synergy-model"),
        ):
            description.write_text(wrong)
            page.send("Page.navigate", url=site[1])
            shown = f"document.getElementById('status')?.textContent.includes({json.dumps(message)})"
            page.wait(f"{shown} && document.body.dataset.state === 'error'", 60)
    finally:
        description.write_text(content)


@pytest.mark.slow
def test_the_camera(open_page, photo, tmp_path):
    frame = cv2.imencode(".jpg", cv2.copyMakeBorder(photo[:480], 0, 0, 64, 64, cv2.BORDER_CONSTANT)[..., ::-1])[1]
    (tmp_path / "camera.mjpeg").write_bytes(frame.tobytes() * 4)
    page = open_page(
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={tmp_path / 'camera.mjpeg'}",
    )
    page.value("document.getElementById('camera').click()")
    page.wait("document.getElementById('status').textContent.includes('frames per second')")
    [face] = page.numbers()["faces"]
    [expected] = FacePredictor()(cv2.imdecode(frame, cv2.IMREAD_COLOR)[..., ::-1].copy())
    assert np.linalg.norm(np.array(face["landmarks68"]) - expected.landmarks68, axis=-1)[17:].mean() < 2
    page.value("document.getElementById('camera').click()")
    page.wait("document.getElementById('status').textContent === 'The camera is off'")
