"""From images to faces: detect, crop, predict in batches, map back to the image."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from PIL.Image import Image as PillowImage
from torch import nn

from synergy.crop import affine_scale, invert_affine, landmark_box, square_crop, transform_points, warp
from synergy.defaults import MAX_PIXELS, MIN_CONFIDENCE
from synergy.deploy.exported import ExportedNetwork
from synergy.detect import CenterFace, Detector
from synergy.engines import CropPredictions, Engine, Network, join_predictions, make_engine
from synergy.errors import UserError
from synergy.face import Face, poses_from_params, rotation_to_image
from synergy.faces import Faces
from synergy.images import ImageSource, as_image
from synergy.registry import open_network
from synergy.upright import five_points, landmark_crops, predict_upright, require_roll, rotate_image
from synergy.weights import load

Image = NDArray[np.uint8]
Floats = NDArray[np.float32]
T = TypeVar("T")

# Boxes with larger coordinates belong to no image. The arithmetic of crops would overflow.
MAX_COORDINATE = 1e6
# The first calls from several threads make one default detector.
_DETECTOR_LOCK = threading.Lock()


class FacePredictor:
    """Find faces in images and predict their landmarks, pose and mesh.

    One predictor may be called from several threads, and gives the results that it gives in one thread, if its
    detector allows that (the default one does). A predictor pickles with its network's weights, if its detector
    pickles (the default one does).

    Args:
        net: the network, or what `--model` takes: the name of bundled weights or the path of a file. The default
            network by default. A network that needs a Basel Face Model is opened by
            `synergy.registry.open_network(name, bfm)` and given here.
        detector: finds faces where none are given; `CenterFace(threads=threads)` by default, made at its first use.
        device: "cpu", "cuda", or another device of torch.
        batch_size: how many crops go through the network at once.
        mirror: predict every crop's mirror image too and take the mean. This is a little more accurate and takes
            twice the time.
        roll: how faces that are rotated in the image plane are treated (`synergy.upright`). "auto": a face whose
            detected or given points contradict its prediction is predicted in four orientations, and a face that is
            rotated by more than 20 degrees is predicted again in an upright crop. A face in a given box has no such
            points, and may be rotated by up to 90 degrees. "any": every face is predicted in four orientations, and an
            image without a face is searched again after rotations by 90, 180 and 270 degrees. "upright": one
            prediction for every face. With "auto" and "any", a face whose 68 landmarks are given is cropped upright by
            them, and needs one prediction if that agrees with them.
        min_confidence: detected faces with a lower `Face.confidence` are removed. Faces in given boxes are kept, and so
            are all faces if the network predicts no confidence.
        engine: what runs the network, a name of `synergy.engines.ENGINES`. "auto" is onnxruntime on the CPU if the
            extra `onnx` is installed, and torch otherwise. Both give the same results up to rounding. The engine copies
            the weights.
        threads: number of threads for one batch of crops, and for one image in the default detector. See
            `synergy.engines.make_engine` and `synergy.detect.networks.centerface_network` for the defaults.
        max_pixels: image files, bytes and PIL images with more pixels are refused before they are decoded.

    Example:
        >>> predictor = FacePredictor()
        >>> image = np.zeros((200, 300, 3), np.uint8)
        >>> len(predictor(image))
        0
        >>> faces = predictor(image, boxes=[[40, 30, 180, 170]])
        >>> faces.landmarks68.shape
        (1, 68, 3)
        >>> FacePredictor("synergynet_small").net.model_id
        'synergynet_small'

    Raises:
        UserError: unknown weights, device, engine or roll, a batch size or a number of threads below 1, a
            `min_confidence` outside 0..1, or a file that cannot be read.
    """

    def __init__(
        self,
        net: Network | str | Path | None = None,
        detector: Detector | None = None,
        device: str | torch.device = "cpu",
        batch_size: int = 64,
        mirror: bool = False,
        roll: str = "auto",
        min_confidence: float = MIN_CONFIDENCE,
        engine: str = "auto",
        threads: int | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        if batch_size < 1:
            raise UserError(f"a batch needs at least 1 crop, got batch_size {batch_size}")
        if not 0 <= min_confidence <= 1:
            raise UserError(f"min_confidence is a probability in 0..1, got {min_confidence:g}")
        if detector is not None and not callable(detector):
            raise TypeError(f"a detector is an object such as CenterFace(), got {type(detector).__name__}")
        if net is None:
            net = load()
        self.net = open_network(str(net)) if isinstance(net, str | Path) else net
        self.device = str(device)
        self.batch_size = batch_size
        self.mirror = mirror
        self.roll = require_roll(roll)
        self.min_confidence = min_confidence
        self.threads = threads
        self.max_pixels = max_pixels
        self._detector = detector
        self.engine = self._make_engine(engine)

    def __repr__(self) -> str:
        where = f"engine={self.engine.name!r}, device={self.device!r}, threads={self.threads}"
        return f"FacePredictor({self.net.model_id!r}, {where}, roll={self.roll!r}, mirror={self.mirror})"

    def __getstate__(self) -> dict[str, Any]:
        """Return the state for pickle, with the name of the engine. An engine itself cannot always be pickled."""
        return {**vars(self), "engine": self.engine.name}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled predictor and make its engine again."""
        vars(self).update(state)
        self.engine = self._make_engine(state["engine"])

    def _make_engine(self, name: str) -> Engine:
        assert isinstance(self.net, nn.Module | ExportedNetwork)  # a protocol cannot state this
        return make_engine(name, self.net, self.mirror, self.device, self.threads)

    @property
    def detector(self) -> Detector:
        """The detector that finds faces where none are given."""
        with _DETECTOR_LOCK:
            if self._detector is None:
                self._detector = CenterFace(threads=self.threads)
        return self._detector

    def __call__(self, image: ImageSource, boxes: ArrayLike | None = None, landmarks: ArrayLike | None = None) -> Faces:
        """Predict the faces of one image.

        Args:
            image: an image, as in `predict_batch`.
            boxes: (K, 4) boxes around the 68 landmarks of its faces. The detector does not run.
            landmarks: (K, N, 2 or 3) points of its faces. The detector does not run.

        Returns:
            The faces: best first, or in the order of the given boxes or landmarks.

        Raises:
            UserError: the file cannot be read as an image.
            ValueError: see `predict_batch`.
        """
        return self.predict_batch(
            [image], None if boxes is None else [boxes], None if landmarks is None else [landmarks]
        )[0]

    def predict_batch(
        self,
        images: Sequence[ImageSource],
        boxes: Sequence[ArrayLike] | None = None,
        landmarks: Sequence[ArrayLike] | None = None,
    ) -> list[Faces]:
        """Predict the faces of several images, whose crops share the network's batches.

        Args:
            images: arrays (H, W, 3) uint8 RGB of any size, PIL images, paths or contents of image files, or open files
                (`synergy.images.as_image`).
            boxes: per image (K, 4) x0, y0, x1, y1 around the 68 landmarks (brows to chin), in pixels of the upright
                image; an empty list for an image without faces. The detector does not run.
            landmarks: per image (K, N, 2 or 3) points in such pixels, whose bounding box is taken as such a box. NaN is
                unknown; two points of a face must be known.

        Returns:
            One `Faces` per image: best first, or in the order of the given boxes or landmarks. `Faces.n_removed` is the
            number of detections below `min_confidence`.

        Raises:
            UserError: a file cannot be read as an image.
            ValueError: boxes and landmarks are both given, arrays of other shapes, or boxes that are smaller than a
                pixel or outside their image.
        """
        is_array = isinstance(images, np.ndarray) and images.ndim == 3
        if is_array or isinstance(images, str | Path | bytes | PillowImage):
            raise ValueError("predict_batch takes a sequence of images; for one image call the predictor itself")
        if boxes is not None and landmarks is not None:
            raise ValueError("give boxes or landmarks, not both")
        for given, name in ((boxes, "boxes"), (landmarks, "landmarks")):
            if given is not None and len(given) != len(images):
                raise ValueError(f"{len(images)} images but {name} for {len(given)}")
        arrays = [as_image(image, self.max_pixels) for image in images]
        if boxes is None and landmarks is None:
            faces = self.predict_located(arrays, [self.detect(image) for image in arrays])
            return [self.remove_unlikely(one) for one in faces]
        if boxes is not None:
            return self.predict_located(arrays, _for_each(self.given_boxes, arrays, boxes))
        assert landmarks is not None
        given_faces = _for_each(self._given_landmarks, arrays, landmarks)
        return self.predict_located(arrays, [found for found, _ in given_faces], [crops for _, crops in given_faces])

    def given_boxes(self, image: Image, boxes: ArrayLike) -> FaceLocations:
        """Take given boxes (K, 4) of an image (`predict_batch`), or raise `ValueError` if they cannot be used."""
        array = _as_boxes(boxes)
        _check_boxes(array, image)
        points5 = np.full((len(array), 5, 2), np.nan, np.float32)
        return FaceLocations(array, np.ones(len(array), np.float32), array, points5)

    def _given_landmarks(self, image: Image, landmarks: ArrayLike) -> tuple[FaceLocations, NDArray[np.float64]]:
        """Take given landmarks (K, N, 2 or 3) of an image; return the faces and the maps (K, 2, 3) to their crops."""
        found = self.given_boxes(image, _boxes_of(landmarks))
        if np.shape(landmarks)[1:2] != (68,) or self.roll == "upright":
            return found, self._square_crops(found.boxes)
        points = np.asarray(landmarks, np.float32)
        return found._replace(points5=five_points(points)), landmark_crops(points, self.net.size, self.net.margin)

    def remove_unlikely(self, faces: Faces) -> Faces:
        """Remove faces below `min_confidence`; `Faces.n_removed` is their number."""
        # The confidence is NaN, and the comparison false, for weights that predict none.
        kept = faces[~(faces.confidence < self.min_confidence)]
        return Faces(kept, len(faces) - len(kept))

    def predict_located(
        self,
        images: Sequence[Image],
        found: Sequence[FaceLocations],
        crops: Sequence[NDArray[np.float64]] | None = None,
    ) -> list[Faces]:
        """Predict faces whose places are known. Their `score` is that of the detector; none is removed.

        Args:
            images: (H, W, 3) uint8 RGB of any size.
            found: the faces of each image, for example from `detect`.
            crops: per image, the maps (K, 2, 3) from its pixels to the crops in which its faces are predicted first. By
                default, the crops are upright squares around `FaceLocations.crop_boxes`.

        Returns:
            The faces of each image, in the same order.
        """
        owner = np.repeat(np.arange(len(images)), [len(one.boxes) for one in found])
        if not len(owner):
            return [Faces() for _ in images]
        face_boxes, scores, crop_boxes, points5 = (np.concatenate(parts) for parts in zip(*found, strict=True))
        affine = self._square_crops(crop_boxes) if crops is None else np.concatenate(crops)
        if self.roll == "any" and crops is None:
            points5 = np.full_like(points5, np.nan)  # the orientation of the detected points is not trusted
        affine, predicted = self._predict(images, owner, affine, points5)
        faces = self.faces(face_boxes, scores, affine, predicted)
        return [faces[owner == image] for image in range(len(images))]

    def _square_crops(self, boxes: Floats) -> NDArray[np.float64]:
        """Return the maps (K, 2, 3) to upright crops around boxes (K, 4) of landmarks."""
        return np.asarray(square_crop(boxes, self.net.size, self.net.margin), np.float64)

    def detect(self, image: Image) -> FaceLocations:
        """Detect the faces of an image, also of the rotated image where it shows none and `roll` is "any".

        Args:
            image: (H, W, 3) uint8 RGB.

        Returns:
            The faces, best first, in image pixels.
        """
        found = self.detector(image)
        boxes, crop_boxes = found.boxes, self.detector.crop_box(found.boxes)
        for degrees in (90.0, 180.0, 270.0):
            if len(found.boxes) or self.roll != "any":
                break
            rotated, affine = rotate_image(image, degrees)
            found, back = self.detector(rotated), invert_affine(affine).astype(np.float32)
            boxes, crop_boxes = (
                landmark_box(transform_points(back, some.reshape(-1, 2, 2)))
                for some in (found.boxes, self.detector.crop_box(found.boxes))
            )
            if found.points5 is not None:
                found = found._replace(points5=transform_points(back, found.points5))
        points5 = np.full((len(boxes), 5, 2), np.nan, np.float32) if found.points5 is None else found.points5
        return FaceLocations(boxes, found.scores, crop_boxes, points5)

    def _predict(
        self,
        images: Sequence[Image],
        owner: NDArray[np.intp],
        affine: NDArray[np.float64],
        points5: Floats,
    ) -> tuple[NDArray[np.float64], CropPredictions[Floats]]:
        """Predict N faces, in upright crops if `roll` says so.

        Args:
            images: the images.
            owner: (N,) index of each face's image.
            affine: (N, 2, 3) maps to the crops of the faces' boxes.
            points5: (N, 5, 2) detected points in image pixels, NaN where unknown.

        Returns:
            The maps (N, 2, 3) to the crops that were used, and the predictions for them.
        """
        size = self.net.size

        def predict(rows: NDArray[np.intp], maps: NDArray[np.float64]) -> CropPredictions[Floats]:
            pairs = zip(owner[rows], maps, strict=True)
            return self.predict_crops(np.stack([warp(images[image], one, size) for image, one in pairs]))

        if self.roll == "upright":
            return affine, predict(np.arange(len(owner)), affine)
        return predict_upright(predict, affine, points5, size, self.net.margin, self.roll == "any")

    def faces(
        self, boxes: Floats, scores: Floats, affines: NDArray[np.floating], predicted: CropPredictions[Floats]
    ) -> Faces:
        """Put faces together in image pixels.

        Args:
            boxes: (N, 4) boxes x0, y0, x1, y1 that the faces report.
            scores: (N,) detection scores in 0..1.
            affines: (N, 2, 3) maps from image pixels to crop pixels.
            predicted: the predictions for the N crops.

        Returns:
            The N faces, in the same order.
        """
        landmarks = transform_points(invert_affine(affines), predicted.landmarks).astype(np.float32)
        poses = poses_from_params(predicted.params, affines)
        scales = affine_scale(affines)
        std, covariance, confidence = predicted.landmark_std, predicted.rotation_covariance, predicted.confidence
        if covariance is not None:
            to_image = rotation_to_image(affines)
            covariance = (to_image @ covariance @ to_image.swapaxes(1, 2)).astype(np.float32)
        return Faces(
            Face(
                box=boxes[i],
                score=float(scores[i]),
                landmarks68=landmarks[i],
                pose=poses[i],
                params=predicted.params[i],
                crop=affines[i],
                crop_size=self.net.size,
                model_id=self.net.model_id,
                morphable_model=self.net.morphable_model,
                landmarks68_std=None if std is None else (std[i] / scales[i]).astype(np.float32),
                rotation_covariance=None if covariance is None else covariance[i],
                confidence=None if confidence is None else float(confidence[i]),
            )
            for i in range(len(boxes))
        )

    def predict_crops(self, crops: Image) -> CropPredictions[Floats]:
        """Predict crops.

        Args:
            crops: (N, size, size, 3) uint8 RGB.

        Returns:
            The predictions in crop pixels.

        Raises:
            ValueError: there is no crop, or they have another shape or type.
        """
        expected = (self.net.size, self.net.size, 3)
        if crops.dtype != np.uint8 or crops.shape[1:] != expected or not len(crops):
            shape = ", ".join(map(str, expected))
            raise ValueError(f"crops are (N, {shape}) uint8 with N of at least 1, got {crops.shape} {crops.dtype}")
        starts = range(0, len(crops), self.batch_size)
        batches = [self.engine(crops[start : start + self.batch_size]) for start in starts]
        return join_predictions(batches)


