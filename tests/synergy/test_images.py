import io
import struct

import numpy as np
import pytest
from PIL import Image

from synergy.errors import UserError
from synergy.images import as_image, check_image, read_image, write_image

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
    big_endian = Image.frombytes("I;16B", (30, 20), wide.astype(">u2").tobytes())
    np.testing.assert_array_equal(as_image(big_endian), image)


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
    [
        (1, lambda a: a),
        (2, lambda a: a[:, ::-1]),
        (3, lambda a: a[::-1, ::-1]),
        (4, lambda a: a[::-1]),
        (5, lambda a: a.swapaxes(0, 1)),
        (6, lambda a: np.rot90(a, -1)),
        (7, lambda a: a[::-1, ::-1].swapaxes(0, 1)),
        (8, lambda a: np.rot90(a)),
        (9, lambda a: a),
    ],
)
def test_exif_orientation_is_applied(orientation, undo):
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(read_image(encoded(Image.fromarray(RGB), exif=exif)), undo(RGB))


def test_exif_values_that_do_not_suit_their_tags_do_no_harm():
    """The resolution is a positive fraction in EXIF, and the tags of the file state a negative number."""
    orientation = struct.pack("<HHIHH", 0x112, 3, 1, 6, 0)
    resolution = struct.pack("<HHIi", 0x11A, 9, 1, -1)
    exif = b"Exif\0\0II*\0" + struct.pack("<IH", 8, 2) + orientation + resolution + bytes(4)
    data = encoded(Image.fromarray(RGB), exif=exif)
    np.testing.assert_array_equal(read_image(data), np.rot90(RGB, -1))
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(as_image(image), np.rot90(RGB, -1))


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
    monkeypatch.setattr("synergy.images.to_rgb", lambda _: pytest.fail("decoded"))
    content = encoded(Image.fromarray(RGB))
    with pytest.raises(UserError, match=r"big\.png: 30 x 20 pixels are more than the limit max-pixels \(599\)"):
        read_image(content, "big.png", max_pixels=599)
    with pytest.raises(UserError, match=r"image: 30 x 20 pixels"):
        as_image(Image.fromarray(RGB), max_pixels=599)


@pytest.mark.parametrize("pillow", [100, 400, None])
def test_our_limit_counts_and_pillows_limit_is_left_as_it_was(monkeypatch, pillow):
    monkeypatch.setattr("PIL.Image.MAX_IMAGE_PIXELS", pillow)
    content = encoded(Image.fromarray(RGB))
    np.testing.assert_array_equal(read_image(content, max_pixels=600), RGB)
    with pytest.raises(UserError, match=r"more.* than the limit max-pixels"):
        read_image(content, max_pixels=150)
    assert pillow == Image.MAX_IMAGE_PIXELS


def test_a_bomb_is_refused_by_default(tmp_path):
    """A PNG of 50 kB that states 20000 x 20000 pixels, which are 1.2 GB."""
    path = tmp_path / "bomb.png"
    Image.new("1", (20_000, 20_000)).save(path)
    with pytest.raises(UserError, match=r"bomb\.png: .* more .*than the limit max-pixels \(200000000\)"):
        read_image(path)


NOT_IMAGES = [[1, 2], RGB[..., 0], RGB.astype(float), RGB[:0], np.zeros((5, 5, 4), np.uint8)]


@pytest.mark.parametrize("image", NOT_IMAGES, ids=["list", "grey", "float", "empty", "alpha"])
def test_arrays_of_another_kind_are_refused(image):
    with pytest.raises(ValueError, match="an image is"):
        check_image(image)


@pytest.mark.parametrize(
    ("image", "hint"),
    [
        (RGB / 255, r"by \(255 \* image\)\.round\(\)\.astype\(np\.uint8\)$"),
        (RGB[..., 0], r"PIL\.Image\.fromarray\(image\) is accepted$"),
        (np.zeros((5, 6, 4), np.uint8), r"PIL\.Image\.fromarray\(image\) is accepted$"),
        (RGB.transpose(2, 0, 1), r"use image\.transpose\(1, 2, 0\)$"),
        (RGB.astype(int), r"got int64 \([0-9, ]+\)$"),
    ],
    ids=["float", "grey", "alpha", "channels first", "integers"],
)
def test_the_message_says_how_an_array_becomes_an_image(image, hint):
    with pytest.raises(ValueError, match=hint):
        check_image(image)


def test_an_open_file_is_an_image_and_a_text_is_not(tmp_path):
    Image.fromarray(RGB).save(tmp_path / "a.png")
    with (tmp_path / "a.png").open("rb") as file:
        np.testing.assert_array_equal(as_image(file), RGB)
    with pytest.raises(ValueError, match="got StringIO"):
        as_image(io.StringIO("text"))


def test_arrays_paths_bytes_and_pil_images_are_the_same_image(tmp_path):
    image = Image.fromarray(RGB)
    image.save(tmp_path / "a.png")
    for source in (
        RGB,
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        encoded(image),
        bytearray(encoded(image)),
        memoryview(encoded(image)),
        io.BytesIO(encoded(image)),
        image,
        Image.open(tmp_path / "a.png"),
    ):
        np.testing.assert_array_equal(as_image(source), RGB)
    assert as_image(RGB) is RGB


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "PA", "RGBA", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "I", "I;16", "F"]
)
def test_pil_images_of_every_mode(mode):
    source = Image.new(mode, (30, 20))
    assert as_image(source).shape == (20, 30, 3)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I", "I;16", "F"])
def test_large_images_are_converted_in_strips_with_the_same_result(monkeypatch, mode):
    grey = np.arange(600, dtype=np.uint16).reshape(20, 30) * (100 if mode in ("I", "I;16", "F") else 0.4)
    wide = {"I": np.int32, "I;16": np.uint16, "F": np.float32}
    source = Image.fromarray(grey.astype(wide[mode])) if mode in wide else Image.fromarray(RGB).convert(mode)
    if "A" in mode:
        source.putalpha(Image.fromarray(RGB[..., 0]))
    whole = as_image(source)
    monkeypatch.setattr("synergy.images._STRIP_PIXELS", 100)
    np.testing.assert_array_equal(as_image(source), whole)
    assert whole.std() > 10
    assert whole.flags.writeable


def test_values_that_are_not_finite_become_black_or_white():
    values = np.full((4, 4), 7, np.float32)
    values[0, :3] = np.nan, np.inf, -np.inf
    assert as_image(Image.fromarray(values))[:, :, 0].tolist()[0] == [0, 255, 0, 7]


def test_a_pil_image_is_turned_upright_like_its_file(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RGB).save(tmp_path / "a.png", exif=exif)
    with Image.open(tmp_path / "a.png") as image:
        np.testing.assert_array_equal(as_image(image), read_image(tmp_path / "a.png"))


def test_of_an_animation_the_first_frame_is_read():
    frames = [Image.new("RGB", (30, 20), colour) for colour in ("red", "blue")]
    image = read_image(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert image.shape == (20, 30, 3)
    assert image[0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("error", [MemoryError(), KeyError("x"), IndexError("y"), RuntimeError("a\nb")], ids=repr)
def test_whatever_a_decoder_raises_is_one_line(monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("synergy.images.to_rgb", fail)
    with pytest.raises(UserError, match=r"a\.png: cannot be read as an image \(") as caught:
        read_image(encoded(Image.fromarray(RGB)), "a.png")
    assert "\n" not in str(caught.value)
