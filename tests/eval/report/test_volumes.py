import base64
import re

import numpy as np

from eval.predictions import Predictions
from eval.protocols import voxels
from eval.report.volumes import volume_section
from synergy.data.sample import FaceSample


def test_clouds_hold_the_bright_voxels(samples: list[FaceSample], exact: Predictions) -> None:
    section = volume_section(voxels.score(samples, exact), {"Worst": 5, "Best": 0})
    clouds = re.findall(r'data-(?:true|predicted)="([^"]*)"', section)
    assert len(clouds) == 4
    for cloud in clouds:
        rows = np.frombuffer(base64.b64decode(cloud), np.uint8).reshape(-1, 4)
        assert rows[:, :3].max() < 64
        assert rows[:, 3].max() == 255
        assert rows[:, 3].min() > 0.3 * 254
        assert (rows[:, 3] == 255).sum() <= 71
    assert "Worst: image00005.jpg" in section
    assert "front, true" in section
