"""Which samples a protocol can score, for `eval.inference.predict_dataset`: known before anything is predicted."""

from __future__ import annotations

from eval import metrics
from synergy.data.reader import SampleError
from synergy.data.sample import VISIBLE, FaceSample
from synergy.errors import UserError


def has_eyes(sample: FaceSample) -> bool:
    """Check that errors can be divided by the distance of the eyes, and return True.

    Raises:
        SampleError: the outer corners, or the centres, of the eyes coincide or are unknown.
    """
    try:
        metrics.inter_ocular(sample.landmarks68)
        metrics.inter_pupil(sample.landmarks68)
    except ValueError:
        raise SampleError("the distance of its eyes is zero or unknown") from None
    return True


def has_depth(sample: FaceSample) -> bool:
    """Check that the landmarks are 3D and the eyes known (`has_eyes`), and return True.

    Raises:
        UserError: the landmarks are 2D.
        SampleError: see `has_eyes`.
    """
    if sample.landmarks68.shape[1] != 3:
        raise UserError("voxels need true landmarks with depth; 300W-LP has them with --bfm")
    return has_eyes(sample)


def has_68(sample: FaceSample) -> bool:
    """Return whether a sample of AFLW has a visible one of the 68 points. Some have the 21 points of AFLW only.

    Raises:
        UserError: it has no box or no yaw.
    """
    if sample.box is None or sample.pose_deg is None:
        raise UserError("AFLW's protocol needs the face box and the yaw of each sample")
    return bool((sample.visibility68 == VISIBLE).any())
