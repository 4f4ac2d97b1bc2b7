"""Networks as an `eval.inference.Predictor`: crops come from the true box, as the benchmarks require."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from bfm_assets.schema import MorphableModel
from eval.baselines import LIKELY_ANGLES, OUR_CROPS
from eval.dense import dense_errors
from eval.inference import PredictedBatch, face_box
from synergy.crop import invert_affine, square_crop, transform_points, warp
from synergy.data.sample import FaceSample
from synergy.face import Face, rotation_to_image
from synergy.head_pose import likely_angles
from synergy.models.landmark_net import LandmarkNet
from synergy.predictor import FacePredictor
from synergy.upright import rotate_image
from synergy.voxels import VolumeFrame, encode, to_voxels


class NetworkPredictor:
    """A `FacePredictor` on the crops of the true boxes. No detector runs.

    Args:
        predictor: the predictor.
        dense_model: Basel Face Model of the true meshes, to compute dense errors, or None.
    """

    crops = OUR_CROPS
    pose_from = LIKELY_ANGLES

    def __init__(self, predictor: FacePredictor, dense_model: MorphableModel | None = None) -> None:
        self.predictor = predictor
        self.dense_model = dense_model
        self.model_id = predictor.net.model_id + (" + mirror" if predictor.mirror else "")

    @property
    def has_mesh(self) -> bool:
        """Whether the predicted faces have a mesh."""
        return self.predictor.net.morphable_model.is_dense

    def face(self, sample: FaceSample) -> Face:
        """Predict the face of one sample with its image."""
        return self.predictor(sample.image, boxes=face_box(sample)[None])[0]

    def volumes(self, sample: FaceSample) -> tuple[NDArray[np.float32], NDArray[np.float32]] | None:
        """Return true and predicted score volume of one sample with its image.

        Args:
            sample: with 3D landmarks.

        Returns:
            Volumes (R, R, R) in the frame of the network's crop (`synergy.voxels`); None for a network that predicts no
            volumes.
        """
        net = self.predictor.net
        if not isinstance(net, LandmarkNet):
            return None
        affine = square_crop(face_box(sample), net.size, net.margin)
        crop = torch.from_numpy(warp(sample.image, affine, net.size)).permute(2, 0, 1)[None]
        with torch.inference_mode():
            # The engine has a copy of the network. The network itself may be on another device.
            output = net.stages(crop.to(next(net.parameters()).device))
        if output.volumes is None:
            return None
        predicted = output.volumes[-1][0].float().cpu()
        landmarks = torch.from_numpy(transform_points(affine, sample.landmarks68)).float()[None]
        frame = VolumeFrame(torch.full((1, 2), (net.size - 1) / 2), torch.tensor([float(net.size)]))
        depth, resolution = predicted.shape[:2]
        true = encode(to_voxels(landmarks, frame, depth, resolution), depth, resolution)[0]
        return true.numpy(), predicted.numpy()

    def predict(self, samples: Sequence[FaceSample]) -> PredictedBatch:
        """Predict samples with images; see `PredictedBatch`."""
        faces_per_image = self.predictor.predict_batch(
            [sample.image for sample in samples], boxes=[face_box(sample)[None] for sample in samples]
        )
        faces = [faces[0] for faces in faces_per_image]
        dense = None
        if self.dense_model is not None:
            pairs = zip(samples, faces, strict=True)
            dense = np.array([dense_errors(sample, face, self.dense_model) for sample, face in pairs])
        return PredictedBatch(
            np.stack([face.landmarks68 for face in faces]),
            np.array([(face.pose.pitch, face.pose.yaw, face.pose.roll) for face in faces], np.float32),
            np.stack([face.pose.matrix for face in faces]),
            dense,
            _stacked([face.landmarks68_std for face in faces]),
            _stacked([face.rotation_covariance for face in faces]),
        )


def _stacked(arrays: Sequence[NDArray[np.float32] | None]) -> NDArray[np.float32] | None:
    """Return one array (N, ...) of those of N faces; None from a network that does not predict them."""
    known = [array for array in arrays if array is not None]
    return np.stack(known) if known else None


class RotatedPredictor:
    """A `NetworkPredictor` on photos that are rotated in the image plane. Its predictions are rotated back.

    The scores are therefore comparable with those of upright photos.

    Args:
        predictor: the predictor.
        degrees: angle of the rotation, anticlockwise.
    """

    def __init__(self, predictor: NetworkPredictor, degrees: float) -> None:
        self.predictor = predictor
        self.degrees = degrees
        self.crops, self.pose_from = predictor.crops, predictor.pose_from
        self.model_id = f"{predictor.model_id}, rotated by {degrees:g} degrees"

    def predict(self, samples: Sequence[FaceSample]) -> PredictedBatch:
        """Predict samples with images; see `PredictedBatch`."""
        rotated = [_rotate_sample(sample, self.degrees) for sample in samples]
        predicted = self.predictor.predict([sample for sample, _ in rotated])
        back = np.stack([invert_affine(affine) for _, affine in rotated])
        assert predicted.rotation is not None
        to_image = np.stack([rotation_to_image(affine) for _, affine in rotated])
        rotation = to_image @ predicted.rotation.astype(np.float64)
        pose_deg = np.degrees(likely_angles(rotation)).astype(np.float32)
        return PredictedBatch(transform_points(back, predicted.landmarks68), pose_deg, rotation)


def _rotate_sample(sample: FaceSample, degrees: float) -> tuple[FaceSample, NDArray[np.float64]]:
    """Rotate a sample's image, 2D landmarks and box. A box keeps its size.

    Returns:
        The sample, and the affine map (2, 3) from pixels of its image to those of the rotated one.
    """
    image, affine = rotate_image(sample.image, degrees)
    landmarks = transform_points(affine, sample.landmarks68[:, :2].astype(np.float64)).astype(np.float32)
    box = None
    if sample.box is not None:
        middle, half = (sample.box[:2] + sample.box[2:]) / 2, (sample.box[2:] - sample.box[:2]) / 2
        middle = transform_points(affine, middle[None].astype(np.float64))[0]
        box = np.concatenate([middle - half, middle + half]).astype(np.float32)
    return replace(sample, image=image, landmarks68=landmarks, box=box), affine
