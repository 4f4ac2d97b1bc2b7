import io

import cv2
import numpy as np
import pytest
from PIL import Image

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


def test_too_many_pixels_are_refused_before_decoding() -> None:
    content = cv2.imencode(".png", np.zeros((4, 6), np.uint8))[1].tobytes()
    assert decode_image(content, max_pixels=24).shape == (4, 6, 3)
    with pytest.raises(ValueError, match="6 x 4 pixels are more than the limit"):
        decode_image(content, max_pixels=23)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "LA", "1"])
def test_png_and_bmp_are_decoded_as_opencv_does(mode: str) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    image = Image.fromarray(colours).convert(mode)
    if mode.endswith("A"):
        image.putalpha(Image.fromarray(colours[..., 0]))
    for kind in ("PNG", *(["BMP"] if mode in ("RGB", "L", "P", "1") else [])):
        file = io.BytesIO()
        image.save(file, kind)
        expected = cv2.imdecode(np.frombuffer(file.getvalue(), np.uint8), cv2.IMREAD_COLOR)[..., ::-1]
        np.testing.assert_array_equal(decode_image(file.getvalue()), expected)


def test_a_palette_with_a_transparent_colour_keeps_its_colours() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    file = io.BytesIO()
    image.save(file, "PNG", transparency=1)
    assert decode_image(file.getvalue())[0, 0].tolist() == [10, 200, 30]
