"""The requests of the web app, without a browser."""

import io
import json
import tempfile
import threading
import zipfile
from fractions import Fraction
from importlib.resources import files

import numpy as np
import pytest
import trimesh
from PIL import Image

from synergy import FacePredictor
from synergy.images import read_image

pytest.importorskip("fastapi", reason="needs fastapi; install the extra 'app' (docs/install.md)")
av = pytest.importorskip("av")

from fastapi.testclient import TestClient  # noqa: E402

from synergy.app.limits import Limits  # noqa: E402
from synergy.app.server import create_app  # noqa: E402


@pytest.fixture(scope="module")
def predictor():
    return FacePredictor()


@pytest.fixture(scope="module")
def photo():
    """The public-domain demo photo as a PNG file."""
    return (files("skimage") / "data" / "astronaut.png").read_bytes()


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """An empty folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.fixture
def start(predictor):
    """A function that starts a server with some limits and returns a client."""
    clients = []

    def start(is_local=True, predictor=predictor, address="127.0.0.1", **limits):
        app = create_app(predictor, Limits(**limits), is_local)
        client = TestClient(app, base_url="http://localhost", raise_server_exceptions=False, client=(address, 5))
        client.__enter__()
        clients.append(client)
        return client

    yield start
    for client in clients:
        client.__exit__(None, None, None)


def make_clip(photo, n_frames=6, rate=10, size=(256, 256)):
    """An mp4 file in which the photo's face moves to the right."""
    image = read_image(photo)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(rate))
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for i in range(n_frames):
            frame = np.ascontiguousarray(np.resize(image[: size[1], 96 - 4 * i :][:, : size[0]], (size[1], size[0], 3)))
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def last_line(response):
    return json.loads(response.text.splitlines()[-1])


def require_readable(response, status):
    """Check that an error is one line for the user, with nothing about the server."""
    assert response.status_code == status
    message = response.json()["error"]
    assert message.endswith(".") or ":" in message
    assert "\n" not in message
    for secret in ("/tmp", "/work", "Traceback", "site-packages", ".py", tempfile.gettempdir()):  # noqa: S108
        assert secret not in response.text
    assert "default-src 'none'" in response.headers["content-security-policy"]
    return message


def test_every_answer_has_safe_headers(start):
    client = start()
    for path in (
        "/",
        "/static/style.css",
        "/static/vendor/three.js",
        "/api/settings",
        "/gone",
        "/api/results/x/view.jpg",
    ):
        headers = client.get(path).headers
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "server" not in headers
    assert client.get("/docs").status_code == 404


def test_the_page_loads_nothing_from_other_sites(start):
    client = start()
    page = client.get("/").text
    static = files("synergy.app") / "static"
    scripts = [path.read_text() for path in (static / "js").iterdir()]
    assert "/static/js/main.js" in page
    for text in (page, *scripts, (static / "style.css").read_text()):
        assert "http://" not in text
        assert "https://" not in text
    assert " style=" not in page  # the policy forbids it
    assert " onclick=" not in page


def test_a_photo_gives_what_the_package_predicts(start, predictor, photo, temporary):
    client = start()
    result = client.post("/api/photos?name=me.png", content=photo).json()
    [expected] = predictor(read_image(photo))
    [face] = result["faces"]
    assert {key: face[key] for key in expected.to_dict()} == expected.to_dict()
    assert face["description"].startswith("Looks ")
    assert (result["width"], result["height"], result["name"]) == (512, 512, "me.png")
    path = f"/api/results/{result['id']}"
    view = np.asarray(Image.open(io.BytesIO(client.get(f"{path}/view.jpg").content)))
    assert np.abs(view.astype(float) - read_image(photo)).mean() < 3
    for layer in ("contours", "mesh"):
        drawing = np.asarray(Image.open(io.BytesIO(client.get(f"{path}/layers/{layer}.png").content)))
        assert drawing.shape == (1600, 1600, 4)
        # The drawing lies on the face.
        x, y = expected.landmarks68[:, :2].mean(0) * 1600 / 512
        rows, columns = np.nonzero(drawing[..., 3])
        assert abs(columns.mean() - x) < 100
        assert abs(rows.mean() - y) < 150
    assert list(temporary.iterdir()) == []


