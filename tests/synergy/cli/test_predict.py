import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from bfm_assets import open_face
from synergy.cli import app
from synergy.errors import UserError
from synergy.weights import save_weights

BOX = [40, 30, 120, 110]


@pytest.fixture
def model(tmp_path, small_net):
    path = tmp_path / "weights" / "net.safetensors"
    path.parent.mkdir()
    save_weights(small_net, path, {}, open_face())
    return str(path)


@pytest.fixture
def photos(tmp_path):
    """A folder with two photos, one of them in a subfolder, and a boxes file for both."""
    folder = tmp_path / "photos"
    (folder / "more").mkdir(parents=True)
    for name in ("a.jpg", "more/b.png"):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (150, 160, 3), dtype=np.uint8)).save(folder / name)
    (tmp_path / "boxes.json").write_text(json.dumps({"a.jpg": [BOX], "more/b.png": [BOX, BOX]}))
    return folder


def run(*args, **options):
    return CliRunner().invoke(app, [str(arg) for arg in args], **options)


def test_a_folder_with_given_boxes_in_every_format(tmp_path, photos, model):
    out = tmp_path / "out"
    formats = "json,csv,pts,overlay,mesh,obj,ply,glb"
    result = run(
        "predict", photos, "--out", out, "--boxes", tmp_path / "boxes.json", "--model", model, "--format", formats
    )
    assert result.exit_code == 0, result.output
    assert "3 face(s) in 2 image(s)" in result.stderr
    images = json.loads((out / "predictions.json").read_text())["images"]
    assert {image["name"]: len(image["faces"]) for image in images} == {"a.jpg": 1, "more/b.png": 2}
    written = {path.name for path in out.iterdir()}
    for suffix in ("pts", "obj", "ply", "glb"):
        assert {f"a.{suffix}", f"more_b.png_0.{suffix}", f"more_b.png_1.{suffix}"} <= written
    assert {"a_overlay.jpg", "a_mesh.jpg", "more_b.png_overlay.jpg", "predictions.csv"} <= written


def test_a_bad_file_is_named_counted_and_skipped(tmp_path, photos, model):
    (photos / "broken.jpg").write_bytes(b"no image")
    out = tmp_path / "out"
    result = run(
        "predict", photos, "--out", out, "--boxes", tmp_path / "boxes.json", "--model", model, "--format", "json"
    )
    assert isinstance(result.exception, UserError)
    assert "1 of 3 inputs" in str(result.exception)
    assert "broken.jpg" in result.stderr
    assert len(json.loads((out / "predictions.json").read_text())["images"]) == 2


def test_standard_input(tmp_path, model):
    buffer = io.BytesIO()
    Image.new("RGB", (80, 60)).save(buffer, "PNG")
    out = tmp_path / "out"
    result = run("predict", "-", "--out", out, "--model", model, input=buffer.getvalue())
    assert result.exit_code == 0, result.output
    assert "no face found in 1: stdin" in result.stderr
    assert json.loads((out / "predictions.json").read_text())["images"] == [{"name": "stdin", "faces": []}]


def test_a_video_becomes_a_video_and_numbers_per_frame(tmp_path, model):
    path = tmp_path / "clip.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (96, 64))
    for i in range(20):
        writer.write(np.full((64, 96, 3), 10 * i, np.uint8))
    writer.release()
    out = tmp_path / "out"
    result = run("predict", path, "--out", out, "--model", model, "--format", "json,overlay")
    assert result.exit_code == 0, result.output
    names = [image["name"] for image in json.loads((out / "predictions.json").read_text())["images"]]
    assert names == [f"clip.avi#{i:06d}" for i in range(20)]
    capture = cv2.VideoCapture(str(out / "clip_overlay.mp4"))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 20


MISTAKES = [
    # arguments                                   what is said
    (["gone.jpg"], "gone.jpg: no such file or folder"),
    (["{empty}"], "no images or videos in this folder"),
    (["{photo}", "--format", "json,stl"], "unknown format stl"),
    (["{photo}", "--model", "nothing"], "no weights 'nothing'"),
    (["{photo}", "--boxes", "gone.json"], "cannot be read as JSON"),
    (["{photo}", "--device", "nonsense"], "device 'nonsense' cannot be used"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTAKES)
def test_mistakes_are_one_line(tmp_path, photos, model, arguments, message):
    (tmp_path / "empty").mkdir()
    names = {"empty": tmp_path / "empty", "photo": photos / "a.jpg"}
    extra = [] if "--model" in arguments else ["--model", model]
    result = run("predict", *(argument.format(**names) for argument in arguments), "--out", tmp_path / "out", *extra)
    assert isinstance(result.exception, UserError)
    assert message in str(result.exception)
    assert "\n" not in str(result.exception)


def test_a_box_outside_the_image_is_said_and_skipped(tmp_path, photos, model):
    (tmp_path / "boxes.json").write_text(json.dumps({"a.jpg": [[500, 500, 600, 600]]}))
    result = run(
        "predict", photos / "a.jpg", "--boxes", tmp_path / "boxes.json", "--model", model, "--out", tmp_path / "out"
    )
    assert isinstance(result.exception, UserError)
    assert "lies outside the 160x150 image" in result.stderr
