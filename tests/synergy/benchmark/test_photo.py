from synergy.benchmark.photo import STAGES, TOTAL, make_photo, measure_stages, overhead
from synergy.detect import CenterFace
from synergy.images import read_image
from synergy.predictor import FacePredictor


def test_the_photo_has_one_face():
    assert len(CenterFace()(read_image(make_photo())).boxes) == 1


def test_every_stage_is_timed(small_net, monkeypatch):
    waited = []
    monkeypatch.setattr("synergy.benchmark.photo.wait_until_idle", lambda: waited.append(True))
    predictor = FacePredictor(small_net)
    stages = measure_stages(predictor, make_photo(), repeats=2)
    assert len(waited) == 2 * len(stages)  # so that no stage has the CPU time of threads of the one before
    assert set(stages) == {*STAGES, TOTAL}
    assert all(len(timing.rounds) == 2 and timing.median > 0 for timing in stages.values())
    assert overhead(stages) > 0
