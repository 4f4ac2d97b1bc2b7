import csv
import io
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import tarfile
import time
from functools import partial
from pathlib import Path, PureWindowsPath

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bfm_assets import open_face
from synergy.cli import app
from synergy.cli.predict import _read_boxes, _settings_key
from synergy.cli.predict_video import _camera_frames
from synergy.cli.sources import Source
from synergy.detect import CenterFace, Detection
from synergy.errors import UserError
from synergy.predictor import FacePredictor
from synergy.result_formats import MESH_FORMATS, PICTURE_FORMATS, RESULT_FORMATS
from synergy.shards import ALL
from synergy.video import VideoReader, VideoWriter
from synergy.weights import save_weights

BOX = [40, 30, 120, 110]


@pytest.fixture
def model(tmp_path, small_net):
    path = tmp_path / "weights" / "net.safetensors"
    path.parent.mkdir()
    save_weights(small_net, path, {}, open_face())
    return str(path)


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """The working folder has `photos` with two photos, one of them in a subfolder, and a boxes file for both."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name in ("a.jpg", "more/b.png"):
        add_photo(folder / name)
    (tmp_path / "boxes.json").write_text(json.dumps({"photos/a.jpg": [BOX], "photos/more/b.png": [BOX, BOX]}))
    return folder


def add_photo(path, seed=0):
    path.parent.mkdir(exist_ok=True, parents=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (150, 160, 3), dtype=np.uint8)).save(path)


def run(*args, **options):
    return CliRunner().invoke(app, ["predict", *(str(arg) for arg in args)], **options)


def images_of(out):
    """Name to faces of predictions.json, read as strictly as other languages read JSON."""

    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    text = (out / "predictions.json").read_bytes().decode("utf-8")
    assert "\\ud" not in text
    return {image["name"]: image["faces"] for image in json.loads(text, parse_constant=refuse)["images"]}


def files_of(out):
    return {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}


@pytest.fixture
def calls(monkeypatch):
    """The images whose faces were searched for, in order."""
    made, original = [], FacePredictor.detect

    def detect(self, image):
        made.append(image)
        return original(self, image)

    monkeypatch.setattr(FacePredictor, "detect", detect)
    return made


def test_a_folder_with_given_boxes_in_every_format(tmp_path, photos, model):
    out = tmp_path / "out"
    formats = ",".join(RESULT_FORMATS)
    result = run("photos", "--out", out, "--boxes", "boxes.json", "--model", model, "--format", formats)
    assert result.exit_code == 0, result.output
    assert "3 face(s) in 2 image(s)" in result.stderr
    images = images_of(out)
    assert {name: len(faces) for name, faces in images.items()} == {"photos/a.jpg": 1, "photos/more/b.png": 2}
    assert set(images["photos/a.jpg"][0]["blendshapes"]) == set(open_face().expression_names)
    written = files_of(out)
    for suffix in ("pts", *MESH_FORMATS):
        names = {f"photos/a.jpg_0.{suffix}", f"photos/more/b.png_0.{suffix}", f"photos/more/b.png_1.{suffix}"}
        assert names <= written
    for name, picture in PICTURE_FORMATS.items():
        assert {f"{photo}_{name}{picture.suffix}" for photo in images} <= written
    assert {"predictions.csv", "predictions.jsonl"} <= written
    assert not [name for name in written if "partial" in name]


def test_other_mesh_settings_replace_the_meshes(tmp_path, photos, model):
    out = tmp_path / "out"
    arguments = ("photos/a.jpg", "--out", out, "--boxes", "boxes.json", "--model", model, "--format", "npz")
    (tmp_path / "boxes.json").write_text(json.dumps({"photos/a.jpg": [BOX]}))
    meshes = []
    for options in ((), (), ("--neutral",), ("--neutral",)):
        result = run(*arguments, *options)
        assert result.exit_code == 0, result.output
        assert ("finished before" in result.stderr) == (len(meshes) % 2 == 1)
        with np.load(out / "photos/a.jpg_0.npz") as arrays:
            meshes.append(arrays["vertices"])
    np.testing.assert_array_equal(meshes[0], meshes[1])
    assert np.abs(meshes[2] - meshes[1]).max() > 1e-3


def test_a_bad_file_is_named_counted_and_skipped(tmp_path, photos, model):
    (photos / "broken.jpg").write_bytes(b"no image")
    out = tmp_path / "out"
    result = run("photos", "--out", out, "--boxes", "boxes.json", "--model", model, "--format", "json")
    assert isinstance(result.exception, UserError)
    assert "1 of 3 inputs" in str(result.exception)
    assert result.stderr.count("photos/broken.jpg") == 1
    assert len(images_of(out)) == 2


def test_images_beyond_max_pixels_are_named_and_skipped(tmp_path, photos, model):
    Image.new("1", (20_000, 20_000)).save(photos / "bomb.png")
    out = tmp_path / "out"
    result = run("photos", "--out", out, "--boxes", "boxes.json", "--model", model, "--format", "json")
    assert "photos/bomb.png: 20000 x 20000 pixels are more than the limit max-pixels (200000000)" in result.stderr
    assert len(images_of(out)) == 2
    assert isinstance(result.exception, UserError)
    result = run(photos / "a.jpg", "--out", out, "--model", model, "--format", "json", "--max-pixels", 100)
    assert "160 x 150 pixels are more than the limit max-pixels (100)" in result.stderr


ERRORS = [MemoryError(), cv2.error("OpenCV: wrong"), TypeError("one\ntwo"), KeyError("k"), RecursionError("deep")]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_any_error_of_one_file_leaves_the_others(tmp_path, photos, model, monkeypatch, error):
    original, calls = FacePredictor.detect, []

    def detect(self, image):
        calls.append(image)
        if len(calls) == 1:
            raise error
        return original(self, image)

    monkeypatch.setattr(FacePredictor, "detect", detect)
    out = tmp_path / "out"
    result = run("photos", "--out", out, "--model", model, "--format", "json")
    assert isinstance(result.exception, UserError)
    assert "1 of 2 inputs" in str(result.exception)
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("skipped:")]
    assert line.startswith("skipped: photos/a.jpg: ")
    assert list(images_of(out)) == ["photos/more/b.png"]


def test_a_full_disk_ends_the_batch_in_one_line(tmp_path, photos, model, monkeypatch):
    def write(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("synergy.images.write_image", write)
    result = run("photos", "--out", tmp_path / "out", "--model", model, "--format", "overlay")
    assert isinstance(result.exception, UserError)
    assert "No space left on device" in str(result.exception)
    assert "skipped" not in result.stderr


def test_a_disk_that_is_full_when_the_tables_are_written_is_one_line(tmp_path, photos, model, monkeypatch):
    def write(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("synergy.results.write_json_rows", write)
    out, arguments = tmp_path / "out", ("--boxes", "boxes.json", "--model", model, "--format", "json")
    result = run("photos", "--out", out, *arguments)
    assert isinstance(result.exception, UserError)
    assert str(result.exception).startswith(f"{out}: cannot be written to (No space left on device)")
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    result = run("photos", "--out", out, *arguments)
    assert result.exit_code == 0
    assert "2 input(s) were finished before" in result.stderr
    assert len(images_of(out)) == 2


def test_file_names_do_not_collide(tmp_path, photos, model):
    for name in ("x/y.jpg", "x_y.jpg", "x/y.JPG", "x/y.jpeg", "x/y.jpg.png", "x/y_0.jpg"):
        add_photo(photos / name)
    out = tmp_path / "out"
    result = run("photos", "photos/x", "--out", out, "--model", model, "--format", "json,overlay")
    assert result.exit_code == 0, result.output
    assert len(images_of(out)) == 8
    assert len([name for name in files_of(out) if name.endswith("_overlay.jpg")]) == 8


def test_a_photo_that_is_too_large_for_jpeg_has_a_png(tmp_path, photos, model):
    Image.new("RGB", (65_501, 30)).save(photos / "wide.png")
    (tmp_path / "boxes.json").write_text(json.dumps({"photos/wide.png": [[10, 0, 40, 29]]}))
    arguments = ("photos/wide.png", "--boxes", "boxes.json", "--model", model, "--format", "json,overlay")
    result = run(*arguments, "--out", tmp_path / "out")
    assert result.exit_code == 0, result.output
    with Image.open(tmp_path / "out" / "photos" / "wide.png_overlay.png") as picture:
        assert picture.size == (65_501, 30)


def test_names_that_are_not_utf8_or_look_like_markup(tmp_path, photos, model):
    odd = os.fsdecode(b"photos/caf\xe9.jpg")
    add_photo(tmp_path / odd)
    add_photo(photos / "x[/b].jpg")
    add_photo(photos / "line\nbreak [red]:smile:.jpg")
    bad = tmp_path / os.fsdecode(b"photos/bad\xff[/].jpg")
    bad.parent.mkdir()
    bad.write_bytes(b"no image")
    out = tmp_path / "out"
    result = run("photos", "--out", out, "--model", model, "--format", "json,csv,overlay")
    assert isinstance(result.exception, UserError)
    assert "skipped: photos/bad\\xff[/].jpg: not an image that can be read" in result.stderr
    assert "photos/line\\nbreak [red]:smile:.jpg" in result.stderr
    assert set(images_of(out)) >= {"photos/caf\\xe9.jpg", "photos/x[/b].jpg", "photos/line\nbreak [red]:smile:.jpg"}
    (out / "predictions.csv").read_bytes().decode("utf-8")
    assert "photos/caf\\xe9.jpg_overlay.jpg" in files_of(out)


def test_every_setting_that_decides_about_faces_repeats_the_inputs(small_net):
    settings = [{}, {"mirror": True}, {"roll": "any"}, {"roll": "upright"}, {"min_confidence": 0.9}]
    predictors = [FacePredictor(small_net, engine="torch", **one) for one in settings]
    keys = {_settings_key(predictor, (0.5, None), "builtin") for predictor in predictors}
    assert len(keys) == len(settings)
    assert _settings_key(predictors[0], (0.5, 20.0), "builtin") not in keys


def test_results_in_the_scanned_folder_are_not_read_again(tmp_path, photos, model):
    arguments = (".", "--out", "photos/out", "--model", model, "--format", "json,overlay,mesh,obj", "--boxes", "b.json")
    (tmp_path / "b.json").write_text(json.dumps({"photos/a.jpg": [BOX]}))
    assert run(*arguments).exit_code == 0
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert "in 2 image(s)" in result.stderr
    assert "2 input(s) were finished before" in result.stderr
    # The overlay of each photo, and the mesh picture and the texture of the face.
    assert ".: 4 file(s) with names of our results" in result.stderr


def test_a_second_run_does_only_what_is_missing(tmp_path, photos, model, calls):
    out = tmp_path / "out"
    arguments = ("photos", "--out", out, "--model", model, "--format", "json,overlay")
    changes = [
        # what changes                                                           predictions that follow
        (lambda: None, 2),
        (lambda: None, 0),
        (lambda: add_photo(photos / "c.jpg"), 1),
        (lambda: add_photo(photos / "a.jpg", seed=1), 1),
        (lambda: (out / "photos/a.jpg_overlay.jpg").unlink(), 1),
        (lambda: (out / "predictions.json").unlink(), 0),
    ]
    for change, expected in changes:
        change()
        calls.clear()
        assert run(*arguments).exit_code == 0
        assert len(calls) == expected
    assert len(images_of(out)) == 3
    for extra, expected in ((["--mirror"], 3), (["--threshold", "0.5"], 3)):
        calls.clear()
        assert run(*arguments, *extra).exit_code == 0
        assert len(calls) == expected
    assert len(images_of(out)) == 3


def test_runs_with_one_out_add_up(tmp_path, photos, model):
    out = tmp_path / "out"
    for name, tables in (("photos/a.jpg", "json,csv"), ("photos/more", "json")):
        assert run(name, "--out", out, "--model", model, "--format", tables).exit_code == 0
    assert list(images_of(out)) == ["photos/a.jpg", "photos/more/b.png"]
    # A table that the last run was not asked for stays as it is.
    assert "photos/more/b.png" not in (out / "predictions.csv").read_text()


BAD_BOXES = ["none", 5, [[1, 2]], [[0, 0, None, 4]], {"x": 1}, [[500, 500, 600, 600]], [[9, 9, 1, 1]], [[1, 2], [3]]]


@pytest.mark.parametrize("boxes", BAD_BOXES, ids=str)
def test_bad_boxes_name_their_file_and_leave_the_others(tmp_path, photos, model, boxes):
    (tmp_path / "boxes.json").write_text(json.dumps({"photos/a.jpg": boxes, "photos/more/b.png": [BOX]}))
    result = run("photos", "--boxes", "boxes.json", "--model", model, "--out", "out", "--format", "json")
    assert isinstance(result.exception, UserError)
    assert result.stderr.startswith("skipped: photos/a.jpg: box")
    assert len(images_of(tmp_path / "out")["photos/more/b.png"]) == 1


def test_keys_of_boxes_may_be_written_as_the_inputs_were(tmp_path, photos, model):
    (tmp_path / "boxes.json").write_text(json.dumps({"./photos/a.jpg": [BOX]}))
    result = run("./photos/a.jpg", "--boxes", "boxes.json", "--model", model, "--out", "out", "--format", "json")
    assert result.exit_code == 0, result.output
    [image] = json.loads((tmp_path / "out" / "predictions.json").read_text())["images"]
    assert image["name"] == "photos/a.jpg"
    assert len(image["faces"]) == 1


@pytest.mark.parametrize("path_type", [Path, PureWindowsPath])
def test_keys_of_boxes_have_forward_slashes_on_every_system(tmp_path, monkeypatch, path_type):
    monkeypatch.setattr("synergy.cli.predict.PurePath", path_type)
    (tmp_path / "boxes.json").write_text(json.dumps({"faces.tar/a.jpg": [BOX], "./b/c.jpg": [BOX]}))
    sources = [Source("faces.tar", "faces.tar"), Source("b/c.jpg", "b/c.jpg")]
    assert set(_read_boxes(tmp_path / "boxes.json", sources, ALL)) == {"faces.tar/a.jpg", "b/c.jpg"}


def test_boxes_may_begin_with_a_byte_order_mark(tmp_path):
    (tmp_path / "boxes.json").write_text(json.dumps({"a.jpg": [BOX]}), encoding="utf-8-sig")
    assert _read_boxes(tmp_path / "boxes.json", [Source("a.jpg", "a.jpg")], ALL) == {"a.jpg": [BOX]}


def test_null_instead_of_boxes_is_an_error(tmp_path):
    (tmp_path / "boxes.json").write_text('{"a.jpg": null}')
    with pytest.raises(UserError, match=r"boxes\.json: 'a\.jpg' has null instead of a list of boxes; [^\n]+$"):
        _read_boxes(tmp_path / "boxes.json", [Source("a.jpg", "a.jpg")], ALL)


def test_a_key_of_boxes_that_names_no_input_is_an_error(tmp_path, photos, model):
    (tmp_path / "boxes.json").write_text(json.dumps({"a.jpg": [BOX], "photos/a.jpg": [BOX]}))
    result = run("photos", "--boxes", "boxes.json", "--model", model, "--out", "out")
    assert isinstance(result.exception, UserError)
    assert "1 of 2 keys name no input, the first is 'a.jpg'" in str(result.exception)
    assert "'photos/a.jpg'" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_standard_input(tmp_path, model):
    buffer = io.BytesIO()
    Image.new("RGB", (80, 60)).save(buffer, "PNG")
    out = tmp_path / "out"
    result = run("-", "--out", out, "--model", model, input=buffer.getvalue())
    assert result.exit_code == 0, result.output
    assert "no face found in 1: stdin" in result.stderr
    assert images_of(out) == {"stdin": []}


def test_paths_on_standard_input_are_explained(tmp_path, photos, model):
    result = run("-", "--out", "out", "--model", model, input=b"photos/a.jpg\nphotos/more/b.png\n")
    assert result.exit_code != 0
    message = "stdin: not an image that can be read (- is one image; write paths into a .txt file)"
    assert " ".join(result.stderr.split()).startswith(f"skipped: {message}")
    (row,) = csv.DictReader((tmp_path / "out" / "skipped.csv").open())
    assert list(row.values())[:2] == ["stdin", message.removeprefix("stdin: ")]


@pytest.fixture
def clip(tmp_path, monkeypatch):
    """The working folder has `clip.mp4`, 8 grey frames at 10 per second, on which one face is always detected."""
    av = pytest.importorskip("av")
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "clip.mp4"
    rng = np.random.default_rng(0)
    with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for _ in range(8):
            noise = rng.integers(100, 156, (120, 160, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(noise, format="rgb24")))
        container.mux(stream.encode(None))

    def detect(self, image):
        return Detection(np.array([BOX], np.float32), np.array([0.9], np.float32))

    monkeypatch.setattr(CenterFace, "__call__", detect)
    return path


def frames_of(out):
    """The lines of frames in the record."""
    lines = [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()]
    return [line for line in lines if "name" in line]


def test_a_video_becomes_videos_animations_meshes_and_numbers_per_frame(tmp_path, model, clip):
    out = tmp_path / "out"
    result = run("clip.mp4", "--out", out, "--model", model, "--format", ",".join(RESULT_FORMATS))
    assert result.exit_code == 0, result.output
    assert list(images_of(out)) == [f"clip.mp4#{i:06d}" for i in range(8)]
    frames = frames_of(out)
    assert [frame["seconds"] for frame in frames] == [i / 10 for i in range(8)]
    assert [[face["track_id"] for face in frame["faces"]] for frame in frames] == [[1]] * 8
    with (out / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["seconds"], row["track_id"]) for row in rows] == [(str(i / 10), "1") for i in range(8)]
    written = files_of(out)
    for kind in PICTURE_FORMATS:
        with VideoReader(out / f"clip.mp4_{kind}.mp4") as video:
            assert [frame.image.shape for frame in video] == [(120, 160, 3)] * 8
    assert "clip.mp4_1.glb" in written
    for kind in ("pts", "obj", "ply", "stl", "npz"):
        assert {f"clip.mp4_frames/clip.mp4_{i:06d}_1.{kind}" for i in range(8)} <= written
    again = run("clip.mp4", "--out", out, "--model", model, "--format", "json")
    assert "1 input(s) were finished before" in again.stderr


def test_a_truncated_video_keeps_what_was_read_and_says_how_much(tmp_path, model, clip):
    data = clip.read_bytes()
    clip.write_bytes(data[: len(data) * 6 // 10])
    out = tmp_path / "out"
    result = run("clip.mp4", "--out", out, "--model", model, "--format", "json,overlay")
    assert isinstance(result.exception, UserError)
    assert "1 of 1 inputs could be read in part only" in str(result.exception)
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("incomplete:")]
    assert re.fullmatch(r"incomplete: clip.mp4: cut off or damaged, 0\.\d\d of 0.80 s could be read", line)
    assert 1 < len(images_of(out)) < 8
    with VideoReader(out / "clip.mp4_overlay.mp4") as video:
        assert len(list(video)) == len(images_of(out))
    again = run("clip.mp4", "--out", out, "--model", model, "--format", "json,overlay")
    assert str(again.exception) == str(result.exception)
    assert line in again.stderr.splitlines()
    assert "1 input(s) were finished before" in again.stderr


def test_sound_that_is_left_out_is_said(model, clip, monkeypatch):
    monkeypatch.setattr(VideoWriter, "problem", property(lambda _: "no sound", lambda *_: None), raising=False)
    result = run("clip.mp4", "--model", model, "--format", "overlay")
    assert "incomplete: clip.mp4: no sound" in result.stderr.splitlines()
    assert str(result.exception) == "1 of 1 inputs could be read in part only; those parts are kept"


def test_a_video_that_cannot_be_read_leaves_the_others(tmp_path, model, clip):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    result = run("bad.mp4", "clip.mp4", "--out", "out", "--model", model, "--format", "json")
    assert isinstance(result.exception, UserError)
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("skipped:")]
    assert line.startswith("skipped: bad.mp4: cannot be read as a video (")
    assert len(images_of(tmp_path / "out")) == 8


def test_an_animated_image_is_read_in_part_and_says_so(tmp_path, model, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pictures = [Image.new("RGB", (60, 40), (40 * i, 0, 0)) for i in range(5)]
    pictures[0].save("a.gif", save_all=True, append_images=pictures[1:])
    pictures[0].save("b.gif")
    result = run("a.gif", "b.gif", "--out", "out", "--model", model, "--format", "json")
    assert result.exit_code == 0, result.output
    lines = [line for line in result.stderr.splitlines() if "animation" in line]
    assert lines == ["incomplete: a.gif: an animation, only the first of its 5 pictures is used"]


class Camera:
    """A camera of OpenCV's interface that gives a few grey pictures."""

    def __init__(self, n):
        self.left = n

    def isOpened(self):  # noqa: N802
        return self.left > 0

    def read(self):
        self.left -= 1
        return self.left >= 0, np.full((120, 160, 3), 128, np.uint8)

    def release(self):
        pass


