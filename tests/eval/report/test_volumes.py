import base64

import numpy as np

from eval.predictions import Predictions
from eval.protocols import jvcr
from eval.report.volumes import volume_views
from synergy.data.sample import FaceSample


def test_the_interactive_view_has_the_bright_voxels(samples: list[FaceSample], exact: Predictions) -> None:
    views = volume_views(jvcr.score(samples, exact), {"Worst": 5, "Best": 0})
    assert [face.label for face in views.faces] == ["Worst: image00005.jpg", "Best: image00000.jpg"]
    for encoded in (text for face in views.faces for text in (face.true, face.predicted)):
        rows = np.frombuffer(base64.b64decode(encoded), np.uint8).reshape(-1, 4)
        assert rows[:, :3].max() < 64
        assert rows[:, 3].max() == 255
        assert rows[:, 3].min() > 0.3 * 254
        assert (rows[:, 3] == 255).sum() <= 71
    assert "front, true" in views.projections
