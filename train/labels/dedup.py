"""Near-identical images, by a perceptual hash of the face crop: the same photo scaled, recompressed or mirrored."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Bits = NDArray[np.int8]

# 16x16 difference hash: 256 bits. Unrelated faces differ in 70 and more, recompressed copies in fewer than 15.
_SIDE = 16
_SAME_WITHIN = 20
_CHUNK = 2048


def image_hash(crop: NDArray[np.uint8]) -> Bits:
    """(256,) int8 of -1 and 1: whether brightness rises from left to right in a 16x17 reduction of an RGB crop."""
    grey = cv2.resize(cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY), (_SIDE + 1, _SIDE), interpolation=cv2.INTER_AREA)
    return np.where(grey[:, 1:] > grey[:, :-1], 1, -1).astype(np.int8).ravel()


def mirrored_hash(crop: NDArray[np.uint8]) -> Bits:
    """`image_hash` of the mirrored crop."""
    return image_hash(np.ascontiguousarray(crop[:, ::-1]))


def duplicates_of(hashes: Bits, known: Bits) -> NDArray[np.int64]:
    """(N,) index of the first of `known` (M, 256) that each of `hashes` (N, 256) matches, -1 where none does."""
    found = np.full(len(hashes), -1, np.int64)
    if not len(known):
        return found
    columns = known.T.astype(np.float32)
    for start in range(0, len(hashes), _CHUNK):
        agreement = hashes[start : start + _CHUNK].astype(np.float32) @ columns
        same = agreement >= hashes.shape[1] - 2 * _SAME_WITHIN
        found[start : start + _CHUNK] = np.where(same.any(1), same.argmax(1), -1)
    return found


def repeats(hashes: Bits, mirrored: Bits) -> NDArray[np.int64]:
    """(N,) index of an earlier image that each image repeats, mirrored or not; -1 where there is none."""
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
