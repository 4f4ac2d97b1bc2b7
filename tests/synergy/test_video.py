import json
import queue
import shutil
import struct
import subprocess
import threading
from fractions import Fraction
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from synergy.errors import UserError
from synergy.video import VideoReader, VideoWriter, _Clock

av = pytest.importorskip("av")

WIDTH, HEIGHT, RATE = 160, 120, 10
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


def picture(i):
    """A picture whose left half is red, with a blue bar on top that becomes brighter."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[:, : WIDTH // 2] = [255, 0, 0]
    image[:16] = [0, 0, 60 + 6 * i]
    return image


def make_clip(path, times, sound=None, codec="libx264", sample_rate=44100, aspect=1):
    """Write a clip with frames at given times in seconds, and a tone of the same length in a given codec.

    A pixel is `aspect` times as wide as it is high.
    """
    with av.open(str(path), "w", options={"movflags": "+faststart"} if path.suffix == ".mp4" else {}) as container:
        stream = container.add_stream(codec, rate=RATE)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 1000)
        stream.codec_context.sample_aspect_ratio = Fraction(aspect)
        audio = container.add_stream(sound, rate=sample_rate) if sound else None
        for i, seconds in enumerate(times):
            frame = av.VideoFrame.from_ndarray(picture(i), format="rgb24")
            frame.pts, frame.time_base = round(seconds * 1000), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        if audio:
            n_samples = int(sample_rate * (times[-1] - times[0] + 1 / RATE))
            tone = 0.3 * np.sin(2 * np.pi * 440 * np.arange(n_samples) / sample_rate)
            frame = av.AudioFrame.from_ndarray((tone * 32767).astype(np.int16)[None], format="s16", layout="mono")
            frame.sample_rate, frame.pts = sample_rate, round(times[0] * sample_rate)
            for resampled in av.AudioResampler(audio.format.name, "mono", sample_rate).resample(frame):
                container.mux(audio.encode(resampled))
            container.mux(audio.encode(None))
        container.mux(stream.encode(None))
    return path


STEADY = np.arange(20) / RATE
UNEVEN = np.round(np.cumsum(np.random.default_rng(0).uniform(0.02, 0.3, 20)), 3)
CLIPS = [
    # file, times, sound, sound of the copy
    ("a.mp4", STEADY, "aac", "aac"),
    ("a.mp4", UNEVEN, None, None),
    ("a.mkv", UNEVEN, "pcm_s16le", "aac"),
    ("a.mov", STEADY, "aac", "aac"),
    # The clock of these files does not begin at 0, as in most transport streams.
    ("a.ts", 40_000 + STEADY, "aac", "aac"),
    ("a.ts", 5 + STEADY, "mp2", "aac"),
]


@pytest.mark.parametrize(("name", "times", "sound", "copied"), CLIPS)
def test_a_copy_has_the_times_and_the_sound_and_plays_in_browsers(tmp_path, name, times, sound, copied):
    path, out = make_clip(tmp_path / name, times, sound), tmp_path / "out.mp4"
    with VideoReader(path) as video, VideoWriter(out, video) as writer:
        for i, frame in enumerate(video):
            assert frame.image.shape == (HEIGHT, WIDTH, 3)
            assert np.abs(frame.image[40, 20].astype(int) - [255, 0, 0]).max() < 12
            assert np.abs(frame.image[8, 120].astype(int) - [0, 0, 60 + 6 * i]).max() < 12
            assert frame.seconds == pytest.approx(times[i] - times[0], abs=2e-3)
            writer.write(frame.image, frame.ticks)
        assert i == len(times) - 1
        assert video.problem == ""
    with av.open(str(out)) as container:
        video = container.streams.video[0]
        assert (video.codec_context.name, video.pix_fmt) == ("h264", "yuv420p")
        assert [stream.codec_context.name for stream in container.streams.audio] == ([copied] if copied else [])
        for stream in container.streams.audio:
            n_samples = sum(frame.samples for frame in container.decode(stream))
            assert n_samples / 44100 == pytest.approx(times[-1] - times[0] + 1 / RATE, abs=0.1)
        assert [stream.start_time for stream in container.streams] == [0] * len(container.streams)
    with VideoReader(out) as video:
        frames = list(video)
    np.testing.assert_allclose([frame.seconds for frame in frames], times - times[0], atol=2e-3)
    assert np.abs(frames[0].image[40, 20].astype(int) - [255, 0, 0]).max() < 20
    data = out.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def copied_sound(path, out):
    """Copy a clip, and return the sample rate and the seconds of the copy's sound."""
    with VideoReader(path) as video, VideoWriter(out, video) as writer:
        for frame in video:
            writer.write(frame.image, frame.ticks)
        assert (video.problem, writer.problem) == ("", "")
    with av.open(str(out)) as container:
        rate = container.streams.audio[0].sample_rate
        return rate, sum(frame.samples for frame in container.decode(audio=0)) / rate


