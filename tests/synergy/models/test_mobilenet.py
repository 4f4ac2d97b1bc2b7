import pytest
import torch

from synergy.models.backbone import build_backbone
from synergy.models.mobilenet import MobileNetV1, MobileNetV2


@pytest.mark.parametrize(
    ("name", "width", "n_features"),
    [
        ("mobilenet_v1", 1.0, 1024),
        ("mobilenet_v1", 0.5, 512),
        ("mobilenet_v1_small", 1.0, 512),
        ("mobilenet_v2", 1.0, 1280),
        ("mobilenet_v2", 1.4, 1792),
    ],
)
def test_features_of_a_batch(name, width, n_features):
    net = build_backbone(name, width).eval()
    assert net.n_features == n_features
    assert net(torch.rand(2, 3, 120, 120)).shape == (2, n_features)


@pytest.mark.parametrize(("name", "side"), [("mobilenet_v1", 4), ("mobilenet_v2", 4), ("mobilenet_v1_small", 3)])
def test_the_map_of_a_120_px_image_before_the_mean(name, side):
    net = build_backbone(name, 1.0).eval()
    feature_map = torch.nn.Sequential(*list(net)[:-2])(torch.rand(1, 3, 120, 120))
    assert feature_map.shape[-2:] == (side, side)


# Parameters without the classifier: the papers' 4.24 M and 3.50 M less 1024 x 1000 + 1000 and 1280 x 1000 + 1000.
@pytest.mark.parametrize(("kind", "count"), [(MobileNetV1, 3_206_976), (MobileNetV2, 2_223_872)])
def test_parameter_counts_of_the_papers(kind, count):
    assert sum(parameter.numel() for parameter in kind().parameters()) == count


def test_unknown_name_is_a_clear_error():
    with pytest.raises(ValueError, match=r"unknown backbone 'resnet', choose from mobilenet_v1, .*, mobilenet_v2"):
        build_backbone("resnet", 1.0)
