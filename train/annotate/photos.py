"""Find the faces of photos without annotations, and store their crops as a data set that can be labelled."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from synergy.crop import landmark_box, square_crop, warp
from synergy.data.filetree import FileTree
from synergy.data.image import decode_image
from synergy.data.reader import CROP_SIZE, DATASET_IMAGE_SUFFIXES
from synergy.errors import UserError
from synergy.predictor import FacePredictor
from train.packs.pack import encode_jpeg

# Side of the stored crops. Their central 120 pixels are 3DDFA's crop.
_STORED = 160
# Faces with a smaller box, in pixels of the photo, are left out: enlarged to a crop they show too little.
_SMALLEST = 24


def find_faces(
    photos: str | Path,
    out: str | Path,
    predictor: FacePredictor,
    progress: Callable[[int, int], object],
    warn: Callable[[str], object],
) -> int:
    """Write the faces of photos as a tar of crops, and an `.npz` next to it that says that they have no annotations.

    `synergy.data.AnnotatedCropsReader` reads the two files. The crop of a face is the one around its predicted
    landmarks.

    Args:
        photos: folder, tar or zip of photos.
        out: the `.tar` to write.
        predictor: finds the faces.
        progress: called with the number of photos that are done and that there are.
        warn: called with one line for each photo that cannot be read. It is left out.

    Returns:
        The number of faces.

    Raises:
        UserError: there is no photo, or no face in them; or `out` is no `.tar`, or has annotations next to it.
    """
    tree, out = FileTree(photos), Path(out)
    if out.suffix != ".tar":
        raise UserError(f"--out {out}: crops are written as .tar")
    if out.with_suffix(".npz").exists():
        raise UserError(f"--out {out}: {out.with_suffix('.npz').name} exists, choose another name")
    names = tree.with_suffix(*DATASET_IMAGE_SUFFIXES)
    if not names:
        raise UserError(f"{photos}: no photos in it ({', '.join(DATASET_IMAGE_SUFFIXES)})")
    found: list[str] = []
    used: set[str] = set()
    with tarfile.open(out, "w") as archive:
        for done, name in enumerate(names, 1):
            try:
                image = decode_image(tree.read(name))
            except (OSError, ValueError) as error:
                warn(f"{name}: {error}")
                continue
            stem = name.rpartition(".")[0].replace("/", "_")
            while stem in used:  # a.png next to a.jpg, or a_b.jpg next to a/b.jpg
                stem += "_"
            used.add(stem)
            for number, crop in enumerate(_crops(image, predictor)):
                found.append(f"{stem}_{number}.jpg")
                content = encode_jpeg(crop)
                entry = tarfile.TarInfo(found[-1])
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
            progress(done, len(names))
    if not found:
        raise UserError(f"{photos}: no face in {len(names)} photos")
    points, unknown = np.full((len(found), 68, 2), np.nan, np.float32), np.full((len(found), 68), -1, np.int8)
    np.savez_compressed(out.with_suffix(".npz"), names=found, points68=points, visibility68=unknown)
    return len(found)


def _crops(image: NDArray[np.uint8], predictor: FacePredictor) -> list[NDArray[np.uint8]]:
    """Return the crops (160, 160, 3) of the faces of an image."""
    centre_crop = np.array([[1.0, 0, (_STORED - CROP_SIZE) / 2], [0, 1.0, (_STORED - CROP_SIZE) / 2], [0, 0, 1.0]])
    crops = []
    for face in predictor(image):
        box = landmark_box(face.landmarks68)
        if (box[2:] - box[:2]).max() >= _SMALLEST:
            crops.append(warp(image, centre_crop[:2] @ np.vstack([square_crop(box, CROP_SIZE), [0, 0, 1]]), _STORED))
    return crops
