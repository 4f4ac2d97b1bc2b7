"""Join several packs into one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from synergy.errors import UserError
from train.packs.pack import Pack, write_arrays

# Entries of the manifest that all packs share.
_MODEL_KEYS = ("model", "model_digest", "n_shape", "n_expression", "mm_per_unit", "attribute_names", "made_by")


def merge_packs(packs: Sequence[str | Path], out: str | Path) -> Path:
    """Write the rows of packs, one pack after another, as a new pack.

    Args:
        packs: directories of packs with labels of the same morphable model.
        out: directory to write.

    Raises:
        UserError: there is no pack, the models differ, a part of a split pack is missing, or `out` already holds a
            pack.
    """
    opened = [Pack.open(path) for path in packs]
    if not opened:
        raise UserError("no packs to merge")
    if len({pack.manifest["model_digest"] for pack in opened}) > 1:
        raise UserError("the packs are of different models: " + ", ".join(p.manifest["model"] for p in opened))
    _require_all_parts(opened)
    out = Path(out)
    if Pack.is_at(out):
        raise UserError(f"{out} already holds a pack; choose another --out or remove it")
    out.mkdir(parents=True, exist_ok=True)
    with (out / "images.bin").open("wb") as images:
        for pack in opened:
            images.write(pack.arrays["images"].tobytes())
    lengths = np.concatenate([np.diff(pack.offsets) for pack in opened])
    first = opened[0].manifest
    manifest = {
        "n": len(lengths),
        "sources": {name: about for pack in opened for name, about in pack.manifest["sources"].items()},
        **{key: first[key] for key in _MODEL_KEYS},
        # Without the folders above, so that the same packs in other folders give the same file.
        "merged": [
            {"pack": p.path.name, "hash": p.manifest["hash"], "statistics": p.manifest.get("statistics", {})}
            for p in opened
        ],
    }
    write_arrays(out, manifest, lengths, lambda name: np.concatenate([pack.arrays[name] for pack in opened]))
    return out


def _require_all_parts(packs: Sequence[Pack]) -> None:
    """Check that of each pack that was split (`train.packs.split`) all parts are there, once."""
    parts = [pack.manifest["part"] for pack in packs if "part" in pack.manifest]
    for count, whole in {(count, whole) for _, count, whole in parts}:
        found = sorted(part for part, _, other in parts if other == whole)
        if found != list(range(1, count + 1)):
            raise UserError(
                f"parts {found} of {count} are given, but a pack is joined from all of its parts, each once"
            )
