import pytest
import torch

from bfm_assets import open_face
from synergy.models import SynergyNet, UncertaintyHeads


@pytest.fixture
def heads():
    torch.manual_seed(0)
    heads = UncertaintyHeads(n_features=32, size=120)
    torch.nn.init.normal_(heads.out.weight)
    torch.nn.init.normal_(heads.out.bias)
    return heads


def test_shapes(heads):
    std, covariance, logit = heads(torch.randn(5, 32))
    assert (std.shape, covariance.shape, logit.shape) == ((5, 68), (5, 3, 3), (5,))


@pytest.mark.parametrize("size", [0.1, 1.0, 10.0, 1e4])
def test_covariances_are_positive_definite_and_deviations_positive(heads, size):
    std, covariance, _ = heads(size * torch.randn(200, 32))
    assert (std > 0).all()
    assert std.isfinite().all()
    torch.testing.assert_close(covariance, covariance.mT)
    assert (torch.linalg.eigvalsh(covariance.double()) > 0).all()


def test_covariance_has_six_free_entries():
    """Any covariance can be predicted: the Jacobian of its entries to the outputs has full rank."""
    heads = UncertaintyHeads(n_features=2, size=120)
    torch.nn.init.normal_(heads.out.bias)

    def covariance(bias: torch.Tensor) -> torch.Tensor:
        parameters = {**dict(heads.named_parameters()), **dict(heads.named_buffers()), "out.bias": bias}
        found = torch.func.functional_call(heads, parameters, (torch.zeros(1, 2),)).rotation_covariance[0]
        return found[torch.tril_indices(3, 3).unbind()]

    jacobian = torch.func.jacrev(covariance)(heads.out.bias.detach())[:, 68:74]
    assert torch.linalg.matrix_rank(jacobian) == 6


def test_temperatures_scale_their_output_alone(heads):
    feature = torch.randn(4, 32)
    before = heads(feature)
    heads.temperature.copy_(torch.tensor([2.0, 3.0, 4.0]))
    after = heads(feature)
    torch.testing.assert_close(after.landmark_std, 2 * before.landmark_std)
    torch.testing.assert_close(after.rotation_covariance, 9 * before.rotation_covariance)
    torch.testing.assert_close(after.face_logit, before.face_logit / 4)


def test_gradients_do_not_reach_the_other_parts():
    net = SynergyNet(open_face(), width=0.25, uncertainty=True)
    out = net(torch.rand(4, 3, 120, 120) * 255)
    (out.landmark_std.sum() + out.rotation_covariance.sum() + out.face_logit.sum()).backward()
    for name, parameter in net.named_parameters():
        assert (parameter.grad is not None) == name.startswith("uncertainty."), name


def test_the_other_outputs_are_those_of_the_network_without_the_heads(small_net):
    net = SynergyNet(small_net.morphable_model, width=0.25, uncertainty=True).eval()
    net.load_state_dict(small_net.state_dict(), strict=False)
    images = torch.rand(2, 3, 120, 120) * 255
    for name in ("landmarks", "coarse", "params", "whitened"):
        assert torch.equal(getattr(net(images), name), getattr(small_net(images), name))