@pytest.mark.parametrize(("display", "framework"), [(False, "QT"), (True, "")], ids=["no display", "headless OpenCV"])
def test_a_camera_without_windows_gives_lines_of_json(model, clip, monkeypatch, display, framework):
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: Camera(4))
    monkeypatch.setattr("synergy.cli.predict_video._has_display", lambda: display)
    monkeypatch.setattr(cv2, "currentUIFramework", lambda: framework)
    result = run("--camera", 0, "--model", model)
    assert str(result.exception) == "--camera 0: the camera gave no more pictures after 4 frames"
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert [[face["track_id"] for face in line["faces"]] for line in lines] == [[1]] * 4
    assert sorted(line["seconds"] for line in lines) == [line["seconds"] for line in lines]


def test_the_times_of_camera_frames_increase_where_the_clock_is_coarse(monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: Camera(4))
    monkeypatch.setattr(time, "monotonic", lambda: 5.0)
    seconds = [seconds for _, seconds in itertools.islice(_camera_frames(0), 4)]
    assert sorted(set(seconds)) == seconds


def test_a_camera_with_a_display_is_shown_until_a_key_is_pressed(model, clip, monkeypatch):
    shown = []
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: Camera(9))
    monkeypatch.setattr(cv2, "imshow", lambda _, image: shown.append(image))
    monkeypatch.setattr(cv2, "waitKey", lambda _: ord("q") if len(shown) == 3 else -1)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1.0)
    monkeypatch.setattr("synergy.cli.predict_video._has_display", lambda: True)
    monkeypatch.setattr(cv2, "currentUIFramework", lambda: "QT")
    result = run("--camera", 0, "--model", model)
    assert result.exit_code == 0, result.output
    assert [image.shape for image in shown] == [(120, 160, 3)] * 3
    assert not (shown[0] == 128).all()


