import io

import numpy as np
import pytest
from PIL import Image

from synergy.errors import UserError
from synergy.images import check_image, read_image, write_image

RGB = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def test_png_round_trip_is_exact(tmp_path):
    write_image(tmp_path / "a.png", RGB)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), RGB)


def test_grey_and_palette_become_three_channels():
    grey = Image.fromarray(RGB[..., 0])
    np.testing.assert_array_equal(read_image(encoded(grey)), np.repeat(RGB[..., :1], 3, -1))
    assert read_image(encoded(Image.fromarray(RGB).convert("P"))).shape == RGB.shape


def test_sixteen_bit_keeps_its_top_byte():
    wide = np.arange(0, 65536, 65536 // 600, dtype=np.uint16)[:600].reshape(20, 30)
    image = read_image(encoded(Image.fromarray(wide)))
    np.testing.assert_allclose(image[..., 0], wide / 257, atol=0.5)


def test_cmyk_keeps_its_colours():
    image = read_image(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "TIFF"))
    assert image[0, 0, 0] > 200
    assert image[0, 0, 1:].max() < 60


def test_transparent_pixels_show_white():
    rgba = np.dstack([RGB, np.full(RGB.shape[:2], 255, np.uint8)])
    rgba[:10, :, 3] = 0
    image = read_image(encoded(Image.fromarray(rgba)))
    assert (image[:10] == 255).all()
    np.testing.assert_array_equal(image[10:], RGB[10:])


@pytest.mark.parametrize(
    ("orientation", "undo"),
    [(1, lambda a: a), (3, lambda a: a[::-1, ::-1]), (6, lambda a: np.rot90(a, -1)), (8, lambda a: np.rot90(a))],
)
def test_exif_orientation_is_applied(orientation, undo):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(read_image(encoded(Image.fromarray(RGB), exif=exif)), undo(RGB))


@pytest.mark.parametrize("cut", [0, 10, 200, -100])
def test_truncated_files_are_one_line(tmp_path, cut):
    path = tmp_path / "cut.png"
    path.write_bytes(encoded(Image.fromarray(RGB))[:cut])
    with pytest.raises(UserError, match=r"cut\.png") as caught:
        read_image(path)
    assert "\n" not in str(caught.value)


def test_other_unreadable_files(tmp_path):
    (tmp_path / "text.jpg").write_text("not an image")
    for path, reason in [
        (tmp_path / "text.jpg", "not an image"),
        (tmp_path / "gone.jpg", "no such file"),
        (tmp_path, "cannot be read"),
    ]:
        with pytest.raises(UserError, match=reason):
            read_image(path)


def test_too_many_pixels_are_refused_before_decoding(monkeypatch):
    monkeypatch.setattr("synergy.images.MAX_PIXELS", 500)
    with pytest.raises(UserError, match="30x20 pixels"):
        read_image(encoded(Image.fromarray(RGB)))


NOT_IMAGES = [[1, 2], RGB[..., 0], RGB.astype(float), RGB[:0], np.zeros((5, 5, 4), np.uint8)]


@pytest.mark.parametrize("image", NOT_IMAGES, ids=["list", "grey", "float", "empty", "alpha"])
def test_arrays_of_another_kind_are_refused(image):
    with pytest.raises(ValueError, match="an image is"):
        check_image(image)