def test_every_file_of_a_photo_can_be_downloaded(start, photo, temporary):
    client = start()
    result = client.post("/api/photos?name=../a b%22.png", content=photo).json()
    contents = {}
    for file in set(result["files"]) - {"everything.zip"}:
        response = client.get(f"/api/results/{result['id']}/files/{file}")
        assert response.status_code == 200, file
        assert response.headers["content-disposition"] == f"attachment; filename*=UTF-8''a%20b__{file}"
        assert response.headers["cache-control"] == "no-store"
        contents[file] = response.content
    assert list(temporary.iterdir()) == []
    [image] = json.loads(contents["faces.json"])["images"]
    assert image["name"] == "a b_.png"
    assert len(image["faces"]) == 1
    assert contents["faces.csv"].count(b"\n") == 2
    assert contents["face_1.pts"].startswith(b"version: 1")
    for name in (name for name in contents if name.endswith((".jpg", ".png"))):
        assert Image.open(io.BytesIO(contents[name])).size == (512, 512)
    for name in (name for name in contents if name.endswith((".glb", ".ply", ".stl"))):
        mesh = trimesh.load(io.BytesIO(contents[name]), file_type=name[-3:], force="mesh")
        assert len(mesh.vertices) > 5000, name
    with np.load(io.BytesIO(contents["face_1.npz"])) as arrays:
        assert arrays["vertices"].shape[1] == 3
    with zipfile.ZipFile(io.BytesIO(contents["face_1_obj.zip"])) as archive:
        assert sorted(archive.namelist()) == ["face_1.mtl", "face_1.obj", "face_1.png"]


@pytest.mark.parametrize("is_local", [True, False])
def test_the_model_has_the_expressions_of_the_face(is_local, start, photo):
    client = start(is_local=is_local)
    result = client.post("/api/photos", content=photo).json()
    response = client.get(f"/api/results/{result['id']}/models/0.glb")
    assert ("content-encoding" in response.headers) != is_local
    glb = response.content
    length = int.from_bytes(glb[12:16], "little")
    [mesh] = json.loads(glb[20 : 20 + length])["meshes"]
    weights = dict(zip(mesh["extras"]["targetNames"], mesh["weights"], strict=True))
    assert weights == pytest.approx(result["faces"][0]["blendshapes"], abs=1e-4)


def test_examples(start):
    client = start()
    names = client.get("/api/settings").json()["examples"]
    assert "photo" in names
    assert client.get("/api/examples/photo.jpg").content.startswith(b"\xff\xd8")
    result = client.post("/api/examples/profile").json()
    [face] = result["faces"]
    assert face["pose_deg"]["yaw"] < -40
    assert "to your right" in face["description"]


def test_a_picture_without_a_face(start):
    buffer = io.BytesIO()
    Image.new("RGB", (64, 48)).save(buffer, "png")
    client = start()
    result = client.post("/api/photos", content=buffer.getvalue()).json()
    assert result["faces"] == []
    assert result["has_mesh"] is False
    assert result["layers"] == {}
    assert result["files"] == ["faces.json", "faces.csv", "everything.zip"]
    contents = {file: client.get(f"/api/results/{result['id']}/files/{file}").content for file in result["files"]}
    with zipfile.ZipFile(io.BytesIO(contents.pop("everything.zip"))) as archive:
        assert {name: archive.read(name) for name in archive.namelist()} == contents


def test_of_an_animation_the_first_picture_is_analysed(start):
    buffer = io.BytesIO()
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("red", "green", "blue")]
    frames[0].save(buffer, "gif", save_all=True, append_images=frames[1:])
    assert start().post("/api/photos", content=buffer.getvalue()).json()["note"].startswith("The file has 3 pictures.")