def test_an_absent_camera_is_one_line(model, monkeypatch):
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: Camera(0))
    result = run("--camera", 3, "--model", model)
    assert str(result.exception) == "--camera 3: no such camera, or another program uses it"


@pytest.fixture
def shard(tmp_path, photos):
    """An archive `shard.tar` of four photos of noise next to `photos`, and a boxes file for them."""
    with tarfile.open(tmp_path / "shard.tar", "w") as archive:
        for i in range(4):
            add_photo(tmp_path / "photo.jpg", seed=i)
            archive.add(tmp_path / "photo.jpg", f"{i}.jpg")
    (tmp_path / "tar.json").write_text(json.dumps({f"shard.tar/{i}.jpg": [BOX] for i in range(4)}))
    return tmp_path / "shard.tar"


def test_images_in_archives_are_inputs_like_files(tmp_path, shard, model):
    arguments = ("shard.tar", "photos", "--model", model, "--boxes", "tar.json", "--format", "json,overlay")
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    out = tmp_path / "out"
    images = images_of(out)
    assert list(images) == ["photos/a.jpg", "photos/more/b.png", *(f"shard.tar/{i}.jpg" for i in range(4))]
    assert all(len(images[f"shard.tar/{i}.jpg"]) == 1 for i in range(4))
    assert (out / "shard.tar" / "3.jpg_overlay.jpg").exists()
    # A copy of the archive has another time of change and the same images.
    os.utime(shard, (1, 1))
    again = run(*arguments)
    assert "6 input(s) were finished before" in again.stderr


