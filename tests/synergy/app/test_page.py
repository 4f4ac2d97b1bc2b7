"""The page of the web app in headless Chromium."""

import base64
import io
import json
import threading
import time
import urllib.request
import zipfile
from importlib.resources import files

import cv2
import numpy as np
import pytest
import trimesh
from PIL import Image

from synergy import FacePredictor
from synergy.demo.rendered import animated_face, paint_face
from synergy.images import read_image
from synergy.video import VideoWriter
from tests.browser import CHROMIUM, Browser

pytest.importorskip("av")
pytest.importorskip("fastapi", reason="needs fastapi; install the extra 'app' (docs/install.md)")

# WebGL is computed by the CPU. The page's own collection of problems must stay empty.
FLAGS = ("--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--window-size=1280,900")
OBSERVE = """
window.problems = [];
window.shift = 0;
addEventListener('securitypolicyviolation', (e) => problems.push(`${e.violatedDirective} ${e.blockedURI}`));
addEventListener('error', (e) => problems.push(String(e.message)));
addEventListener('unhandledrejection', (e) => problems.push(String(e.reason)));
new PerformanceObserver((list) => {
  for (const e of list.getEntries()) if (!e.hadRecentInput) shift += e.value;
}).observe({ type: 'layout-shift', buffered: true });
"""