class FaceLocations(NamedTuple):
    """K faces of one image.

    Attributes:
        boxes: (K, 4) detected or given boxes x0, y0, x1, y1 in image pixels.
        scores: (K,) detection scores in 0..1; 1 for given boxes.
        crop_boxes: (K, 4) boxes of the landmarks in image pixels.
        points5: (K, 5, 2) detected points in image pixels (`synergy.detect.Detection`), NaN where unknown.
    """

    boxes: Floats
    scores: Floats
    crop_boxes: Floats
    points5: Floats

    def rows(self, index: NDArray[np.integer]) -> FaceLocations:
        """Return the faces of some indices."""
        return FaceLocations(*(array[index] for array in self))


def _for_each(take: Callable[[Image, ArrayLike], T], images: Sequence[Image], given: Sequence[ArrayLike]) -> list[T]:
    """Call a function with each image and what is given for it. Errors name the number of the image."""
    taken = []
    for i, pair in enumerate(zip(images, given, strict=True)):
        try:
            taken.append(take(*pair))
        except ValueError as error:
            raise ValueError(f"image {i}: {error}" if len(images) > 1 else str(error)) from None
    return taken


def _as_boxes(boxes: ArrayLike) -> Floats:
    """Convert given boxes to (K, 4), or raise `ValueError`."""
    try:
        array = np.asarray(boxes, np.float32)
    except (TypeError, ValueError):
        raise ValueError("boxes are (K, 4) numbers x0, y0, x1, y1") from None
    if array.size == 0:
        return np.empty((0, 4), np.float32)
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"boxes are (K, 4) x0, y0, x1, y1, got shape {array.shape}")
    return array


