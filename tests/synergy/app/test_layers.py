import numpy as np
import pytest

from synergy.app.layers import layer_names, transparent_layer
from synergy.app.words import describe_pose
from synergy.demo import random_face
from synergy.draw import draw_layer


@pytest.fixture(scope="module")
def face():
    return random_face((10, 25, 5), seed=3)


@pytest.mark.parametrize("layer", layer_names(True))
def test_a_transparent_layer_over_a_photo_is_the_drawing(layer, face):
    photo = np.random.default_rng(0).integers(0, 256, (256, 256, 3), np.uint8)
    drawing = transparent_layer([face], layer, 256, 256).astype(np.float32)
    alpha = drawing[..., 3:] / 255
    assert 0.001 < (alpha > 0).mean() < 0.6
    composed = photo * (1 - alpha) + drawing[..., :3] * alpha
    expected = draw_layer(photo, [face], layer).astype(np.float32)
    # The page's rounding differs from that of the drawing, most at faint pixels.
    error = np.abs(composed - expected)
    assert error.max() < 4
    assert error[alpha[..., 0] > 0].mean() < 1


def test_surfaces_are_below_lines():
    names = layer_names(True)
    assert set(names) > {"head", "mesh", "depth"}
    assert "overlay" not in names
    assert names.index("head") < names.index("mesh") < names.index("wireframe") < names.index("points")
    assert layer_names(False) == [name for name in names if name in ("points", "contours", "pose")]


@pytest.mark.parametrize(
    ("angles", "words"),
    [
        ((0, 0, 0), "Looks straight at the camera."),
        ((0, 4, 4), "Looks straight at the camera."),
        ((0, -8, 0), "Looks slightly to your right."),
        ((-30, 0, 0), "Looks 30 degrees down."),
        ((0, 90, 0), "Looks 90 degrees to your left."),
        ((0, 0, 90), "Looks straight at the camera. The head is tilted 90 degrees clockwise."),
        ((0, 0, 8), "Looks straight at the camera. The head is tilted slightly clockwise."),
    ],
)
def test_the_pose_in_words(angles, words):
    assert describe_pose(random_face(angles, seed=0)) == words