def bomb():
    """A PNG file of 100 megapixels in about 100 kB."""
    buffer = io.BytesIO()
    Image.new("L", (10000, 10000)).save(buffer, "png")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (lambda photo: b"", 422, "a.png is empty."),
        (lambda photo: b"no picture", 422, "a.png: not an image that can be read"),
        (lambda photo: photo[: len(photo) // 2], 422, "a.png: cannot be read as an image"),
        (lambda photo: bomb(), 422, "a.png: 10000 x 10000 pixels are more than the limit"),
        (lambda photo: bytes(2_000_001), 413, "The file is too large. At most 2 MB are accepted."),
        (lambda photo: (bytes(1000) for _ in range(2001)), 413, "The file is too large. At most 2 MB are accepted."),
    ],
    ids=["empty", "text", "truncated", "bomb", "stated size", "streamed size"],
)
def test_bad_photos_are_refused_in_one_line(content, status, message, start, photo):
    response = start(photo_megabytes=2).post("/api/photos?name=a.png", content=content(photo))
    assert require_readable(response, status).startswith(message)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/gone", 404),
        ("GET", "/static/../server.py", 404),
        ("GET", "/static/%2e%2e/server.py", 404),
        ("PUT", "/api/photos", 405),
        ("POST", "/api/examples/gone", 404),
        ("GET", "/api/examples/gone.jpg", 404),
        ("GET", "/api/results/gone/view.jpg", 404),
        ("GET", "/api/results/{id}/layers/gone.png", 404),
        ("GET", "/api/results/{id}/models/1.glb", 404),
        ("GET", "/api/results/{id}/models/x.glb", 422),
        ("GET", "/api/results/{id}/files/gone", 404),
        ("GET", "/api/results/{id}/files/..%2F..%2Fserver.py", 404),
    ],
)
def test_other_requests_are_refused_in_one_line(method, path, status, start):
    client = start()
    buffer = io.BytesIO()
    Image.new("RGB", (40, 40)).save(buffer, "png")
    name = client.post("/api/photos", content=buffer.getvalue()).json()["id"]
    require_readable(client.request(method, path.replace("{id}", name)), status)


def test_an_error_of_ours_shows_nothing_of_the_server(start, photo):
    class Broken:
        def __init__(self, net):
            self.net = net

        def __call__(self, image):
            raise RuntimeError("secret in /srv/secret.py")

    client = start(predictor=Broken(FacePredictor().net))
    assert require_readable(client.post("/api/photos", content=photo), 500).startswith("Something went wrong")


def test_uploads_of_one_client_are_counted(start):
    client = start(uploads_per_minute=2)
    for _ in range(2):
        assert client.post("/api/photos", content=b"x").status_code == 422
    response = client.post("/api/examples/photo")
    require_readable(response, 429)
    assert 0 < int(response.headers["retry-after"]) <= 60
    assert client.get("/api/settings").status_code == 200


class Slow:
    """A predictor that waits until it is released."""

    def __init__(self, predictor):
        self.net = predictor.net
        self.predictor = predictor
        self.started, self.release = threading.Semaphore(0), threading.Event()

    def __call__(self, image):
        self.started.release()
        self.release.wait(30)
        return self.predictor(image)


def send_together(client, photo, count):
    """Start requests that upload the photo; return their threads, and a list that receives the answers."""
    answers = []
    upload = lambda: answers.append(client.post("/api/photos", content=photo))  # noqa: E731
    threads = [threading.Thread(target=upload) for _ in range(count)]
    for thread in threads:
        thread.start()
    return threads, answers


def test_a_busy_server_says_so_and_goes_on(start, predictor, photo):
    slow = Slow(predictor)
    client = start(predictor=slow, workers=1, waiting=0)
    threads, answers = send_together(client, photo, 1)
    assert slow.started.acquire(timeout=20)
    for path in ("/api/photos", "/api/clips", "/api/examples/photo"):
        response = client.post(path, content=photo)
        assert require_readable(response, 503).startswith("The server is busy")
        assert response.headers["retry-after"] == "5"
    assert client.get("/api/settings").status_code == 200
    slow.release.set()
    threads[0].join()
    assert answers[0].status_code == 200
    assert client.post("/api/photos", content=photo).status_code == 200


def test_requests_wait_for_a_worker(start, predictor, photo):
    slow = Slow(predictor)
    client = start(predictor=slow, workers=1, waiting=3)
    threads, answers = send_together(client, photo, 4)
    assert slow.started.acquire(timeout=20)
    assert not slow.started.acquire(timeout=0.2)  # one at a time
    slow.release.set()
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200] * 4