def test_an_archive_that_is_cut_off_keeps_what_was_read(tmp_path, shard, model):
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) * 6 // 10])
    arguments = ("shard.tar", "photos/a.jpg", "--model", model, "--boxes", "tar.json", "--format", "json")
    result = run(*arguments)
    assert isinstance(result.exception, UserError)
    assert str(result.exception) == "1 of 3 inputs could be read in part only; those parts are kept"
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("incomplete:")]
    assert line == "incomplete: shard.tar: cut off or damaged after 2 images (unexpected end of data)"
    assert list(images_of(tmp_path / "out")) == ["photos/a.jpg", "shard.tar/0.jpg", "shard.tar/1.jpg"]
    assert skipped_of(tmp_path / "out") == {"shard.tar": "cut off or damaged after 2 images (unexpected end of data)"}
    shard.write_bytes(whole)
    again = run(*arguments)
    assert again.exit_code == 0, again.output
    assert "3 input(s) were finished before" in again.stderr
    assert len(images_of(tmp_path / "out")) == 5
    assert skipped_of(tmp_path / "out") == {}


def skipped_of(out):
    """Name to reason of skipped.csv."""
    if not (out / "skipped.csv").exists():
        return {}
    with (out / "skipped.csv").open(newline="") as file:
        return {row["name"]: row["reason"] for row in csv.DictReader(file)}