def _boxes_of(landmarks: ArrayLike) -> Floats:
    """Compute the boxes (K, 4) of given landmarks (K, N, 2 or 3), or raise `ValueError`."""
    try:
        array = np.asarray(landmarks, np.float32)
    except (TypeError, ValueError):
        raise ValueError("landmarks are (K, N, 2 or 3) numbers, with the same N for all faces of an image") from None
    if array.size == 0:
        return np.empty((0, 4), np.float32)
    if array.ndim != 3 or array.shape[2] not in (2, 3):
        raise ValueError(f"landmarks are (K, N, 2 or 3), got shape {array.shape}")
    if np.isfinite(array[..., :2]).all(-1).sum(-1).min() < 2:
        raise ValueError("a face needs at least two finite landmarks")
    return landmark_box(array)


def _check_boxes(boxes: Floats, image: Image) -> None:
    """Raise `ValueError` unless every box has sides of at least a pixel and overlaps the image."""
    height, width = image.shape[:2]
    for box in boxes:
        x0, y0, x1, y1 = (float(value) for value in box)
        label = f"box [{x0:g}, {y0:g}, {x1:g}, {y1:g}]"
        if not np.isfinite(box).all():
            raise ValueError(f"{label} is not finite")
        if x1 <= x0 or y1 <= y0:
            raise ValueError(f"{label} has no area: boxes are x0, y0, x1, y1")
        if x1 - x0 < 1 or y1 - y0 < 1:
            raise ValueError(f"{label} is smaller than a pixel: boxes are in pixels of the image")
        if max(abs(x0), abs(y0), abs(x1), abs(y1)) > MAX_COORDINATE:
            raise ValueError(f"{label} has coordinates beyond {MAX_COORDINATE:g} pixels")
        if x1 < 0 or y1 < 0 or x0 > width - 1 or y0 > height - 1:
            raise ValueError(f"{label} lies outside the {width}x{height} image")
