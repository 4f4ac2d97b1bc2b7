"""Data sets in which each image has a label file of the same name in the same folder."""

from __future__ import annotations

from pathlib import PurePosixPath

from synergy.data.reader import DATASET_IMAGE_SUFFIXES, FaceReader, stem


def pair_up(reader: FaceReader, label_ending: str, ignored: str | None = None) -> list[str]:
    """Find the images `X.jpg` (or .png, ...) that have a label file `X<label_ending>`.

    In folders with at least one pair, images without a label file and label files without an image are reported to the
    reader as skipped.

    Args:
        reader: its tree is searched.
        label_ending: end of the label files' names, in lower case.
        ignored: files whose names end in this are not images.

    Returns:
        Names of the images.
    """
    candidates = [
        name for name in reader.tree.with_suffix(*DATASET_IMAGE_SUFFIXES) if not ignored or not name.endswith(ignored)
    ]
    images = {stem(name): name for name in candidates}
    labels = {name[: -len(label_ending)]: name for name in reader.tree.names if name.lower().endswith(label_ending)}
    paired = {key: name for key, name in images.items() if key in labels}
    if not paired:
        return []
    folders = {PurePosixPath(key).parent for key in paired}
    for key, name in images.items():
        if key not in labels and PurePosixPath(key).parent in folders:
            reader.skip(name, f"no {PurePosixPath(key).name}{label_ending} in its folder")
    for key, name in labels.items():
        if key not in images and PurePosixPath(key).parent in folders:
            reader.skip(name, "no image of this name in its folder")
    return list(paired.values())