class Page(Browser):
    """The page, and what a user does with it."""

    def __init__(self, url, profile, *options):
        super().__init__("about:blank", profile, *FLAGS, *options)
        self.url = url
        self.send("Page.addScriptToEvaluateOnNewDocument", source=OBSERVE)
        self.send("Page.navigate", url=url)
        self.wait("document.body?.dataset.state === 'start'")

    def click(self, selector):
        """Click on the middle of an element, as a mouse does."""
        x, y, *_ = self.place(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def place(self, selector):
        """Scroll to an element; return its middle and its upper left corner and size, in pixels of the window."""
        script = """(() => {
            const element = document.querySelector(%s);
            element.scrollIntoView({ block: 'center', behavior: 'instant' });
            const { x, y, width, height } = element.getBoundingClientRect();
            return [x + width / 2, y + height / 2, x, y, width, height];
        })()"""
        return self.value(script % json.dumps(selector))

    def key(self, key):
        codes = {"Enter": 13, "Tab": 9, "ArrowLeft": 37, "ArrowRight": 39, "0": 48}
        extra = {"text": "\r"} if key == "Enter" else {}
        code = {"windowsVirtualKeyCode": codes.get(key, 0), "key": key}
        self.send("Input.dispatchKeyEvent", type="keyDown", **code, **extra)
        self.send("Input.dispatchKeyEvent", type="keyUp", **code)

    def picture(self, selector):
        """Return what is seen of an element, (H, W, 3), without its edge, where the focus is shown."""
        self.value("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
        _, _, x, y, width, height = self.place(selector)
        scroll = self.value("[scrollX, scrollY]")
        clip = {"x": x + scroll[0] + 8, "y": y + scroll[1] + 8, "width": width - 16, "height": height - 16, "scale": 1}
        data = self.send("Page.captureScreenshot", format="png", clip=clip)["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")).astype(int)

    def text(self, selector):
        return self.value(f"document.querySelector({json.dumps(selector)}).textContent")

    def wait_for_result(self, title):
        shown = f"document.getElementById('result-title').textContent.includes({json.dumps(title)})"
        self.wait(f"document.body.dataset.state === 'result' && {shown}")

    def predict(self, photo):
        """Choose the file of a photo with one face, and wait for its result."""
        self.choose_file(photo)
        self.wait_for_result(f"1 face in {photo.name}")

    def wait_for_model(self):
        self.wait("['ready', 'error'].includes(document.body.dataset.model)")
        assert self.value("document.body.dataset.model") == "ready", self.text("#stage-text")

    def wait_for_layers(self):
        self.wait("[...document.querySelectorAll('#picture img[src]')].every((i) => i.complete && i.naturalWidth > 0)")

    def alert(self):
        self.wait("!document.getElementById('alert').hidden")
        return self.text("#alert-text")

    def check(self):
        """Check that nothing went wrong, and that nothing came from another server."""
        assert self.value("problems") == []
        names = self.value("performance.getEntriesByType('resource').map((entry) => entry.name)")
        assert all(name.startswith((self.url, f"blob:{self.url}")) for name in names), names


def difference(a, b):
    """Return the fraction of pixels that differ clearly."""
    return (np.abs(a - b).max(-1) > 12).mean()


@pytest.fixture(scope="module")
def server():
    """The address of a running server."""
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    import uvicorn

    from synergy.app.limits import Limits
    from synergy.app.serve import address_of, open_port
    from synergy.app.server import create_app

    listener = open_port("127.0.0.1", 0)
    app = create_app(FacePredictor(), Limits(photo_megabytes=4, uploads_per_minute=1000))
    process = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    thread = threading.Thread(target=process.run, kwargs={"sockets": [listener]})
    thread.start()
    yield address_of(listener, "127.0.0.1")
    process.should_exit = True
    thread.join()


@pytest.fixture
def open_page(server, tmp_path):
    pages = []

    def start(*options):
        pages.append(Page(server, tmp_path / "profile", *options))
        return pages[-1]

    yield start
    for page in pages:
        page.close()


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """The demo photo as a file."""
    path = tmp_path_factory.mktemp("photo") / "astronaut.png"
    path.write_bytes((files("skimage") / "data" / "astronaut.png").read_bytes())
    return path


def test_the_page_predicts_a_photo(open_page, photo):
    """The test of the page in the default run. It compares no pixels."""
    page = open_page()
    page.predict(photo)
    page.wait_for_layers()
    assert page.text(".words").startswith("Looks ")
    page.check()


@pytest.mark.slow
def test_upload_and_layers(open_page, photo):
    page = open_page()
    page.predict(photo)
    page.wait_for_layers()
    assert page.text(".words").startswith("Looks ")
    [face] = FacePredictor()(read_image(photo))
    yaw = float(page.text(".gauge dd").replace("\N{MINUS SIGN}", "-").rstrip("°"))
    assert yaw == pytest.approx(face.pose.yaw, abs=0.06)
    drawn = page.picture("#picture")
    for name in ("contours", "points"):
        page.click(f"[data-toggle={name}]")
    plain = page.picture("#picture")
    # The drawing was on the face and nowhere else.
    rows, columns = np.nonzero(np.abs(drawn - plain).max(-1) > 12)
    landmarks = face.landmarks68[:, :2] * page.place("#picture")[4] / 512 - 8  # `picture` leaves out 8 pixels
    low, high = landmarks.min(0) - 8, landmarks.max(0) + 8
    assert len(rows) > 300
    assert low[0] < columns.min() < columns.max() < high[0]
    assert low[1] < rows.min() < rows.max() < high[1]
    page.click("[data-toggle=normals]")
    page.wait_for_layers()
    assert difference(page.picture("#picture"), plain) > 0.01
    page.click("[data-toggle=photo]")
    without = page.picture("#picture")
    assert without[200:300, 10:40].max() < 40  # far from the face
    page.click("[data-toggle=photo]")
    page.click("[data-toggle=normals]")
    page.click("[data-toggle=zoom]")
    time.sleep(0.5)
    assert difference(page.picture("#picture"), plain) > 0.5
    page.check()
    assert page.value("shift") < 0.1


@pytest.mark.slow
def test_the_face_rotates_and_its_expression_changes(open_page, photo):
    page = open_page()
    page.predict(photo)
    page.wait_for_model()
    start = page.picture("#canvas")
    assert difference(start, start[:1, :1]) > 0.08  # there is a face on the background
    x, y, *_ = page.place("#canvas")
    page.send("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, button="left", clickCount=1)
    for step in range(1, 6):
        page.send("Input.dispatchMouseEvent", type="mouseMoved", x=x + 30 * step, y=y, button="left", buttons=1)
    page.send("Input.dispatchMouseEvent", type="mouseReleased", x=x + 150, y=y, button="left", clickCount=1)
    rotated = page.picture("#canvas")
    assert difference(start, rotated) > 0.03
    page.click("[data-view=photo]")
    page.value("document.activeElement.blur()")
    assert difference(start, page.picture("#canvas")) < 0.001

    page.value("document.getElementById('canvas').focus()")
    focused = page.picture("#canvas")
    for _ in range(5):
        page.key("ArrowLeft")
    assert difference(focused, page.picture("#canvas")) > 0.02
    page.key("0")
    assert difference(focused, page.picture("#canvas")) < 0.001
    page.value("document.activeElement.blur()")

    page.click("#wire")
    assert difference(start, page.picture("#canvas")) > 0.02
    page.click("#wire")
    page.click("[data-surface=clay]")
    assert difference(start, page.picture("#canvas")) > 0.05
    page.click("[data-surface=photo]")
    page.click("[data-view=front]")
    front = page.picture("#canvas")

    script = """(() => {
        const input = document.querySelector('[data-expression=jawOpen]');
        input.value = 1;
        input.dispatchEvent(new Event('input', { bubbles: true }));
        return input.previousElementSibling.textContent;
    })()"""
    assert page.value(script) == "100 %"
    opened = page.picture("#canvas")
    changed = np.nonzero(np.abs(opened - front).max(-1) > 12)[0]
    head = np.nonzero((np.abs(front - front[:1, :1]).max(-1) > 12).any(1))[0]
    # It is the lower half of the head that changes.
    assert len(changed) > 300
    assert (changed > (head.min() + head.max()) / 2).mean() > 0.8
    page.value("document.getElementById('expression-photo').click()")
    assert difference(front, page.picture("#canvas")) < 0.001
    page.value("document.getElementById('expression-neutral').click()")
    weights = page.value("[...document.querySelectorAll('[data-expression]')].map((input) => input.value)")
    assert len(weights) > 40
    assert set(weights) == {"0"}
    assert difference(front, page.picture("#canvas")) > 0.001
    page.check()


@pytest.mark.slow
def test_several_faces_and_the_keyboard(open_page):
    page = open_page()
    page.value("document.querySelector('[data-example=\"several faces\"]').focus()")
    page.key("Enter")
    page.wait_for_result("3 faces")
    page.wait_for_model()
    assert page.value("document.activeElement.id") == "result-title"
    first = page.text(".words")
    assert page.value("document.querySelectorAll('#picture button').length") == 3
    page.value("document.querySelector('#faces [aria-selected=true]').focus()")
    page.key("ArrowRight")
    second = page.text(".words")
    assert first != second
    assert page.value("document.activeElement.textContent") == "Face 2"
    page.wait_for_model()
    page.click("#picture button:nth-of-type(1)")
    assert page.text(".words") == first
    assert page.value("document.querySelector('#faces [aria-selected=true]').textContent") == "Face 1"
    page.check()


@pytest.mark.slow
def test_every_control_has_a_name_and_the_page_fits_a_phone(open_page, photo):
    page = open_page()
    script = """[...document.querySelectorAll('button, input, a, canvas')].filter((element) =>
        element.checkVisibility() && !(element.ariaLabel || element.innerText || element.labels?.length))
        .map((element) => element.outerHTML)"""
    for width, is_mobile in ((390, True), (1280, False)):
        page.send("Emulation.setDeviceMetricsOverride", width=width, height=844, deviceScaleFactor=1, mobile=is_mobile)
        for _ in ("start", "result"):
            assert page.value(script) == []
            assert page.value("document.documentElement.scrollWidth") <= width
            if page.value("document.body.dataset.state") == "start":
                page.predict(photo)
                page.wait_for_model()
        page.value("document.getElementById('again').click()")
    page.check()


@pytest.mark.slow
def test_a_finger_rotates_sideways_and_scrolls_up(open_page, photo):
    page = open_page()
    page.send("Emulation.setDeviceMetricsOverride", width=390, height=844, deviceScaleFactor=1, mobile=True)
    page.send("Emulation.setTouchEmulationEnabled", enabled=True)
    page.predict(photo)
    page.wait_for_model()
    for dx, dy, scrolls in ((60, 0, False), (0, -60, True)):
        before = page.picture("#canvas")
        x, y, *_ = page.place("#canvas")
        start = page.value("scrollY")
        page.send("Input.dispatchTouchEvent", type="touchStart", touchPoints=[{"x": x, "y": y}])
        for step in range(1, 6):
            point = {"x": x + dx * step / 5, "y": y + dy * step / 5}
            page.send("Input.dispatchTouchEvent", type="touchMove", touchPoints=[point])
        page.send("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
        time.sleep(1.5)  # the page goes on scrolling for a moment
        assert (page.value("scrollY") != start) == scrolls
        assert (difference(before, page.picture("#canvas")) > 0.02) != scrolls
    page.check()


@pytest.mark.slow
def test_the_colours_follow_the_system_and_the_button(open_page):
    page = open_page()
    background = "getComputedStyle(document.body).backgroundColor"
    colours = {}
    for scheme in ("light", "dark"):
        page.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        colours[scheme] = page.value(background)
    assert colours["light"] != colours["dark"]
    page.click("#theme")
    assert (page.text("#theme-name"), page.value(background)) == ("Light", colours["light"])
    page.send("Page.reload")
    page.wait("document.body?.dataset.state === 'start'")
    assert (page.text("#theme-name"), page.value(background)) == ("Light", colours["light"])


@pytest.mark.slow
def test_downloads(open_page, photo, tmp_path):
    page = open_page()
    folder = tmp_path / "downloads"
    page.send("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
    page.predict(photo)
    for name in ("faces.json", "face_1.glb", "everything.zip"):
        page.click(f"[data-file='{name}']")
        path = folder / f"astronaut_{name}"
        for _ in range(600):
            if path.exists():
                break
            time.sleep(0.1)
    assert len(json.loads((folder / "astronaut_faces.json").read_text())["images"][0]["faces"]) == 1
    assert len(trimesh.load(folder / "astronaut_face_1.glb", force="mesh").vertices) > 5000
    with zipfile.ZipFile(folder / "astronaut_everything.zip") as archive:
        assert len(archive.namelist()) == page.value("document.querySelectorAll('[data-file]').length") - 1
    page.check()


@pytest.mark.slow
def test_bad_files_are_explained_and_the_page_goes_on(open_page, photo, tmp_path):
    page = open_page()
    (tmp_path / "notes.png").write_text("no picture")
    (tmp_path / "cut.png").write_bytes(photo.read_bytes()[:100_000])
    (tmp_path / "large.jpg").write_bytes(bytes(5_000_000))
    (tmp_path / "clip.mp4").write_text("no video")
    Image.new("L", (10000, 10000)).save(tmp_path / "bomb.png")
    messages = {
        "notes.png": "notes.png: not an image that can be read",
        "cut.png": "cut.png: cannot be read as an image",
        "large.jpg": "large.jpg has 5 MB. At most 4 MB are accepted.",
        "clip.mp4": "clip.mp4: cannot be read as a video",
        "bomb.png": "bomb.png: 10000 x 10000 pixels are more than the limit",
    }
    for name, message in messages.items():
        page.value("document.getElementById('alert-close').click()")
        page.choose_file(tmp_path / name)
        assert page.alert().startswith(message)
        assert page.value("document.body.dataset.state") == "start"
    page.predict(photo)
    assert page.value("document.getElementById('alert').hidden")
    page.check()
    page.send("Network.enable")
    page.send("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=-1, uploadThroughput=-1)
    page.choose_file(photo)
    assert page.alert().startswith("The server cannot be reached.")


@pytest.mark.slow
def test_a_paste_and_a_drop(open_page, photo):
    page = open_page()
    script = """(() => {
        const bytes = Uint8Array.from(atob(%s), (c) => c.charCodeAt(0));
        const data = new DataTransfer();
        data.items.add(new File([bytes], 'given.png', { type: 'image/png' }));
        document.dispatchEvent(new %s);
    })()"""
    content = json.dumps(base64.b64encode(photo.read_bytes()).decode())
    for event in (
        "ClipboardEvent('paste', { clipboardData: data, bubbles: true })",
        "DragEvent('drop', { dataTransfer: data, bubbles: true, cancelable: true })",
    ):
        page.value(script % (content, event))
        page.wait_for_result("1 face in given.png")
        page.value("document.getElementById('again').click()")
    page.value("document.dispatchEvent(new ClipboardEvent('paste', { clipboardData: new DataTransfer() }))")
    assert page.alert() == "The clipboard holds no picture."
    page.check()


@pytest.fixture
def camera(photo, tmp_path):
    """Chromium's flags for a camera that shows the photo."""
    image = cv2.copyMakeBorder(read_image(photo)[:480], 0, 0, 64, 64, cv2.BORDER_CONSTANT)
    frame = cv2.imencode(".jpg", image[..., ::-1])[1].tobytes()
    (tmp_path / "camera.mjpeg").write_bytes(frame * 4)
    return (
        "--use-fake-device-for-media-stream",
        "--use-fake-ui-for-media-stream",
        f"--use-file-for-fake-video-capture={tmp_path / 'camera.mjpeg'}",
    )


@pytest.mark.slow
def test_a_picture_of_the_camera(open_page, camera):
    page = open_page(*camera)
    page.click("#camera")
    page.wait("!document.getElementById('camera-take').disabled")
    page.click("#camera-take")
    page.wait_for_result("1 face in camera.jpg")
    assert page.value("document.getElementById('camera-video').srcObject") is None
    page.wait_for_model()
    page.check()


@pytest.mark.slow
def test_a_clip_of_the_camera(open_page, camera):
    page = open_page(*camera)
    page.click("#camera")
    page.wait("!document.getElementById('camera-record').disabled")
    page.click("#camera-record")
    page.wait("document.getElementById('camera-text').textContent.startsWith('Recording')")
    time.sleep(3)
    page.click("#camera-record")
    page.wait_for_result("1 person in camera.webm")
    page.wait_for_model()
    page.wait("document.getElementById('video').readyState >= 2")
    assert page.value("document.getElementById('video').duration") > 0  # a busy machine records few frames
    assert page.text(".words").startswith("Looks ")
    assert difference(page.picture("#canvas"), page.picture("#canvas")[:1, :1]) > 0.05
    page.check()


@pytest.mark.slow
def test_a_clip_of_three_frames_per_second(open_page, tmp_path):
    """Two people turn their heads; the last frame is shown until the end of the clip, at 2 s."""
    with VideoWriter(tmp_path / "slow.mp4", 3) as writer:
        for i in range(6):
            frame = np.full((360, 640, 3), 50, np.uint8)
            for seed, x in ((1, 180), (3, 460)):
                frame = paint_face(frame, animated_face(seed, {}, (0, 10 * i - 25, 0), (x, 190), 110), seed)
            writer.write(frame, i)

    page = open_page()
    page.choose_file(tmp_path / "slow.mp4")
    page.wait_for_result("2 people in slow.mp4")
    page.wait_for_model()
    page.wait("document.getElementById('video').readyState >= 2")
    drawn = """(() => {
        const { width, height } = document.getElementById('chart');
        const { data } = document.getElementById('chart').getContext('2d').getImageData(0, 0, width, height);
        const [r, g, b] = getComputedStyle(document.querySelector('.legend .yaw')).color.match(/\\d+/g).map(Number);
        let count = 0;
        for (let i = 0; i < data.length; i += 4) count += data[i] === r && data[i + 1] === g && data[i + 2] === b;
        return count;
    })()"""
    assert page.value(drawn) > 50

    def seek(seconds):
        page.value(f"""new Promise((done) => {{
            const video = document.getElementById('video');
            video.addEventListener('seeked', () => done(), {{ once: true }});
            video.currentTime = {seconds};
        }})""")
        assert page.text(".words").startswith("Looks ")
        return page.picture("#canvas")

    first, last = seek(0.3), seek(1.66)
    assert difference(first, last) > 0.02
    assert difference(seek(1.95), last) < 0.01
    for view in ("left", "photo"):
        page.click(f"[data-view={view}]")
    assert difference(page.picture("#canvas"), last) < 0.01
    for person in (2, 1):
        page.click(f"#faces button:nth-of-type({person})")
        page.wait_for_model()
    assert difference(page.picture("#canvas"), last) < 0.01

    page.value("document.querySelector('#facts summary').click()")
    seek(0.3)
    assert page.value("document.querySelector('#facts details').open")
    # While the clip plays, each frame of the screen is drawn once, however many events the video sends.
    calls_per_frame = page.value("""(async () => {
        const video = document.getElementById('video');
        await video.play();
        for (let i = 0; i < 20; i++) video.dispatchEvent(new Event('timeupdate'));
        const next = requestAnimationFrame;
        let calls = 0;
        window.requestAnimationFrame = (callback) => { calls += 1; return next(callback); };
        for (let i = 0; i < 5; i++) await new Promise((done) => next(done));
        window.requestAnimationFrame = next;
        video.pause();
        return calls / 5;
    })()""")
    assert calls_per_frame < 4
    page.check()


@pytest.mark.slow
def test_without_a_camera_the_page_says_so(open_page):
    page = open_page()
    page.click("#camera")
    assert page.alert() == "No camera was found."
    assert not page.value("document.getElementById('camera-dialog').open")


@pytest.mark.slow
def test_ten_clients_at_once(open_page, server, photo):
    """Each client gets its own result, while the page is used."""
    image = cv2.imread(str(photo))
    answers = {}

    def work(i):
        content = cv2.imencode(".jpg", np.ascontiguousarray(image[:, : 512 - 10 * i]))[1].tobytes()
        request = urllib.request.Request(f"{server}api/photos?name={i}.jpg", content)  # noqa: S310
        result = json.load(urllib.request.urlopen(request, timeout=120))  # noqa: S310
        view = urllib.request.urlopen(f"{server}api/results/{result['id']}/view.jpg", timeout=120).read()  # noqa: S310
        answers[i] = result, Image.open(io.BytesIO(view)).size

    page = open_page()
    threads = [threading.Thread(target=work, args=(i,)) for i in range(10)]
    for thread in threads:
        thread.start()
    page.predict(photo)
    for thread in threads:
        thread.join()
    assert sorted(answers) == list(range(10))
    for i, (result, size) in answers.items():
        assert result["name"] == f"{i}.jpg"
        assert len(result["faces"]) == 1
        assert size == (result["width"], result["height"]) == (512 - 10 * i, 512)
    page.check()