def test_work_that_takes_too_long_is_given_up(start, predictor, photo):
    slow = Slow(predictor)
    client = start(predictor=slow, photo_work_seconds=0.2)
    assert "longer than 0.2 seconds" in require_readable(client.post("/api/photos", content=photo), 503)
    slow.release.set()


def test_results_can_be_forgotten(start, photo):
    client = start()
    name = client.post("/api/photos", content=photo).json()["id"]
    assert client.get(f"/api/results/{name}/view.jpg").status_code == 200
    assert client.delete(f"/api/results/{name}").status_code == 204
    require_readable(client.get(f"/api/results/{name}/view.jpg"), 404)


@pytest.mark.parametrize(
    ("headers", "is_local", "status"),
    [
        ({"host": "127.0.0.1:8765"}, True, 200),
        ({"host": "[::1]:8765"}, True, 200),
        ({"host": "evil.example"}, True, 403),
        ({"host": "127.0.0.1.evil.example"}, True, 403),
        ({"host": "192.168.1.2"}, False, 200),
        ({"sec-fetch-site": "same-origin"}, True, 200),
        ({"sec-fetch-site": "none"}, True, 200),
        ({"sec-fetch-site": "cross-site"}, True, 403),
        ({"sec-fetch-site": "same-site"}, False, 403),
    ],
)
def test_other_sites_get_no_answer(headers, is_local, status, start):
    response = start(is_local=is_local).get("/api/settings", headers=headers)
    assert response.status_code == status
    if status != 200:
        require_readable(response, status)


def test_a_clip(start, photo, temporary):
    client = start()
    response = client.post("/api/clips?name=c.mp4", content=make_clip(photo))
    lines = [json.loads(line) for line in response.text.splitlines()]
    progress = [line["progress"] for line in lines[:-1]]
    assert progress == sorted(progress)
    assert len(progress) == 6
    result = lines[-1]["result"]
    assert result["people"] == [1]
    assert (result["width"], result["height"], result["note"]) == (256, 256, "")
    assert [seconds for seconds, _ in result["series"]] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])
    assert all(face[4].startswith("Looks") for _, faces in result["series"] for face in faces)
    path = f"/api/results/{result['id']}"
    contents = {file: client.get(f"{path}/files/{file}").content for file in result["files"]}
    with av.open(io.BytesIO(contents["overlay.mp4"])) as video:
        assert video.streams.video[0].codec_context.name == "h264"
        assert sum(1 for _ in video.decode(video=0)) == 6
    frames = [json.loads(line) for line in contents["faces.jsonl"].splitlines()]
    assert [frame["faces"][0]["track_id"] for frame in frames] == [1] * 6
    x = [np.mean([point[0] for point in frame["faces"][0]["landmarks68"]]) for frame in frames]
    assert x[-1] - x[0] == pytest.approx(20, abs=4)  # the smoothing follows a little later
    assert contents["faces.csv"].count(b"\n") == 7
    assert contents["person_1.glb"] == client.get(f"{path}/models/1.glb").content
    require_readable(client.get(f"{path}/view.jpg"), 404)
    require_readable(client.get(f"{path}/models/2.glb"), 404)
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda photo: b"", "c.mp4 is empty."),
        (lambda photo: b"no video", "c.mp4: cannot be read as a video"),
        (lambda photo: make_clip(photo, size=(400, 400)), "c.mp4: 400 x 400 pixels are more than the limit"),
        (lambda photo: make_clip(photo, n_frames=25), "The clip is too long. At most 1 seconds are accepted."),
    ],
    ids=["empty", "text", "large frames", "long"],
)
def test_bad_clips_are_refused_in_one_line(content, message, start, photo, temporary):
    response = start(clip_seconds=1, clip_megapixels=0.1).post("/api/clips?name=c.mp4", content=content(photo))
    assert last_line(response)["error"].startswith(message)
    assert str(temporary) not in response.text
    assert list(temporary.iterdir()) == []


def test_a_clip_that_takes_too_long_is_given_up(start, photo, temporary):
    response = start(clip_work_seconds=0).post("/api/clips?name=c.mp4", content=make_clip(photo))
    assert "took longer than 0 seconds" in last_line(response)["error"]
    assert list(temporary.iterdir()) == []