def test_broken_files_are_listed_until_they_are_fixed(tmp_path, photos, model):
    for i in range(12):
        (photos / f"broken{i:02}.jpg").write_bytes(b"no image")
    result = run("photos", "--model", model, "--format", "json")
    assert str(result.exception) == "12 of 14 inputs could not be used, see out/skipped.csv"
    assert skipped_of(tmp_path / "out") == {
        f"photos/broken{i:02}.jpg": "not an image that can be read" for i in range(12)
    }
    add_photo(photos / "broken03.jpg")
    (photos / "broken04.jpg").unlink()
    (photos / "list.txt").write_text("photos/broken03.jpg\nphotos/broken04.jpg\n")
    assert str(run("photos/list.txt", "--model", model).exception).startswith("1 of 2 inputs")
    reasons = skipped_of(tmp_path / "out")
    assert len(reasons) == 11
    assert reasons["photos/broken04.jpg"] == "No such file or directory"


def test_folders_that_cannot_be_read_are_named_and_not_in_the_list_of_inputs(tmp_path, photos, model, monkeypatch):
    def walk(top, onerror):
        onerror(PermissionError(13, "Permission denied", "photos/secret"))
        return original(top, onerror=onerror)

    original = os.walk
    monkeypatch.setattr(os, "walk", walk)
    result = run("photos", "--model", model, "--format", "json")
    assert "skipped: photos/secret: cannot be read (Permission denied)" in result.stderr
    assert str(result.exception) == "1 folder(s) or file(s) were left out, see the lines above"
    assert not (tmp_path / "out" / "skipped.csv").exists()
    assert len(images_of(tmp_path / "out")) == 2


