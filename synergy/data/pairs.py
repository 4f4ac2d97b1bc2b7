"""Images with a label file of the same name beside them, the layout that most of the field's data sets share."""

from __future__ import annotations

from pathlib import PurePosixPath

from synergy.data.reader import IMAGE_SUFFIXES, FaceReader, stem


def pair_up(reader: FaceReader, label_ending: str, ignored: str | None = None) -> list[str]:
    """Names of images `X.jpg` (or .png, ...) that have an `X<label_ending>` beside them.

    In folders that have any pair, an image or a label file without its other half is noted as skipped; files that end
    in `ignored` are neither.
    """
    found = [name for name in reader.tree.with_suffix(*IMAGE_SUFFIXES) if not ignored or not name.endswith(ignored)]
    images = {stem(name): name for name in found}
    labels = {name[: -len(label_ending)]: name for name in reader.tree.names if name.lower().endswith(label_ending)}
    paired = {key: name for key, name in images.items() if key in labels}
    if not paired:
        return []
    folders = {PurePosixPath(key).parent for key in paired}
    for key, name in images.items():
        if key not in labels and PurePosixPath(key).parent in folders:
            reader.skip(name, f"no {PurePosixPath(key).name}{label_ending} beside it")
    for key, name in labels.items():
        if key not in images and PurePosixPath(key).parent in folders:
            reader.skip(name, "no image beside it")
    return list(paired.values())
