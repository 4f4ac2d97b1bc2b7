import numpy as np
import pytest

from synergy.draw.canvas import paint_text


@pytest.mark.parametrize("corner", [(5, 30), (-50, -50), (1000, 1000), (150, 12), (60, 59)])
def test_text_is_moved_into_the_image(corner):
    image = np.full((60, 160, 3), 128, np.uint8)
    paint_text(image, "azimuth +12", np.array(corner, float), 10)
    expected = np.full((60, 160, 3), 128, np.uint8)
    paint_text(expected, "azimuth +12", np.array([20.0, 30.0]), 10)
    assert (image == 255).sum() == (expected == 255).sum() > 100
    # A rim that stands out from any background.
    assert (image < 60).all(-1).sum() > 100


def test_text_in_a_tiny_image_is_no_error():
    image = np.zeros((4, 4, 3), np.uint8)
    paint_text(image, "azimuth", np.array([1.0, 2.0]), 10)
