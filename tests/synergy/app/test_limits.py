import io
import struct
import zlib

import pytest
from PIL import Image

from synergy.app.limits import Limits, RateLimiter, RequestError, check_pixels
from synergy.app.memory import ResultStore


def png_of_size(width, height):
    """A PNG file of a few bytes that claims to have a size."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    end = b"IEND"
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, end)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize(
    ("width", "height", "message"),
    [
        (1000, 1000, None),
        (1001, 1000, "The photo has 1 megapixels. At most 1 megapixels are accepted."),
        (10000, 10000, "The photo has 100 megapixels."),
        (100000, 100000, "The photo has far too many pixels."),
    ],
)
def test_the_header_tells_the_number_of_pixels(width, height, message):
    limits = Limits(megapixels=1)
    if message is None:
        check_pixels(png_of_size(width, height), limits)
    else:
        with pytest.raises(RequestError, match=message) as error:
            check_pixels(png_of_size(width, height), limits)
        assert error.value.status == 413


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"GIF89a"])
def test_what_is_no_image_is_left_to_the_decoder(data):
    check_pixels(data, Limits())


def test_real_files_of_several_formats_are_measured():
    for kind in ("png", "jpeg", "webp", "gif", "bmp", "tiff"):
        buffer = io.BytesIO()
        Image.new("RGB", (300, 200)).save(buffer, kind)
        check_pixels(buffer.getvalue(), Limits(megapixels=0.06))
        with pytest.raises(RequestError):
            check_pixels(buffer.getvalue(), Limits(megapixels=0.0599))


def test_each_client_has_its_own_number_of_uploads():
    now = [0.0]
    limiter = RateLimiter(2, lambda: now[0])
    limiter.check("a")
    now[0] = 10
    limiter.check("a")
    limiter.check("b")
    with pytest.raises(RequestError, match="Try again in 50 seconds") as error:
        limiter.check("a")
    assert (error.value.status, error.value.retry_after) == (429, 50)
    now[0] = 60.1  # the first upload is more than a minute ago, the refused one does not count
    limiter.check("a")
    with pytest.raises(RequestError):
        limiter.check("a")


class Result:
    def __init__(self, n_bytes):
        self.n_bytes = n_bytes


def test_results_are_forgotten_after_their_time():
    now = [0.0]
    store = ResultStore(Limits(result_minutes=1), lambda: now[0])
    result = Result(1)
    name = store.add(result)
    assert len(name) >= 20
    assert store.get(name) is result
    now[0] = 61
    with pytest.raises(RequestError, match="no longer kept"):
        store.get(name)
    assert len(store) == 0


def test_the_oldest_results_make_room():
    store = ResultStore(Limits(result_megabytes=1))
    names = [store.add(Result(400_000)) for _ in range(3)]
    with pytest.raises(RequestError):
        store.get(names[0])
    assert all(store.get(name) for name in names[1:])
    big = store.add(Result(5_000_000))
    assert store.get(big)
    assert len(store) == 1
    store.remove(big)
    store.remove(big)
    assert len(store) == 0
