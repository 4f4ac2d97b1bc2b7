import copy

import pytest
import torch
from torch import nn

from synergy.compat.synergynet import PublicMAFA
from synergy.models import MAFA, MobileNetV1, MobileNetV2
from synergy.models.backbone import build_backbone
from synergy.models.fold import fold_batch_norm


def with_random_norms(network: nn.Module) -> nn.Module:
    """Give every BatchNorm statistics and weights as after training."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 1.5),
                (module.weight.data, 0.5, 1.5),
                (module.bias.data, -0.3, 0.3),
            ):
                tensor.uniform_(low, high, generator=generator)
        if isinstance(module, MAFA):
            module.of_landmark.data.uniform_(-0.3, 0.3, generator=generator)
    return network.eval()


CASES = {
    "mobilenet_v1": (lambda: MobileNetV1(0.25), [(2, 3, 64, 64)]),
    "mobilenet_v1_small": (lambda: build_backbone("mobilenet_v1_small", 0.5), [(2, 3, 64, 64)]),
    "mobilenet_v2": (lambda: MobileNetV2(0.5), [(2, 3, 64, 64)]),
    "mafa": (lambda: MAFA(16, 4), [(2, 68, 3), (2, 16), (2, 4)]),
    "narrow mafa": (lambda: MAFA(16, 4, 0.25), [(2, 68, 3), (2, 16), (2, 4)]),
    "SynergyNet's mafa": (PublicMAFA, [(2, 68, 3), (2, 1280), (2, 50)]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_folded_network_computes_the_same(case):
    make, shapes = CASES[case]
    torch.manual_seed(0)
    network = with_random_norms(make())
    inputs = [torch.randn(shape) for shape in shapes]
    folded = fold_batch_norm(network)
    with torch.no_grad():
        torch.testing.assert_close(folded(*inputs), network(*inputs), atol=1e-4, rtol=1e-4)
    assert not any(isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in folded.modules())


def test_a_folded_synergynet_predicts_the_same(small_net):
    torch.manual_seed(0)
    network = with_random_norms(copy.deepcopy(small_net))
    images = torch.randint(0, 256, (2, 3, 120, 120), dtype=torch.uint8)
    with torch.no_grad():
        expected, folded = network(images), fold_batch_norm(network)(images)
    for name in ("landmarks", "coarse", "params", "whitened"):
        torch.testing.assert_close(getattr(folded, name), getattr(expected, name), atol=1e-3, rtol=1e-4)


def test_the_network_itself_stays_as_it_is(small_net):
    before = copy.deepcopy(small_net.state_dict())
    assert fold_batch_norm(small_net).morphable_model is small_net.morphable_model
    for name, tensor in small_net.state_dict().items():
        torch.testing.assert_close(tensor, before[name], atol=0, rtol=0)


def test_a_network_in_training_mode_is_folded_as_in_evaluation_mode():
    network = MobileNetV1(0.25).train()
    images = torch.rand(2, 3, 64, 64)
    folded = fold_batch_norm(network)
    assert network.training
    torch.testing.assert_close(folded(images), network.eval()(images), rtol=1e-4, atol=1e-4)
