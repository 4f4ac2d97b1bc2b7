"""The tables of the model card: errors by group of faces and by kind of image.

The photos are validation photos, except those of SCUT-FBP5500, which are training photos.

Errors are the mean distance of the inner 51 points (without the jaw) to the visible annotations, in percent of the face
box. It is the box of the crop for AFLW, CFP and SCUT-FBP5500, and that of the annotated points for HELEN. Crops are
those of the benchmarks: no detector runs. Each mean is given with its standard error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from eval import metrics
from eval.inference import PredictedBatch, Predictor, Progress, face_box, predict_dataset
from eval.result import Table
from synergy.crop import invert_affine, transform_points
from synergy.data import AnnotatedCropsReader, FaceReader, PtsReader
from synergy.data.sample import OCCLUDED, VISIBLE, FaceSample
from synergy.errors import UserError
from synergy.landmarks import INNER51, OUTER_EYE_CORNERS

Floats = NDArray[np.floating]

COLUMNS = ("faces", "number", "error (%)", "standard error")
# People of CFP with larger numbers are held out from training (`synergy label build --val-identities-above`).
HELD_OUT_ABOVE = 450
ANGLES_DEG = (30, 60, 90, 120, 150, 180)
FACE_SIDES = (48, 32, 24)
# Landmarks around the middle of each cheek: jaw, lower lid, wing of the nose and corner of the mouth.
_CHEEKS = ((3, 41, 31, 48), (13, 46, 35, 54))


@dataclass(frozen=True)
class Variant:
    """A change of an image before the prediction.

    Attributes:
        angle_deg: rotation in the image plane about the centre of the face box, clockwise as seen.
        face_side: longer side of the face box in pixels to which the image is reduced before it is enlarged again; 0
            leaves it as it is.
    """

    angle_deg: float = 0.0
    face_side: int = 0


class VariantPredictor:
    """A predictor that sees changed images. Its landmarks are in pixels of the original images.

    Args:
        predictor: predicts the changed images.
        variant: the change.
    """

    def __init__(self, predictor: Predictor, variant: Variant) -> None:
        self.predictor, self.variant = predictor, variant
        self.model_id, self.crops, self.pose_from = predictor.model_id, predictor.crops, predictor.pose_from

    def predict(self, samples: Sequence[FaceSample]) -> PredictedBatch:
        """Predict samples with images."""
        boxes = [face_box(sample) for sample in samples]
        affines = [rotation_about_box(box, self.variant.angle_deg) for box in boxes]
        changed = [
            replace(sample, image=self._change(sample.image, box, affine), box=box)
            for sample, box, affine in zip(samples, boxes, affines, strict=True)
        ]
        landmarks = self.predictor.predict(changed).landmarks68
        return PredictedBatch(transform_points(invert_affine(np.stack(affines)), landmarks.astype(np.float64)))

    def _change(self, image: NDArray[np.uint8], box: Floats, affine: Floats) -> NDArray[np.uint8]:
        height, width = image.shape[:2]
        if self.variant.face_side:
            factor = self.variant.face_side / float(max(box[2] - box[0], box[3] - box[1]))
            if factor < 1:
                small = (max(1, round(width * factor)), max(1, round(height * factor)))
                image = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), np.uint8)
                image = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)
        if self.variant.angle_deg:
            image = np.asarray(cv2.warpAffine(image, affine, (width, height), flags=cv2.INTER_LINEAR), np.uint8)
        return image


def rotation_about_box(box: Floats, angle_deg: float) -> NDArray[np.float64]:
    """Return the affine map (2, 3) that rotates an image about the centre of a box (4,), clockwise as seen.

    Example:
        >>> rotation_about_box(np.array([0.0, 0.0, 20.0, 20.0]), 90).round(6).tolist()
        [[0.0, -1.0, 20.0], [1.0, 0.0, 0.0]]
    """
    angle, centre = np.radians(angle_deg), np.array([box[0] + box[2], box[1] + box[3]]) / 2.0
    linear = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return np.concatenate([linear, (centre - linear @ centre)[:, None]], 1)


@dataclass(frozen=True, eq=False)
class Scored:
    """The errors of a predictor on one data set.

    Attributes:
        samples: N samples without their images.
        errors: (N,) errors in percent, see the top of this file; NaN without visible annotations.
        lightness: (N,) median lightness L* (0..100) of the cheeks in the image.
    """

    samples: list[FaceSample]
    errors: Floats
    lightness: Floats


class _Cheeks:
    """A predictor that also measures the lightness of the cheeks at the predicted landmarks."""

    def __init__(self, predictor: Predictor) -> None:
        self.predictor, self.lightness = predictor, list[float]()
        self.model_id, self.crops, self.pose_from = predictor.model_id, predictor.crops, predictor.pose_from

    def predict(self, samples: Sequence[FaceSample]) -> PredictedBatch:
        batch = self.predictor.predict(samples)
        self.lightness += [
            cheek_lightness(sample.image, points) for sample, points in zip(samples, batch.landmarks68, strict=True)
        ]
        return batch


def cheek_lightness(image: NDArray[np.uint8], landmarks: Floats) -> float:
    """Return the median lightness L* (0..100) of two discs in the cheeks; NaN if they lie outside the image.

    Args:
        image: (H, W, 3) uint8 RGB.
        landmarks: (68, 2 or 3) in pixels.
    """
    lab = cv2.cvtColor(image.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    radius = 0.06 * float(np.ptp(landmarks[:, 0]) + np.ptp(landmarks[:, 1])) / 2
    discs = [
        (x - landmarks[list(cheek), 0].mean()) ** 2 + (y - landmarks[list(cheek), 1].mean()) ** 2 < radius**2
        for cheek in _CHEEKS
    ]
    values = lab[discs[0] | discs[1], 0]
    return float(np.median(values)) if len(values) else float("nan")


def score(
    reader: FaceReader,
    predictor: Predictor,
    keep: Callable[[FaceSample], bool],
    progress: Callable[[str], Progress],
) -> Scored:
    """Predict the samples of a data set and return their errors.

    Args:
        reader: the data set.
        predictor: the predictor.
        keep: which samples are used.
        progress: for a description, wraps row numbers to show progress.
    """
    measured = _Cheeks(predictor)
    dataset = predict_dataset(reader, measured, progress(reader.source), keep)
    visible = np.stack([sample.visibility68 == VISIBLE for sample in dataset.samples])
    points = np.stack([sample.landmarks68[:, :2] for sample in dataset.samples]).astype(np.float64)
    true = np.where(visible[..., None], points, np.nan)
    corners = true
    if reader.is_cropped:
        corners = np.stack([face_box(sample) for sample in dataset.samples]).reshape(-1, 2, 2)
    size = metrics.box_size(corners)
    predicted = dataset.predictions.landmarks68[:, INNER51, :2].astype(np.float64)
    return Scored(dataset.samples, metrics.nme(predicted, true[:, INNER51], size), np.array(measured.lightness))


def group_row(name: str, errors: Floats) -> tuple[str, ...]:
    """Return a row of `COLUMNS` for the errors (N,) of a group. NaN is left out."""
    known = errors[np.isfinite(errors)]
    if not len(known):
        return (name, "0", "-", "-")
    standard_error = f"{known.std(ddof=1) / len(known) ** 0.5:.2f}" if len(known) > 1 else "-"
    return (name, str(len(known)), f"{known.mean():.2f}", standard_error)


def open_card_data(data: Path, limit: int | None = None) -> dict[str, FaceReader]:
    """Open the data sets of the model card.

    Args:
        data: folder with aflw_val.tar, helen_test.tar, cfp_train.tar and scut_part.tar and their annotations. A missing
            set is left out.
        limit: use only the first so many files of each set.

    Raises:
        UserError: there is none of the sets.
    """
    readers: dict[str, Callable[[], FaceReader]] = {
        "aflw_val": lambda: AnnotatedCropsReader(data / "aflw_val.tar"),
        "helen_test": lambda: PtsReader(data / "helen_test.tar"),
        "cfp_train": lambda: AnnotatedCropsReader(data / "cfp_train.tar", automatic=True),
        "scut_part": lambda: AnnotatedCropsReader(data / "scut_part.tar"),
    }
    found = {name: make() for name, make in readers.items() if (data / f"{name}.tar").exists()}
    if not found:
        raise UserError(f"{data}: has none of {', '.join(f'{name}.tar' for name in readers)}")
    for reader in found.values():
        reader.names = reader.names[:limit]
    return found


def make_card(
    readers: Mapping[str, FaceReader],
    predictor: Predictor,
    progress: Callable[[str], Progress],
    rotated_predictor: Predictor | None = None,
) -> list[Table]:
    """Score a predictor on the data sets of the model card.

    Args:
        readers: see `open_card_data`. Files that are skipped are added to their `problems`.
        predictor: the predictor.
        progress: for a description, wraps row numbers to show progress.
        rotated_predictor: predicts the rotated images; by default `predictor`.
    """
    scored = {name: score(reader, predictor, _keep(name), progress) for name, reader in readers.items()}
    tables = []
    if "aflw_val" in scored:
        tables.append(_aflw_table(scored["aflw_val"]))
    if rows := _other_rows(scored):
        tables.append(Table("Other validation photos", COLUMNS, tuple(rows)))
    if "scut_part" in scored:
        tables.append(_scut_table(scored["scut_part"]))
    variants = {"as they are": Variant()}
    variants |= {f"rotated by {angle} degrees": Variant(angle_deg=angle) for angle in ANGLES_DEG}
    variants |= {f"face of {side} pixels": Variant(face_side=side) for side in FACE_SIDES}
    sets = [name for name in ("aflw_val", "helen_test") if name in scored]
    errors: dict[str, list[str]] = {name: [] for name in variants}
    for name, variant in variants.items():
        for key in sets:
            used = rotated_predictor if variant.angle_deg and rotated_predictor else predictor
            changed = VariantPredictor(used, variant)
            result = scored[key] if name == "as they are" else score(readers[key], changed, _keep(key), progress)
            errors[name].append(group_row("", result.errors)[2])
    if sets:
        tables.append(Table("Changed images", ("images", *sets), tuple((name, *row) for name, row in errors.items())))
    return tables


def _keep(name: str) -> Callable[[FaceSample], bool]:
    """Return which samples of a validation set are used."""

    def is_annotated(sample: FaceSample) -> bool:
        is_held_out = name != "cfp_train" or sample.identity > HELD_OUT_ABOVE
        return is_held_out and bool((sample.visibility68[INNER51] == VISIBLE).any())

    return is_annotated


def _aflw_table(scored: Scored) -> Table:
    """Return the table of AFLW's validation faces by yaw, roll, occlusion and lightness."""
    yaw = np.array([abs(sample.pose_deg[1]) for sample in scored.samples if sample.pose_deg is not None])
    roll = np.array([_roll_deg(sample) for sample in scored.samples])
    covered = np.array([(sample.visibility68 == OCCLUDED).sum() for sample in scored.samples])
    is_frontal = yaw <= metrics.YAW_EDGES[0]
    thirds = np.nanquantile(scored.lightness[is_frontal], [1 / 3, 2 / 3])
    light = np.where(is_frontal, scored.lightness, np.nan)
    low, high = (f"{value:.0f}" for value in thirds)
    groups = {
        "all": np.ones(len(yaw), bool),
        "yaw up to 30 degrees": is_frontal,
        "yaw 30 to 60 degrees": (yaw > metrics.YAW_EDGES[0]) & (yaw <= metrics.YAW_EDGES[1]),
        "yaw beyond 60 degrees": yaw > metrics.YAW_EDGES[1],
        "roll up to 15 degrees": roll <= 15,
        "roll 15 to 30 degrees": (roll > 15) & (roll <= 30),
        "roll beyond 30 degrees": roll > 30,
        "no point covered": covered == 0,
        "1 to 8 points covered": (covered > 0) & (covered <= 8),
        "more than 8 points covered": covered > 8,
        f"cheeks of L* below {low} (darkest third)": light <= thirds[0],
        f"cheeks of L* {low} to {high}": (light > thirds[0]) & (light <= thirds[1]),
        f"cheeks of L* above {high} (lightest third)": light > thirds[1],
    }
    note = (
        "Roll is the angle of the line through the outer eye corners, where both are visible. Covered points are those "
        "of all 68 that hair, hands or objects hide. L* is the median lightness of the cheeks in the image, of faces "
        "up to 30 degrees of yaw. It depends on the light as much as on the skin."
    )
    rows = tuple(group_row(name, scored.errors[mask]) for name, mask in groups.items())
    return Table("AFLW validation faces", COLUMNS, rows, note=note)


