"""Label a data set of photos with landmark annotations and write it as a training pack."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

import synergy
from bfm_assets import MorphableModel, open_face, read_model
from synergy.crop import square_crop, warp
from synergy.data import FaceReader, open_reader
from synergy.errors import UserError
from synergy.shards import ALL, Shard
from train.annotate.blendshapes import estimate_scores, scored_rows
from train.annotate.calibration import Calibration
from train.annotate.faces import FaceParameters, PointModel
from train.annotate.fusion import Labels, label_faces
from train.annotate.observations import Observations, observation_matrix, point_order_warnings, read_observations
from train.annotate.predictions import read_blendshapes, read_predictions
from train.annotate.rows import Labelled, RowMaker
from train.annotate.teachers import (
    TeacherWeights,
    align_teachers,
    combine_teachers,
    estimate_weights,
    measure_disagreement,
)
from train.packs.duplicates import Bits, find_copies, find_repeats, image_hash
from train.packs.pack import CROP_SIZE, MIN_WEIGHT, Pack, PackWriter, describe_contents, photo_name

# Faces per part of the pack: an interrupted run repeats at most one part.
_PART = 256


@dataclass(frozen=True)
class LabelOptions:
    """Options of `build_pack`.

    Attributes:
        model: morphable model file to fit; the bundled open face by default.
        teachers: prediction files (`train.annotate.predictions`). The first teacher with 3D landmarks is the base.
        teacher_weights: `teacher_weights.json` of another pack. By default the weights are estimated on the annotated
            faces of this data set. They must come from faces that no teacher was trained on.
        fixed_fractions: fixed fractions of the weight by the names of teachers, where the weights are estimated
            (`train.annotate.teachers.TeacherWeights.with_fixed_fractions`).
        calibration: `calibration.npz` of another pack. By default the calibration is estimated from this data set if
            there is a teacher.
        automatic: keep annotations that look like the output of an automatic fit (CFP's frontal images).
        blendshapes: file of blendshape scores (`train.annotate.predictions.read_blendshapes`).
        profile_step_deg: add profiled images of near-frontal faces, rotated outwards up to 90 degrees of yaw in steps
            of this many degrees; None adds none.
        held_out: data sets and packs none of whose images, mirrored or not, may be in the pack.
        split: "train" or "val".
        val_identities_above: people with larger numbers are for validation; nothing is estimated from them.
        source_name: name of the data set in the pack; its file name by default.
        limit: only the first so many faces.
        shard: label only this part of the faces (`train.packs.merge` joins the packs). What is estimated is estimated
            from this part, unless `calibration` and `teacher_weights` are given.
    """

    model: str | Path | None = None
    teachers: tuple[str | Path, ...] = ()
    teacher_weights: str | Path | None = None
    fixed_fractions: Mapping[str, float] = field(default_factory=dict)
    calibration: str | Path | None = None
    automatic: bool = False
    blendshapes: str | Path | None = None
    profile_step_deg: float | None = None
    held_out: tuple[str | Path, ...] = ()
    split: str = "train"
    val_identities_above: int | None = None
    source_name: str | None = None
    limit: int | None = None
    shard: Shard = ALL

    def __post_init__(self) -> None:
        if self.fixed_fractions and (self.teacher_weights is not None or not self.teachers):
            raise UserError("fixed fractions of teachers need teachers, whose weights are estimated and not given")
        if self.profile_step_deg is not None and not 1 <= self.profile_step_deg <= 90:
            raise UserError(f"the step between profiled images is 1 to 90 degrees, not {self.profile_step_deg:g}")


def build_pack(
    dataset: str | Path,
    out: str | Path,
    options: LabelOptions = LabelOptions(),
    progress: Callable[[int, int], object] | None = None,
    warn: Callable[[str], object] | None = None,
) -> Path:
    """Label a data set and write it as a pack.

    An interrupted run continues after its last complete part when it is started again with the same arguments.

    Args:
        dataset: folder or archive (`synergy.data.opening.open_reader`).
        out: directory of the pack.
        options: see `LabelOptions`.
        progress: called with the number of faces that are done and that there are.
        warn: called with each warning; by default warnings go to `warnings.warn`.

    Returns:
        The directory.
    """
    model = open_face() if options.model is None else read_model(options.model)
    observations = read_observations(open_reader(dataset, model, options.automatic), options.limit, options.shard)
    warn = warn or warnings.warn
    for line in point_order_warnings(observations.points[:, :68, :2], model):
        warn(line)
    people = options.val_identities_above
    if people is not None and (observations.identity < 0).all():
        raise UserError(f"people above {people} are for validation, but {dataset} does not say who is in its photos")
    held_out = _held_out_hashes(options.held_out, warn)
    writer = PackWriter(out, _identity(observations, model, options))
    name = options.source_name or Path(dataset).name.partition(".")[0]
    split = np.full(len(observations), options.split, object)
    if people is not None:
        split[observations.identity > people] = "val"
    labelled, estimates = _label(model, observations, split == "train", Path(dataset), options)
    if options.teacher_weights is None and estimates.weights is not None and estimates.weights.are_zero:
        warn(
            "the teachers next to the first one have no weight; faces with fewer than 20 annotated points do not count "
            "in the estimate, but --teacher-weights gives the weights of another pack"
        )
    if failed := int((labelled.labels.weight < MIN_WEIGHT).sum()):
        warn(f"{failed} of {len(observations)} faces could not be labelled well; they have a weight below {MIN_WEIGHT}")
    rows = RowMaker(model, labelled, name, split, options.profile_step_deg)
    reader = observations.reader
    problems = _lines(reader)
    for part, start in enumerate(range(0, len(observations), _PART)):
        stop = min(start + _PART, len(observations))
        if not writer.has(part):
            n_before = len(reader.problems)
            made = rows.make(range(start, stop))
            writer.write(part, made, _lines(reader)[n_before:])
        if progress:
            progress(stop, len(observations))
    drop, dropped = _rows_to_drop(*writer.hashes(), held_out)
    manifest = {
        "sources": {name: {"path": str(dataset), "licence": reader.licence, "digest": reader.digest()}},
        **describe_contents(model),
        "problems": [*problems, *writer.problems()],
        "dropped": dropped,
        "statistics": _statistics(labelled.labels),
    }
    # A directory with a manifest is complete, so these files come first.
    estimates.calibration.save(writer.path / "calibration.npz")
    if estimates.weights is not None:
        estimates.weights.save(writer.path / "teacher_weights.json")
    return writer.finish(manifest, drop).path


def _lines(reader: FaceReader) -> list[str]:
    """Return one line for each file that the reader could not use so far."""
    return [str(problem) for problem in reader.problems]


def _identity(observations: Observations, model: MorphableModel, options: LabelOptions) -> dict[str, Any]:
    """Return what identifies the pack: options, and digests of the files instead of their paths."""
    files: dict[str, Any] = {
        name: _digest(getattr(options, name)) for name in ("teacher_weights", "calibration", "blendshapes")
    }
    files["teachers"] = [_digest(path) for path in options.teachers]
    content = {"dataset": observations.reader.digest(), "model": model.digest, "version": synergy.__version__}
    return {**asdict(options), **files, **content}


def _digest(path: str | Path | None) -> str | None:
    """Return the first 16 hexadecimal digits of a file's SHA-256."""
    if path is None:
        return None
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()[:16]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


class _Annotated(NamedTuple):
    """The annotations of N faces in the frame of the solver.

    Attributes:
        model: the morphable model at the P observed points.
        points: (N, P, 3) in pixels, y up; NaN where unknown.
        usable: (N,) faces that estimates may use.
    """

    model: PointModel
    points: Tensor
    usable: Tensor


class _Predicted(NamedTuple):
    """What the teachers predict together for N faces.

    Attributes:
        faces: in the image frame, NaN scale where there is no prediction.
        disagreement: (N,) of the teachers (`measure_disagreement`).
        weights: the weights of the teachers.
    """

    faces: FaceParameters
    disagreement: Tensor
    weights: TeacherWeights


class _Estimates(NamedTuple):
    """What was estimated from the annotated faces, or read from another pack."""

    calibration: Calibration
    weights: TeacherWeights | None


def _label(
    model: MorphableModel,
    observations: Observations,
    usable: NDArray[np.bool_],
    dataset: Path,
    options: LabelOptions,
) -> tuple[Labelled, _Estimates]:
    """Combine the teachers, calibrate, and label all faces. Estimates use the faces where `usable` (N,) holds."""
    annotated = _Annotated(
        PointModel.create(model, observation_matrix()),
        torch.from_numpy(observations.points),
        torch.from_numpy(usable | ~usable.any()),
    )
    predicted = _predict(annotated, observations.names, options) if options.teachers else None
    calibration = _calibrate(annotated, predicted, options.calibration)
    scores = observed = None
    if options.blendshapes is not None:
        scores = read_blendshapes(options.blendshapes, dataset, options.teachers, observations.names)
        observed = _observe_scores(annotated, predicted, calibration, torch.from_numpy(scores).float())
    faces, disagreement, weights = predicted or (None, None, None)
    labels = label_faces(annotated.model, annotated.points, faces, calibration, disagreement, observed)
    return Labelled(observations, labels, faces, scores), _Estimates(calibration, weights)


def _predict(annotated: _Annotated, names: list[str], options: LabelOptions) -> _Predicted:
    """Read the predictions of the teachers for the N named faces and combine them."""
    model, points, usable = annotated
    teachers = align_teachers(model, read_predictions(options.teachers, names))
    if options.teacher_weights is not None:
        weights = TeacherWeights.load(options.teacher_weights, teachers.names)
    else:
        weights = estimate_weights(model, teachers[usable], points[usable])
        weights = weights.with_fixed_fractions(options.fixed_fractions, teachers.pose_only)
    return _Predicted(combine_teachers(teachers, weights), measure_disagreement(model, teachers), weights)


def _calibrate(annotated: _Annotated, predicted: _Predicted | None, path: str | Path | None) -> Calibration:
    """Read the calibration at `path`; without one, estimate it if there are predictions, or take the default."""
    model, points, usable = annotated
    if path is not None:
        return Calibration.load(path, model)
    if predicted is None:
        return Calibration.default(model)
    used = usable & predicted.faces.log_scale.isfinite()
    return Calibration.estimate(model, predicted.faces[used], points[used])


def _observe_scores(
    annotated: _Annotated, predicted: _Predicted | None, calibration: Calibration, scores: Tensor
) -> tuple[Tensor, Tensor] | None:
    """Convert blendshape scores (N, 52) to observed coefficients and their precision (`ScoreModel.observe`).

    A sample of the faces is labelled without the scores to estimate how the scores follow from the coefficients. The
    result is None if this cannot be estimated.
    """
    model, points, usable = annotated
    rows = scored_rows(scores, points, usable)
    if not len(rows):
        return None
    sample = label_faces(model, points[rows], None if predicted is None else predicted.faces[rows], calibration)
    score_model = estimate_scores(model, sample.faces, points[rows], calibration, scores[rows])
    return None if score_model is None else score_model.observe(model.n_coefficients, scores)


def _statistics(labels: Labels) -> dict[str, float]:
    """Summarise the quality of labels for the manifest."""
    residual = labels.residual[labels.residual.isfinite()]
    median, high = residual.quantile(residual.new_tensor([0.5, 0.95])).tolist() if len(residual) else (0.0, 0.0)
    return {
        "residual_median_percent": round(median, 3),
        "residual_95_percent": round(high, 3),
        "converged": round(float(labels.converged.double().mean()), 4),
        "mean_weight": round(float(labels.weight.mean()), 4),
    }


def _rows_to_drop(
    names: NDArray[np.str_], hashes: Bits, held_out: Bits
) -> tuple[NDArray[np.bool_], dict[str, list[str]]]:
    """Find repeated and held-out photos. The profiled images of a photo are dropped with it.

    Args:
        names: (N,) names of the rows.
        hashes: (N, 2, 256) hashes of each row's image and of its mirror image.
        held_out: (M, 256) hashes of the held-out images.

    Returns:
        Rows to drop (N,), and the names of dropped photos by reason.
    """
    photos = np.array([photo_name(name) for name in names])
    original = photos == names
    plain, mirrored = hashes[original, 0], hashes[original, 1]
    known = (find_copies(plain, held_out) >= 0) | (find_copies(mirrored, held_out) >= 0)
    repeated = (find_repeats(plain, mirrored) >= 0) & ~known
    dropped = {"held out": names[original][known].tolist(), "repeated": names[original][repeated].tolist()}
    return np.isin(photos, dropped["held out"] + dropped["repeated"]), dropped


def _held_out_hashes(paths: Sequence[str | Path], warn: Callable[[str], object]) -> Bits:
    """Return hashes (N, 256) of the images of data sets and packs."""
    return np.concatenate([np.empty((0, 256), np.int8), *(_dataset_hashes(path, warn) for path in paths)])


def _dataset_hashes(path: str | Path, warn: Callable[[str], object]) -> Bits:
    """Return hashes (N, 256) of the faces of a data set, cropped as for training, or of the images of a pack.

    Raises:
        UserError: there is no such data set, or none of its images can be used.
    """
    if Pack.is_at(path):
        pack = Pack.open(path)
        return np.stack([image_hash(pack.image(index)) for index in range(len(pack))])
    reader, hashes = open_reader(path), []
    for sample in reader:
        box = reader.box_of(sample)
        if np.isfinite(box).all():
            hashes.append(image_hash(warp(sample.image, square_crop(box, CROP_SIZE), CROP_SIZE)))
        else:
            reader.skip(sample.name, "neither a box nor landmarks")
    lines = _lines(reader)
    if not hashes:
        raise UserError(f"{path}: none of the held-out images can be compared with the new ones ({lines[0]})")
    if lines:
        warn(f"{path}: {len(lines)} held-out files cannot be compared with the new images, such as {lines[0]}")
    return np.stack(hashes)
