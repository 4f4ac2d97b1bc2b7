import cv2
import numpy as np
import pytest

from synergy.data.image import decode_image


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_images_become_rgb(channels: int) -> None:
    image = np.full((4, 6, channels), 200, np.uint8)
    if channels > 1:
        image[..., 2] = 10  # OpenCV's red
    decoded = decode_image(cv2.imencode(".png", image)[1].tobytes())
    assert decoded.shape == (4, 6, 3)
    assert decoded.dtype == np.uint8
    assert decoded[0, 0].tolist() == ([200, 200, 200] if channels == 1 else [10, 200, 200])


@pytest.mark.parametrize(("content", "message"), [(b"", "empty"), (b"not an image", "not a readable image")])
def test_what_is_no_image_is_one_line(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        decode_image(content)
