"""The network of the detector in both engines."""

import builtins
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import files

import numpy as np
import pytest

from eval.detection import crowds, rendered_faces
from synergy.detect import CenterFace
from synergy.detect.networks import centerface_network
from synergy.errors import UserError
from synergy.images import read_image


@pytest.fixture(scope="module")
def pictures():
    photo = read_image(str(files("skimage") / "data" / "astronaut.png"))
    return [photo, photo[::2, ::2].copy(), *(crowd.image for crowd in crowds(rendered_faces(40, seed=0), seed=0))]


@pytest.fixture(scope="module")
def detectors():
    pytest.importorskip("onnxruntime")
    return [CenterFace(engine=name, min_face=16) for name in ("onnxruntime", "opencv")]


def test_both_engines_find_the_same_boxes(detectors, pictures):
    total = 0
    for picture in pictures:
        ours, theirs = (detector(picture) for detector in detectors)
        np.testing.assert_allclose(ours.boxes, theirs.boxes, atol=1e-2)
        np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-4)
        total += len(ours.boxes)
    assert total > 20


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (224, 160)])
def test_both_networks_give_the_same_maps(size):
    pytest.importorskip("onnxruntime")
    image = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    for ours, theirs in zip(*(centerface_network(name)(image) for name in ("onnxruntime", "opencv")), strict=True):
        assert ours.shape[1:] == (size[0] // 4, size[1] // 4)
        np.testing.assert_allclose(ours, theirs, atol=1e-3)


def test_threads_share_a_network(detectors, pictures):
    for detector in detectors:
        serial = [detector(picture) for picture in pictures]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(detector, pictures * 2))
        for one, expected in zip(together, serial * 2, strict=True):
            np.testing.assert_array_equal(one.boxes, expected.boxes)


def test_without_onnxruntime_opencv_runs(monkeypatch):
    monkeypatch.setattr("synergy.extras.find_spec", lambda name: None)
    assert centerface_network().name == "opencv"
    original = builtins.__import__

    def refuse(name, *arguments, **keywords):
        if name == "onnxruntime":
            raise ModuleNotFoundError("no module", name=name)
        return original(name, *arguments, **keywords)

    monkeypatch.delitem(sys.modules, "synergy.engines.onnx_engine", raising=False)
    monkeypatch.setattr(builtins, "__import__", refuse)
    message = r"onnxruntime needs onnxruntime; install the extra 'onnx' \(docs/install\.md\)"
    with pytest.raises(UserError, match=message):
        centerface_network("onnxruntime")
