"""Split a pack into parts of a limited size, to carry it to another machine. `merge_packs` joins them again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from synergy.errors import UserError
from train.packs.pack import ROW, Pack, encode_jpeg, write_arrays


def split_pack(
    pack_path: str | Path,
    out: str | Path,
    mebibytes: float,
    quality: int | None = None,
    fractions: Mapping[str, float] | None = None,
) -> list[Path]:
    """Write a pack as several packs, `OUT/part-1-of-N` and so on.

    Args:
        pack_path: the pack.
        out: folder of the parts.
        mebibytes: largest size of a part.
        quality: JPEG quality of the images, 1..100; by default they stay as they are.
        fractions: fraction of the rows that is kept, by the name of a source. The rows are evenly spaced.

    Returns:
        The folders of the parts.

    Raises:
        UserError: an unknown source, no row is left, the parts are too small for a sample, or a folder already holds a
            part.
    """
    pack = Pack.open(pack_path)
    rows = _kept_rows(pack, fractions or {})
    images = [pack.encoded(row).tobytes() if quality is None else encode_jpeg(pack.image(row), quality) for row in rows]
    per_row = sum(pack.arrays[name].dtype.itemsize * pack.arrays[name][0].size for name in ROW)
    # Headers of the arrays and hashes take less than 64 KiB next to the manifest.
    room = mebibytes * 2**20 - 65536 - (pack.path / "manifest.json").stat().st_size
    sizes = np.array([len(image) + per_row for image in images])
    if sizes.max() > room:
        raise UserError(f"--mebibytes {mebibytes:g}: a part has no room for the manifest and one sample; give more")
    ends = np.cumsum(sizes)
    count = int(np.ceil(ends[-1] / room))
    edges = [0, *(np.searchsorted(ends, ends[-1] * np.arange(1, count) / count)), len(rows)]
    folders = []
    for part, (start, stop) in enumerate(pairwise(edges), 1):
        folder = Path(out) / f"part-{part}-of-{count}"
        if folder.exists():
            raise UserError(f"{folder} already exists; choose another --out or remove it")
        about = {"n": int(stop - start), "part": [part, count, pack.manifest["hash"]]}
        _write_part(pack, rows[start:stop], images[start:stop], about, folder)
        folders.append(folder)
    return folders


def _write_part(
    pack: Pack, rows: NDArray[np.intp], images: Sequence[bytes], about: Mapping[str, Any], folder: Path
) -> None:
    """Write some rows of a pack, with the encoded images of these rows, as a pack with own entries of the manifest."""
    folder.mkdir(parents=True)
    (folder / "images.bin").write_bytes(b"".join(images))
    lengths = [len(image) for image in images]
    write_arrays(folder, {**pack.manifest, **about}, lengths, lambda name: pack.arrays[name][rows])


def _kept_rows(pack: Pack, fractions: Mapping[str, float]) -> NDArray[np.intp]:
    """Return the indices of the rows that stay."""
    keep = np.ones(len(pack), bool)
    for source, fraction in fractions.items():
        found = np.flatnonzero(pack.sources == source)
        if not len(found) or not 0 <= fraction <= 1:
            names = ", ".join(np.unique(pack.sources).tolist())
            raise UserError(f"--fraction {source}={fraction}: sources are {names}, fractions 0 to 1")
        keep[found] = np.diff(np.floor(fraction * np.arange(len(found) + 1))) > 0
    if not keep.any():
        raise UserError("--fraction: no row of the pack is left")
    return np.flatnonzero(keep)