def _roll_deg(sample: FaceSample) -> float:
    """Return the size of the roll in degrees from the outer eye corners; NaN if one is not visible."""
    corners = list(OUTER_EYE_CORNERS)
    if not (sample.visibility68[corners] == VISIBLE).all():
        return float("nan")
    x, y = (sample.landmarks68[corners[1], :2] - sample.landmarks68[corners[0], :2]).tolist()
    return float(abs(np.degrees(np.arctan2(y, x))))


def _other_rows(scored: Mapping[str, Scored]) -> list[tuple[str, ...]]:
    """Return the rows of HELEN and CFP."""
    rows = []
    if "helen_test" in scored:
        rows.append(group_row("HELEN test", scored["helen_test"].errors))
    if "cfp_train" in scored:
        cfp = scored["cfp_train"]
        is_profile = np.array([sample.attributes.get("profile") == 1 for sample in cfp.samples])
        rows.append(group_row("CFP, held-out people, profiles", cfp.errors[is_profile]))
        rows.append(group_row("CFP, held-out people, frontal (automatic points)", cfp.errors[~is_profile]))
    return rows


def _scut_table(scut: Scored) -> Table:
    """Return the table of SCUT-FBP5500 by sex and ancestry."""
    female, asian = (
        np.array([sample.attributes.get(name) == 1 for sample in scut.samples]) for name in ("female", "asian")
    )
    rows = tuple(
        group_row(f"{ancestry} {sex}", scut.errors[is_sex & is_ancestry])
        for sex, is_sex in (("women", female), ("men", ~female))
        for ancestry, is_ancestry in (("Asian", asian), ("Caucasian", ~asian))
    )
    note = "These photos were used for training. The rows compare groups, and are no errors on new photos."
    return Table("Training photos by group of people (SCUT-FBP5500)", COLUMNS, rows, note=note)


def markdown(table: Table) -> str:
    """Return a table as Markdown, with its title above and its note below.

    Example:
        >>> print(markdown(Table("Errors", ("faces", "error"), (("all", "1.00"),))))
        **Errors**
        <BLANKLINE>
        | faces | error |
        |---|---|
        | all | 1.00 |
    """
    lines = [f"**{table.title}**", ""]
    rows = [table.columns, *table.rows]
    text = ["| " + " | ".join(row) + " |" for row in rows]
    lines += [text[0], "|" + "---|" * len(table.columns), *text[1:]]
    return "\n".join([*lines, *(["", table.note] if table.note else [])])
