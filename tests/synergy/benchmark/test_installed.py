import io
import os
import sys
import zipfile
from pathlib import Path

import pytest
import torch

from synergy.benchmark.installed import (
    FACE_ALIGNMENT,
    FACE_ALIGNMENT_2D,
    FACE_ALIGNMENT_3D,
    face_alignment_candidates,
    mediapipe_opener,
)
from synergy.benchmark.timing import measure_in_turns
from synergy.errors import UserError
from tests.stand_ins import face_alignment_modules, mediapipe_module


@pytest.fixture
def model(tmp_path):
    file = tmp_path / "face.task"
    file.write_bytes(b"model")
    return file


def test_without_face_alignment_there_are_no_candidates(monkeypatch):
    monkeypatch.setitem(sys.modules, "face_alignment", None)
    assert face_alignment_candidates() == []


def test_face_alignment_runs_on_the_crop_and_its_mirror_image(monkeypatch):
    inputs = []
    for name, module in face_alignment_modules(inputs).items():
        monkeypatch.setitem(sys.modules, name, module)
    calls = {one.network: one.open(1, torch.get_num_threads()) for one in face_alignment_candidates()}
    heat_maps = calls[FACE_ALIGNMENT_2D]()
    (_, crop), (_, mirrored) = inputs
    assert crop.shape == (1, 3, 256, 256)
    assert torch.equal(mirrored, crop.flip(-1))
    # The stand-in answers with its input at every fourth pixel, from the left. The mirrored one starts at the right.
    assert torch.equal(heat_maps, (crop[:, :1, ::4, ::4] + crop[:, :1, ::4, 3::4]).repeat(1, 68, 1, 1))
    inputs.clear()
    calls[FACE_ALIGNMENT_3D]()
    assert [name for name, _ in inputs] == ["FAN", "FAN", "ResNetDepth"]
    assert inputs[2][1].shape == (1, 3 + 68, 256, 256)


def test_face_alignment_is_measured_at_batch_1(monkeypatch):
    monkeypatch.setitem(sys.modules, "face_alignment", face_alignment_modules()["face_alignment"])
    assert {one.network: one.largest_batch for one in face_alignment_candidates()} == dict.fromkeys(FACE_ALIGNMENT, 1)


def test_mediapipe_lives_for_one_turn(monkeypatch, model):
    events = []
    monkeypatch.setitem(sys.modules, "mediapipe", mediapipe_module(events))
    opener = mediapipe_opener(model)
    assert events == ["open", "detect", "close"]
    events.clear()
    measure_in_turns({"ours": lambda: lambda: events.append("ours"), "mediapipe": opener}, 2, 0, min_calls=1)
    assert events == (["ours"] * 3 + ["open"] + ["detect"] * 3 + ["close"]) * 2


MISTAKES = [
    (None, "--mediapipe: MediaPipe is not installed"),
    (mediapipe_module(error=RuntimeError("Unable to open zip archive.\nat 0x1")), r"FaceLandmarker \(Unable to .*\.\)"),
    (mediapipe_module(error=ValueError("no file content")), r"face\.task: MediaPipe cannot use it"),
    (mediapipe_module(error=FileNotFoundError("No file with name: a.tflite")), r"face\.task: MediaPipe cannot use it"),
    (mediapipe_module(faces=0), r"face\.task: MediaPipe finds no face"),
]


@pytest.mark.parametrize(("module", "message"), MISTAKES)
def test_mistakes_are_one_line(monkeypatch, model, module, message):
    monkeypatch.setitem(sys.modules, "mediapipe", module)
    with pytest.raises(UserError, match=message) as raised:
        mediapipe_opener(model)
    assert "\n" not in str(raised.value)


def test_a_missing_model_is_one_line(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "mediapipe", mediapipe_module())
    with pytest.raises(UserError, match=r"gone\.task: cannot be read \(No such file or directory\)"):
        mediapipe_opener(tmp_path / "gone.task")


@pytest.mark.slow
def test_the_networks_of_face_alignment():
    pytest.importorskip("face_alignment", reason="face-alignment is not installed")
    calls = {one.network: one.open(1, torch.get_num_threads()) for one in face_alignment_candidates()}
    heat_maps = calls[FACE_ALIGNMENT_2D]()
    assert heat_maps.shape == (1, 68, 64, 64)
    assert heat_maps.isfinite().all()
    again, depths = calls[FACE_ALIGNMENT_3D]()
    assert torch.equal(again, heat_maps)
    assert depths.shape == (1, 68)
    assert depths.isfinite().all()


@pytest.mark.slow
def test_a_file_that_is_no_model_of_mediapipe(model):
    pytest.importorskip("mediapipe", reason="MediaPipe is not installed")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("face_detector.tflite", b"model")
    for content in (b"", b"model", archive.getvalue()):
        model.write_bytes(content)
        with pytest.raises(UserError, match="MediaPipe cannot use it"):
            mediapipe_opener(model)


@pytest.mark.slow
def test_mediapipe_finds_the_face():
    pytest.importorskip("mediapipe", reason="MediaPipe is not installed")
    if "SYNERGY_MEDIAPIPE_MODEL" not in os.environ:
        pytest.skip("SYNERGY_MEDIAPIPE_MODEL does not name MediaPipe's face_landmarker.task")
    [landmarks] = mediapipe_opener(Path(os.environ["SYNERGY_MEDIAPIPE_MODEL"]))()()
    assert len(landmarks) == 478