@pytest.mark.parametrize(("rate", "copied"), [(192_000, 96_000), (37_000, 32_000), (4_000, 7_350)])
def test_sound_at_a_rate_that_aac_lacks_gets_the_nearest(tmp_path, rate, copied):
    path = make_clip(tmp_path / "a.mov", STEADY[:5], "pcm_s16le", sample_rate=rate)
    assert copied_sound(path, tmp_path / "out.mp4") == (copied, pytest.approx(0.5, abs=0.2))


def test_sound_whose_rate_changes(tmp_path):
    clips = [make_clip(tmp_path / f"{rate}.ts", STEADY[:10], "mp2", sample_rate=rate) for rate in (44100, 48000)]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(clip.read_bytes() for clip in clips))
    assert copied_sound(joined, tmp_path / "out.mp4")[1] == pytest.approx(2, abs=0.1)


def test_sound_of_an_unknown_codec_is_left_out(tmp_path):
    path, out = make_clip(tmp_path / "a.mp4", STEADY[:3], "aac"), tmp_path / "out.mp4"
    path.write_bytes(path.read_bytes().replace(b"mp4a", b"zzzz").replace(b"esds", b"xsds"))
    with VideoReader(path) as video, VideoWriter(out, video) as writer:
        for frame in video:
            writer.write(frame.image, frame.ticks)
        assert video.problem == ""
        assert writer.problem == "the sound is left out, its codec is not known"
    with VideoReader(out) as video:
        assert len(list(video)) == 3


@pytest.mark.parametrize("sound", ["aac", "mp2"])
def test_a_clock_that_starts_again_goes_on(tmp_path, sound):
    one, joined, out = make_clip(tmp_path / "one.ts", STEADY, sound), tmp_path / "joined.ts", tmp_path / "out.mp4"
    joined.write_bytes(one.read_bytes() * 2)
    with VideoReader(joined) as video, VideoWriter(out, video) as writer:
        for i, frame in enumerate(video):
            assert frame.seconds == pytest.approx(i / RATE, abs=2e-3)
            writer.write(frame.image, frame.ticks)
        assert i == 2 * len(STEADY) - 1
    with VideoReader(out) as video:
        assert [frame.seconds for frame in video] == pytest.approx(np.arange(40) / RATE, abs=2e-3)
    with av.open(str(out)) as container:
        pieces = [(frame.time, frame.samples / 44100) for frame in container.decode(audio=0)]
    starts, lengths = np.transpose(pieces)
    np.testing.assert_allclose(starts[1:], (starts + lengths)[:-1], atol=0.05)
    assert lengths.sum() == pytest.approx(4, abs=0.1)


def test_a_small_step_back_in_time_is_not_a_clock_that_starts_again():
    clock = _Clock(Fraction(1, 1000), Fraction(2))
    stated = [2000, 2100, 2200, 2150, 2300, 2300, 2400, 1000, 1100, None]
    expected = [0, 100, 200, 201, 300, 301, 400, 500, 600, 700]
    assert [clock(ticks, 100) for ticks in stated] == expected


