from dataclasses import replace

import numpy as np
import pytest

from eval.protocols.usable import has_68, has_depth, has_eyes
from synergy.data.reader import SampleError
from synergy.data.sample import FaceSample
from synergy.errors import UserError


def moved(sample: FaceSample, points: list[int], to: float) -> FaceSample:
    """The sample with some landmarks at one place."""
    landmarks = sample.landmarks68.copy()
    landmarks[points] = to
    return replace(sample, landmarks68=landmarks)


def test_faces_with_eyes_and_depth_are_used(samples: list[FaceSample]) -> None:
    assert has_eyes(samples[0])
    assert has_depth(samples[0])


@pytest.mark.parametrize(
    ("points", "to"),
    [([36, 45], 50.0), (list(range(36, 48)), 50.0), ([36], np.nan)],
    ids=["corners", "centres", "unknown"],
)
def test_errors_cannot_be_divided_by_no_distance(samples: list[FaceSample], points: list[int], to: float) -> None:
    for check in (has_eyes, has_depth):
        with pytest.raises(SampleError, match="the distance of its eyes is zero or unknown"):
            check(moved(samples[0], points, to))


def test_voxels_need_depth(samples: list[FaceSample]) -> None:
    with pytest.raises(UserError, match="true landmarks with depth"):
        has_depth(replace(samples[0], landmarks68=samples[0].landmarks68[:, :2]))


def test_aflw_samples_without_68_labels_are_of_no_use(samples: list[FaceSample]) -> None:
    assert has_68(samples[0])
    assert not has_68(replace(samples[0], visibility68=np.full(68, -1, np.int8)))
    with pytest.raises(UserError, match="needs the face box and the yaw"):
        has_68(replace(samples[0], box=None))
