"""Find near-identical images (scaled, recompressed or mirrored) by a perceptual hash of the face crop."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.int8]

# Side of the difference hash, which has 256 bits, and largest number of different bits of two copies. On AFLW, 99.99 %
# of the pairs of unrelated faces differ in at least 61 bits (docs/labels.md).
_SIDE = 16
_SAME_WITHIN = 20
_CHUNK = 2048


def image_hash(crop: NDArray[np.uint8]) -> Bits:
    """Return the hash (256,) of an RGB crop: 1 where its 16x17 reduction gets brighter to the right, otherwise -1."""
    grey = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (_SIDE + 1, _SIDE), interpolation=cv2.INTER_AREA)
    return np.where(grey[:, 1:] > grey[:, :-1], 1, -1).astype(np.int8).ravel()


def mirrored_hash(crop: NDArray[np.uint8]) -> Bits:
    """Return the `image_hash` of the mirrored crop."""
    return image_hash(np.ascontiguousarray(crop[:, ::-1]))


def find_copies(hashes: Bits, known: Bits) -> NDArray[np.int64]:
    """Return the index (N,) of the first of `known` (M, 256) that each of `hashes` (N, 256) matches, -1 for none."""
    found = np.full(len(hashes), -1, np.int64)
    if not len(known):
        return found
    columns = known.T.astype(np.float32)
    for start in range(0, len(hashes), _CHUNK):
        agreement = hashes[start : start + _CHUNK].astype(np.float32) @ columns
        same = agreement >= hashes.shape[1] - 2 * _SAME_WITHIN
        found[start : start + _CHUNK] = np.where(same.any(1), same.argmax(1), -1)
    return found


def find_repeats(hashes: Bits, mirrored: Bits) -> NDArray[np.int64]:
    """Return the index (N,) of an earlier image that each image repeats, -1 for none.

    Args:
        hashes: (N, 256) of the images.
        mirrored: (N, 256) of their mirror images.
    """
    found = np.full(len(hashes), -1, np.int64)
    for start in range(0, len(hashes), _CHUNK):
        stop = start + _CHUNK
        earlier = np.arange(min(stop, len(hashes))) < np.arange(start, min(stop, len(hashes)))[:, None]
        for other in (hashes, mirrored):
            agreement = other[start:stop].astype(np.float32) @ hashes[:stop].T.astype(np.float32)
            same = (agreement >= hashes.shape[1] - 2 * _SAME_WITHIN) & earlier
            rows = same.any(1) & (found[start:stop] < 0)
            found[start:stop][rows] = same[rows].argmax(1)
    return found