def test_a_name_with_a_colon_is_no_protocol(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    make_clip(tmp_path / "a.mp4", STEADY[:3], "aac").rename(tmp_path / "talk:1.mp4")
    with VideoReader("talk:1.mp4") as video, VideoWriter("talk:2.mp4", video) as writer:
        for frame in video:
            writer.write(frame.image, frame.ticks)
    with VideoReader("talk:2.mp4") as video:
        assert len(list(video)) == 3


def test_odd_sides_become_even(tmp_path):
    path = make_clip(tmp_path / "a.mp4", STEADY[:3])
    with VideoReader(path) as video, VideoWriter(tmp_path / "b.mp4", video) as writer:
        for frame in video:
            writer.write(frame.image[:-1, :-3], frame.ticks)
    with VideoReader(tmp_path / "b.mp4") as video:
        assert next(iter(video)).image.shape == (120, 158, 3)


ROTATIONS = [
    # matrix of the track header (a, b, c, d), where the red half then is: rows, columns
    ((0, 1, -1, 0), (20, 60)),
    ((-1, 0, 0, -1), (60, 140)),
    ((0, -1, 1, 0), (140, 60)),
]


def rotate(path, matrix):
    """Write a rotation (a, b, c, d) into the track header of an mp4 file."""
    data = bytearray(path.read_bytes())
    # The matrix follows 36 bytes of other fields in a track header box of version 0.
    start = data.index(b"tkhd") + 4 + 4 + 20 + 8 + 8
    a, b, c, d = (value << 16 for value in matrix)
    assert struct.unpack(">9i", data[start : start + 36]) == (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    data[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(("matrix", "red"), ROTATIONS)
def test_rotation_metadata_turns_frames_upright(tmp_path, matrix, red):
    path = make_clip(tmp_path / "a.mp4", STEADY[:3])
    rotate(path, matrix)
    with VideoReader(path) as video:
        image = next(iter(video)).image
    assert image.shape == ((WIDTH, HEIGHT, 3) if matrix[0] == 0 else (HEIGHT, WIDTH, 3))
    assert image[red][0] > 200
    assert image[image.shape[0] - 1 - red[0], image.shape[1] - 1 - red[1]][0] < 50


@pytest.mark.parametrize(("matrix", "expected"), [((1, 0, 0, 1), Fraction(16, 11)), ((0, 1, -1, 0), Fraction(11, 16))])
def test_pixels_that_are_not_square_keep_their_shape(tmp_path, matrix, expected):
    path, out = make_clip(tmp_path / "a.mp4", STEADY[:3], aspect=Fraction(16, 11)), tmp_path / "out.mp4"
    rotate(path, matrix)
    with VideoReader(path) as video, VideoWriter(out, video) as writer:
        for frame in video:
            writer.write(frame.image, frame.ticks)
        assert video.pixel_aspect == expected
    with av.open(str(out)) as container:
        assert container.streams.video[0].sample_aspect_ratio == expected


def test_a_truncated_file_says_how_much_was_read(tmp_path):
    path = make_clip(tmp_path / "a.mp4", STEADY, "aac")
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 6 // 10])
    with VideoReader(path) as video, VideoWriter(tmp_path / "b.mp4", video) as writer:
        n = 0
        for frame in video:
            writer.write(frame.image, frame.ticks)
            n += 1
    assert 5 <= n < 18
    assert video.problem.startswith("cut off or damaged, ")
    assert video.problem.endswith(" of 2.00 s could be read")
    read = float(video.problem.split()[4])
    assert read == pytest.approx(frame.seconds + 1 / RATE, abs=0.05)
    with VideoReader(tmp_path / "b.mp4") as copy:
        assert len(list(copy)) == n


@pytest.mark.parametrize(("suffix", "sound"), [(".mkv", "pcm_s16le"), (".flv", "pcm_s16le"), (".mp4", "aac")])
def test_sound_that_is_longer_than_the_pictures_does_not_mean_that_these_are_cut_off(tmp_path, suffix, sound):
    """The pictures begin 0.7 s after the sound and end 2 s before it."""
    path = tmp_path / f"a{suffix}"
    with av.open(str(path), "w") as container:
        pictures = container.add_stream("libx264", rate=RATE)
        pictures.width, pictures.height, pictures.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        pictures.codec_context.time_base = Fraction(1, 1000)
        tone = container.add_stream(sound, rate=44100, layout="mono")
        for i in range(20):
            frame = av.VideoFrame.from_ndarray(picture(i), format="rgb24")
            frame.pts, frame.time_base = 700 + 1000 * i // RATE, Fraction(1, 1000)
            container.mux(pictures.encode(frame))
        resampler = av.AudioResampler(tone.format.name, "mono", 44100, frame_size=1024)
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 44100 * 47 // 10), np.int16), format="s16", layout="mono")
        silence.sample_rate, silence.pts = 44100, 0
        for frame in resampler.resample(silence):
            container.mux(tone.encode(frame))
        container.mux(tone.encode(None))
        container.mux(pictures.encode(None))
    with VideoReader(path) as video:
        assert len(list(video)) == 20
        assert video.problem == ""
    if suffix == ".mkv":
        data = path.read_bytes()
        path.write_bytes(data[: len(data) * 3 // 10])
        with VideoReader(path) as video:
            assert 0 < len(list(video)) < 20
            assert video.problem.startswith("cut off or damaged, ")
            assert video.problem.endswith(" of 2.00 s could be read")


NO_VIDEOS = [
    # content, what is said
    (b"", "cannot be read as a video"),
    (b"hello" * 100, "cannot be read as a video"),
    (None, "cannot be read as a video (No such file or directory)"),
]


@pytest.mark.parametrize(("content", "message"), NO_VIDEOS)
def test_what_is_no_video_is_one_line(tmp_path, content, message):
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError) as raised:
        VideoReader(path)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_frames_of_too_many_pixels_are_refused(tmp_path):
    path = make_clip(tmp_path / "big.mp4", range(3))
    with VideoReader(path) as video:
        height, width = next(iter(video)).image.shape[:2]
    with VideoReader(path, max_pixels=width * height) as video:
        assert len(list(video)) == 3
    with pytest.raises(UserError, match=rf"big\.mp4: {width} x {height} pixels are more than the limit max-pixels"):
        VideoReader(path, max_pixels=width * height - 1)


def test_sound_alone_is_no_video(tmp_path):
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 44100), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(UserError, match="has no pictures"):
        VideoReader(path)


# Plays the video to its end, and sends what happened to the server.
PAGE = """<!doctype html><video muted src="out.mp4"></video><script>
const video = document.querySelector('video'), events = []
let pixel = null
const send = error => fetch('/', {method: 'POST', body: JSON.stringify({
  supported: video.canPlayType('video/mp4; codecs="avc1.42E01E"') !== '', events, error, pixel, end: video.currentTime,
  width: video.videoWidth, height: video.videoHeight, duration: video.duration})})
for (const name of ['canplay', 'playing', 'ended']) video.addEventListener(name, () => events.push(name))
video.addEventListener('canplay', () => video.play(), {once: true})
video.addEventListener('timeupdate', () => {
  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight).getContext('2d')
  canvas.drawImage(video, 0, 0)
  pixel = [...canvas.getImageData(20, 80, 1, 1).data]
})
video.addEventListener('error', () => send(video.error.message))
video.addEventListener('ended', () => send(''))
</script>"""


class Reports(SimpleHTTPRequestHandler):
    """Serves a folder, and puts what a page posts into a queue."""

    def __init__(self, *args, reports, **options):
        self.reports = reports
        super().__init__(*args, **options)

    def do_POST(self):
        self.reports.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.mark.parametrize(("rate", "expected"), [(24, 24), (29.97, Fraction(30000, 1001))])
def test_frames_at_a_constant_rate_need_no_source(tmp_path, rate, expected):
    with VideoWriter(tmp_path / "a.mp4", rate) as writer:
        for i in range(6):
            writer.write(picture(i), i)
    with VideoReader(tmp_path / "a.mp4") as video:
        assert [frame.seconds for frame in video] == pytest.approx([float(i / expected) for i in range(6)], abs=1e-4)
        assert float(video.rate) == pytest.approx(float(expected), rel=1e-4)
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert not container.streams.audio


@pytest.mark.slow
def test_a_written_video_plays_in_a_browser(tmp_path):
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    path = make_clip(tmp_path / "a.mp4", UNEVEN, "aac")
    with VideoReader(path) as video, VideoWriter(tmp_path / "out.mp4", video) as writer:
        for frame in video:
            writer.write(frame.image[:-1], frame.ticks)
    (tmp_path / "index.html").write_text(PAGE)
    reports = queue.Queue()
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Reports, directory=str(tmp_path), reports=reports))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    flags = "--headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run"
    profile, autoplay = f"--user-data-dir={tmp_path / 'profile'}", "--autoplay-policy=no-user-gesture-required"
    address = f"http://127.0.0.1:{server.server_port}/"
    # It prints its port and runs until it is stopped.
    command = [CHROMIUM, *flags.split(), profile, autoplay, "--remote-debugging-port=0", address]
    browser = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        report = reports.get(timeout=120)
    finally:
        browser.terminate()
        browser.wait(20)
        server.shutdown()
        server.server_close()
    if not report["supported"]:
        pytest.skip("this Chromium does not play H.264")
    assert report["error"] == ""
    assert report["events"] == ["canplay", "playing", "ended"]
    assert (report["width"], report["height"]) == (WIDTH, HEIGHT)
    length = UNEVEN[-1] - UNEVEN[0]
    assert length < report["end"] < length + 0.5
    assert report["end"] == pytest.approx(report["duration"], abs=0.1)
    red, green, blue, _ = report["pixel"]
    assert red > 200 > 60 > max(green, blue)