def test_shards_together_are_the_whole(tmp_path, shard, model):
    for i in range(6):
        add_photo(tmp_path / "photos" / f"{i}.jpg", seed=i)
    arguments = ("photos", "shard.tar", "--model", model, "--format", "json", "--boxes", "tar.json")
    assert run(*arguments, "--out", "whole").exit_code == 0
    whole = images_of(tmp_path / "whole")
    found = []
    for i in (1, 2):
        assert run(*arguments, "--shard", f"{i}/2").exit_code == 0
        found.append(images_of(tmp_path / "out"))
    assert found[1] == whole
    assert len(whole) == 12
    assert 0 < len(found[0]) < 12
    assert {name.startswith("shard.tar/") for name in found[0]} == {True, False}


def test_a_table_in_parquet(tmp_path, photos, model):
    pq = pytest.importorskip("pyarrow.parquet")
    assert run("photos", "--boxes", "boxes.json", "--model", model, "--format", "parquet").exit_code == 0
    table = pq.read_table(tmp_path / "out" / "predictions.parquet").to_pylist()
    assert [(row["image"], row["face"]) for row in table] == [
        ("photos/a.jpg", 0),
        ("photos/more/b.png", 0),
        ("photos/more/b.png", 1),
    ]
    lines = [json.loads(line) for line in (tmp_path / "out" / "predictions.jsonl").read_text().splitlines()]
    faces = [face for line in sorted(lines, key=lambda line: line["name"]) for face in line["faces"]]
    for row, face in zip(table, faces, strict=True):
        np.testing.assert_allclose(row["landmarks68"], face["landmarks68"], rtol=1e-6)
    assert files_of(tmp_path / "out") == {".predictions.lock", "predictions.jsonl", "predictions.parquet"}


