import cv2
import numpy as np

from train.packs.duplicates import find_copies, find_repeats, image_hash, mirrored_hash


def picture(seed: int) -> np.ndarray:
    coarse = np.random.default_rng(seed).integers(0, 255, (12, 12, 3), np.uint8)
    return cv2.resize(coarse, (120, 120), interpolation=cv2.INTER_CUBIC)


def recompressed(image: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)


def test_copies_are_found_recompressed_and_mirrored_and_others_are_not():
    known = np.stack([image_hash(picture(i)) for i in range(50)])
    same, flipped, other = recompressed(picture(7)), np.ascontiguousarray(picture(9)[:, ::-1]), picture(99)
    assert find_copies(np.stack([image_hash(same), image_hash(other)]), known).tolist() == [7, -1]
    assert find_copies(np.stack([mirrored_hash(flipped)]), known).tolist() == [9]
    assert find_copies(known[:3], known[:0]).tolist() == [-1, -1, -1]


def test_repeats_point_at_the_first():
    images = [picture(1), picture(2), recompressed(picture(1)), np.ascontiguousarray(picture(2)[:, ::-1])]
    hashes = np.stack([image_hash(image) for image in images])
    mirrored = np.stack([mirrored_hash(image) for image in images])
    assert find_repeats(hashes, mirrored).tolist() == [-1, -1, 0, 1]
