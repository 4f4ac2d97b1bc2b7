import numpy as np
import pytest
import torch

from bfm_assets import read_bfm68
from train.annotate.calibration import Calibration
from train.annotate.faces import PointModel
from train.annotate.observations import observation_matrix, open_reader, read_observations
from train.annotate.quality import format_by_yaw, measure_aflw2000, measure_agreement
from train.annotate.teachers import read_predictions


def test_bins_are_averaged_apart():
    error = np.array([1.0, 3.0, 5.0, np.nan, 7.0])
    yaw = np.array([-10.0, 30.0, -45.0, 50.0, 90.0])
    assert format_by_yaw(error, yaw) == "2.00 / 5.00 / 7.00, mean 4.67"


def means(line: str) -> list[float]:
    return [float(part.split("mean")[1]) for part in line.split("|")]


@pytest.fixture(scope="module")
def calibration(tmp_path_factory):
    """Errors of AFLW's annotations, estimated on its training file."""
    from tests.conftest import SHARED

    if not SHARED.is_dir():
        pytest.skip("needs the real data (../shared/data)")
    model = PointModel.create(read_bfm68(SHARED / "bfm68_basis.npz"), observation_matrix())
    observations = read_observations(open_reader(SHARED / "aflw_train.tar"))
    predicted = read_predictions(SHARED / "aflw_train_teachers.npz", observations.names, model)
    points = torch.from_numpy(observations.points * [1, -1, 1])
    file = tmp_path_factory.mktemp("calibration") / "c.npz"
    Calibration.estimate(model, predicted, points).save(file)
    return file


@pytest.mark.slow
def test_fused_labels_are_nearer_to_aflw2000_3d_than_their_parts(shared_data, calibration):
    sample = shared_data / "aflw2000_3d_sample"
    peer, model = sample / "peer_3ddfa_v2_mb05.npz", shared_data / "bfm68_basis.npz"
    table = measure_aflw2000(sample, peer, model, calibration)
    original, reannotated = means(table["fused"])
    assert original < 3.3
    for part in ("prediction", "annotations"):
        assert original < means(table[part])[0]
        assert reannotated < means(table[part])[1]
    # A plain mean is as near to the original labels (docs/labels.md), and farther from the reannotated ones.
    assert reannotated < means(table["mean of both"])[1] - 0.1


@pytest.mark.slow
def test_fused_labels_are_nearer_to_the_other_annotation(shared_data, calibration):
    data, teachers = shared_data / "aflw_val.tar", shared_data / "aflw_val_teachers.npz"
    table = measure_agreement(data, teachers, shared_data / "bfm68_basis.npz", calibration)
    assert int(table["faces"]) == 583
    assert means(table["fused"])[0] < 0.85 * means(table["prediction"])[0]