def test_parquet_without_pyarrow_is_one_line(tmp_path, photos, model, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result = run("photos", "--model", model, "--format", "parquet")
    assert str(result.exception) == "--format parquet needs pyarrow; install the extra 'scale' (docs/install.md)"
    assert not (tmp_path / "out").exists()


MISTAKES = [
    # arguments                                   what is said
    (["gone.jpg"], "gone.jpg: no such file or folder"),
    ([], "give files or folders, or --camera"),
    (["{photo}", "--camera", "0"], "give files or folders, or --camera, not both"),
    (["{empty}"], "no images or videos in this folder"),
    (["{photo}", "--format", "json,fbx"], "unknown format fbx"),
    (["{photo}", "--format", ""], "--format: give at least one format, of json, csv, "),
    (["{photo}", "--format", " , "], "give at least one format"),
    (["{photo}", "--model", "nothing"], "no weights 'nothing'"),
    (["{photo}", "--boxes", "gone.json"], "cannot be read as JSON"),
    (["{photo}", "--out", "{photo}"], "cannot be written to (it is a file"),
    (["{photo}", "--out", "{photo}/out"], "cannot be written to (Not a directory)"),
    (["{photo}", "--out", "-"], "-: results are files, which cannot go to standard output; give a folder"),
    (["{photo}", "--device", "nonsense"], "device 'nonsense' cannot be used"),
    (["x" * 300], "cannot be read (File name too long)"),
    (["{photo}", "--shard", "3/2"], "--shard 3/2: expected i/n with i from 1 to n, for example 1/4"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes_are_one_line(tmp_path, photos, model, arguments, message):
    (tmp_path / "empty").mkdir()
    names = {"empty": tmp_path / "empty", "photo": photos / "a.jpg"}
    extra = [] if "--model" in arguments else ["--model", model]
    extra += [] if "--out" in arguments else ["--out", tmp_path / "out"]
    result = run(*(argument.format(**names) for argument in arguments), *extra)
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)


@pytest.fixture
def command(tmp_path, photos, model):
    """A command line that takes a while, and the names of its 62 images."""
    for i in range(60):
        add_photo(photos / f"{i:02}.jpg", seed=i)
    names = sorted(str(path.relative_to(tmp_path)) for path in photos.rglob("*.*"))
    (tmp_path / "boxes.json").write_text(json.dumps({name: [BOX] for name in names}))
    arguments = ["photos", "--model", model, "--format", "json,csv,overlay,ply", "--boxes", "boxes.json"]
    return arguments, names


def start(arguments):
    """`synergy predict` in a process of its own."""
    line = [sys.executable, "-c", "from synergy.cli import main; main()", "predict", *arguments]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])}
    # A test run that a shell started in the background ignores SIGINT, and so would its child processes.
    receive_sigint = partial(signal.signal, signal.SIGINT, signal.SIG_DFL)
    return subprocess.Popen(line, env=environment, stderr=subprocess.PIPE, text=True, preexec_fn=receive_sigint)


