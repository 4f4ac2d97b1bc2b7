"""`synergy label`: a data set of photos with landmarks becomes a training pack."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

import synergy
from bfm_assets import open_face, read_model
from synergy.crop import landmark_box, square_crop, warp
from synergy.errors import UserError
from synergy.geometry import flip_y
from train.labels.calibration import Calibration
from train.labels.dedup import Bits, duplicates_of, image_hash, repeats
from train.labels.evidence import evidence_matrix
from train.labels.fit import Basis
from train.labels.label import Labels, label
from train.labels.like300wlp import write_300w_lp
from train.labels.order import order_warnings
from train.labels.pack import CROP_SIZE, PackWriter
from train.labels.rows import RowMaker
from train.labels.source import Source, open_reader, read_source, read_teacher

# Faces per part: what an interrupted run may lose.
_PART = 256


def ignore(*_: object) -> None:
    """Progress and warnings that nobody wants to see."""


def build_pack(
    dataset: str | Path,
    out: str | Path,
    model: str | Path | None = None,
    teacher: str | Path | None = None,
    calibration: str | Path | None = None,
    profile: bool = False,
    step_deg: float = 15.0,
    mirror: bool = False,
    like: str | None = None,
    held_out: Sequence[str | Path] = (),
    split: str = "train",
    source_name: str | None = None,
    limit: int | None = None,
    progress: Callable[[int, int], object] = ignore,
    warn: Callable[[str], object] = ignore,
) -> Path:
    """Label a data set and write it as a pack.

    Args:
        dataset: folder or archive that a reader knows.
        out: directory to write.
        model: morphable model file to fit; default the bundled open face.
        teacher: predictions of a network with that model's parameters (`train.labels.source.read_teacher`).
        calibration: `calibration.npz` of another pack; default: learnt from this data set when there is a teacher.
        profile: add views of faces that look ahead, turned outwards up to 90 degrees of yaw in steps of `step_deg`.
        mirror: add mirrored copies.
        like: "300w-lp" to write that layout (.jpg and .mat) instead of a pack; it needs a form of BFM as `model`.
        held_out: data sets none of whose images, mirrored or not, may be in the pack.
        split: "train" or "val".
        source_name: what to call the data set in the pack; default its file name.
        limit: only the first so many faces.
        progress: called with faces done and in all.
        warn: called with each line that the user should read.
    """
    if profile and not 1 <= step_deg <= 90:
        raise UserError(f"views are turned in steps of 1 to 90 degrees, not {step_deg:g}")
    if like not in (None, "300w-lp"):
        raise UserError(f"--like knows 300w-lp, not '{like}'")
    face_model = open_face() if model is None else read_model(model)
    basis = Basis.of(face_model, evidence_matrix())
    source = read_source(open_reader(dataset, face_model), limit)
    for line in order_warnings(source.hand[:, :68, :2], face_model):
        warn(line)
    name = source_name or Path(dataset).name.partition(".")[0]
    identity = {
        "dataset": source.reader.digest(),
        "model": face_model.digest,
        "teacher": _digest(teacher),
        "calibration": _digest(calibration),
        "split": split,
        "profile": step_deg if profile else None,
        "mirror": mirror,
        "limit": limit,
        "version": synergy.__version__,
    }
    writer = None if like else PackWriter(out, identity)
    labels, used = _label(basis, source, teacher, calibration, warn)
    maker = RowMaker(face_model, source, labels, name, split, step_deg if profile else None, mirror)
    if writer is None:
        return write_300w_lp(Path(out), name, maker, face_model, progress)
    for part, start in enumerate(range(0, len(source), _PART)):
        stop = min(start + _PART, len(source))
        if not writer.has(part):
            writer.write(part, maker.rows(range(start, stop)))
        progress(stop, len(source))
    names, hashes = writer.hashes()
    drop, dropped = _drop(names, hashes, held_out)
    manifest = {
        "sources": {name: {"path": str(dataset), "licence": source.reader.licence, "digest": source.reader.digest()}},
        "model": face_model.name,
        "model_digest": face_model.digest,
        "n_shape": face_model.n_shape,
        "n_expression": face_model.n_expression,
        "made_by": f"synergy {synergy.__version__}",
        "problems": [f"{p.name}: {p.reason}" for p in source.reader.problems],
        "dropped": dropped,
        "statistics": _statistics(labels),
    }
    pack = writer.finish(manifest, drop)
    used.save(pack.path / "calibration.npz")
    return pack.path


def _digest(path: str | Path | None) -> str | None:
    """First 16 hex digits of a file's SHA-256."""
    if path is None:
        return None
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def _label(
    basis: Basis,
    source: Source,
    teacher: str | Path | None,
    calibration: str | Path | None,
    warn: Callable[[str], object],
) -> tuple[Labels, Calibration]:
    hand = torch.from_numpy(flip_y(source.hand))
    predicted = None if teacher is None else read_teacher(teacher, source, basis)
    if calibration is not None:
        used = Calibration.load(Path(calibration))
    elif predicted is not None:
        has = predicted.log_scale.isfinite()
        used = Calibration.learn(basis, predicted[has], hand[has])
    else:
        used = Calibration.guess(basis)
    labels = label(basis, hand, predicted, used)
    failed = int((labels.weight < 0.05).sum())
    if failed:
        warn(f"{failed} of {len(source)} faces could not be labelled well: they stay, with weight below 0.05")
    return labels, used


def _statistics(labels: Labels) -> dict[str, float]:
    residual = labels.residual[labels.residual.isfinite()]
    median, high = residual.quantile(residual.new_tensor([0.5, 0.95])).tolist() if len(residual) else (0.0, 0.0)
    return {
        "residual_median_percent": round(median, 3),
        "residual_95_percent": round(high, 3),
        "converged": round(float(labels.converged.double().mean()), 4),
        "mean_weight": round(float(labels.weight.mean()), 4),
    }


def _drop(
    names: NDArray[np.str_], hashes: Bits, held_out: Sequence[str | Path]
) -> tuple[NDArray[np.bool_], dict[str, list[str]]]:
    """Which rows (N,) to leave out, and their names by reason. A photo's generated views go with it.

    `hashes` (N, 2, 256) are those of each row's image and of its mirror image.
    """
    photos = np.array([name.partition("#")[0] for name in names])
    original = photos == names
    straight, mirrored = hashes[original, 0], hashes[original, 1]
    held = np.concatenate([_held_out_hashes(path) for path in held_out]) if held_out else straight[:0]
    known = (duplicates_of(straight, held) >= 0) | (duplicates_of(mirrored, held) >= 0)
    again = (repeats(straight, mirrored) >= 0) & ~known
    dropped = {"held out": names[original][known].tolist(), "repeated": names[original][again].tolist()}
    return np.isin(photos, dropped["held out"] + dropped["repeated"]), dropped


def _held_out_hashes(path: str | Path) -> Bits:
    """Hashes (N, 256) of the faces of a data set, cropped about their landmarks as for training."""
    hashes = []
    for sample in open_reader(path):
        native = sample.image.shape[:2] == (CROP_SIZE, CROP_SIZE)
        if not native and np.isfinite(sample.landmarks68).any():
            image = warp(sample.image, square_crop(landmark_box(sample.landmarks68), CROP_SIZE), CROP_SIZE)
            hashes.append(image_hash(image))
        elif native:
            hashes.append(image_hash(sample.image))
    return np.stack(hashes) if hashes else np.empty((0, 256), np.int8)