def stop(process, out, how):
    """Send a signal once 10 more images are finished; returns how many were finished in the end."""
    record = out / "predictions.jsonl"
    target = 10 + (record.read_bytes().count(b"\n") if record.exists() else 0)
    while not record.exists() or record.read_bytes().count(b"\n") < target:
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.005)
    process.send_signal(how)
    process.communicate()
    return record.read_bytes().count(b"\n")


@pytest.mark.slow
def test_a_run_that_was_killed_is_finished_by_two_others(tmp_path, command):
    arguments, names = command
    out = tmp_path / "out"
    process = start(arguments)
    n_before = stop(process, out, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    assert n_before < len(names)
    others = [start(arguments) for _ in range(2)]
    for process in others:
        _, errors = process.communicate()
        assert process.returncode == 0, errors
        assert "62 face(s) in 62 image(s)" in errors
    assert list(images_of(out)) == names
    assert (out / "predictions.jsonl").read_bytes().count(b"\n") == 62
    assert (out / "predictions.csv").read_text().count("\n") == 63
    pictures = {f"{name}{ending}" for name in names for ending in ("_overlay.jpg", "_0.ply")}
    assert files_of(out) == pictures | {f"predictions.{end}" for end in ("json", "jsonl", "csv")} | {
        ".predictions.lock"
    }


@pytest.mark.slow
def test_workers_give_the_results_of_one_process(tmp_path, command):
    arguments, names = command
    (tmp_path / "photos" / "07.jpg").write_bytes(b"no image")
    outs = {}
    for workers in ("0", "2"):
        out = tmp_path / f"out{workers}"
        process = start([*arguments, "--workers", workers, "--out", str(out)])
        _, errors = process.communicate()
        assert process.returncode == 2
        assert "1 of 62 inputs could not be used" in errors
        outs[workers] = out
    assert files_of(outs["0"]) == files_of(outs["2"])
    assert skipped_of(outs["2"]) == {"photos/07.jpg": "not an image that can be read"}
    one, two = images_of(outs["0"]), images_of(outs["2"])
    assert list(one) == list(two) == [name for name in names if name != "photos/07.jpg"]
    for name, faces in one.items():
        np.testing.assert_allclose(faces[0]["landmarks68"], two[name][0]["landmarks68"], atol=2e-3)


@pytest.mark.slow
def test_a_run_with_workers_that_was_killed_continues_and_leaves_no_process(tmp_path, command):
    arguments, names = command
    arguments += ["--workers", "2"]
    out = tmp_path / "out"
    for how in (signal.SIGKILL, signal.SIGTERM):
        process = start(arguments)
        n_before = stop(process, out, how)
        assert n_before < len(names)
        # Worker processes hold the pipe of standard error open, so `stop` waited until they had ended too.
    result = start(arguments)
    _, errors = result.communicate()
    assert result.returncode == 0, errors
    assert list(images_of(out)) == names
    assert (out / "predictions.jsonl").read_bytes().count(b"\n") == 62


@pytest.mark.slow
@pytest.mark.parametrize(("how", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_was_asked_to_stop_writes_its_tables(tmp_path, command, how, status):
    arguments, names = command
    process = start(arguments)
    n_before = stop(process, tmp_path / "out", how)
    assert process.returncode == status
    assert len(images_of(tmp_path / "out")) == n_before < len(names)
    assert not list((tmp_path / "out").glob(".partial*"))
    result = run(*arguments)
    assert f"{n_before} input(s) were finished before" in result.stderr
    assert list(images_of(tmp_path / "out")) == names
